//! What holds for any text and for any configuration.

use ha_config::{Builder, Config, OPTIONS, Preset, Profile};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

/// Timers that fit together, so that most random configurations are legal: each is a multiple of the heartbeat.
fn timers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    (10u64..60_000, 1u64..20, 2u64..20, 2u64..20).prop_map(|(heartbeat, node, election, failover)| {
        let millis = |millis: u64| format!("{millis}ms");
        let node_timeout = heartbeat * (node + 1);
        vec![
            ("CLUSTER_HEARTBEAT_INTERVAL", millis(heartbeat)),
            ("CLUSTER_NODE_TIMEOUT", millis(node_timeout)),
            ("CLUSTER_ELECTION_TIMEOUT", millis(heartbeat * election)),
            ("FAILOVER_TIMEOUT", millis(node_timeout * failover)),
        ]
    })
}

fn number(name: &'static str, range: std::ops::RangeInclusive<u32>) -> BoxedStrategy<(&'static str, String)> {
    range.prop_map(move |number| (name, number.to_string())).boxed()
}

fn text(name: &'static str, pattern: &'static str) -> BoxedStrategy<(&'static str, String)> {
    pattern.prop_map(move |text| (name, text)).boxed()
}

fn word(name: &'static str, words: &'static [&'static str]) -> BoxedStrategy<(&'static str, String)> {
    select(words).prop_map(move |word| (name, word.to_owned())).boxed()
}

/// Any legal value of any option that does not contradict the timers.
fn setting() -> impl Strategy<Value = (&'static str, String)> {
    let on_off: &[&str] = &["true", "false", "yes", "no", "1", "0"];
    prop_oneof![
        word("HA_STRATEGY", &["active_passive", "active_active", "distributed"]),
        number("HA_CONNECTION_POOL_SIZE", 1..=64),
        text("HA_DATA_DIR", r#"[a-z/."'\\ é#=-]{0,20}x"#),
        text("CLUSTER_NAME", "[A-Za-z0-9._-]{1,64}"),
        text("CLUSTER_NODE_ID", "[A-Za-z0-9._-]{1,64}"),
        word("CLUSTER_ADDRESS", &["0.0.0.0", "127.0.0.1", "::1", "[fd00::7]", "localhost"]),
        number("CLUSTER_PORT", 0..=6000),
        word("CLUSTER_ADVERTISE_ADDRESS", &["", "a", "a.b:1", "[fd00::7]:65535", "fd00::7"]),
        word("CLUSTER_SEED_NODES", &["", "a:1", "a:1, b:2", "dns:x.y:7946,[fd00::7]:1"]),
        word("CLUSTER_ROLE", &["member"]),
        number("CLUSTER_NODE_PRIORITY", 0..=1000),
        text("CLUSTER_SECRET", r#"[ -~é]{8,64}"#),
        text("HTTP_TOKEN", "[!-~]{8,64}"),
        number("HTTP_PORT", 6001..=65535),
        word("FAILOVER_MODE", &["automatic", "manual"]),
        number("FAILOVER_RECOVERY_WAIT_TIME", 0..=86_400),
        text("FAILOVER_PROMOTE_COMMAND", r#"[ -~é"'\\]{0,40}"#),
        text("FAILOVER_DEMOTE_COMMAND", r#"[ -~é"'\\]{0,40}"#),
        text("FAILOVER_FENCE_COMMAND", r#"[ -~é"'\\]{0,40}"#),
        word("REPLICATION_MODE", &["master_slave", "multi_master"]),
        word("REPLICATION_CONSISTENCY", &["strong", "quorum", "eventual"]),
        text("REPLICATION_SYNC_INTERVAL", "[1-9][.][0-9]{1,9}"),
        number("REPLICATION_BATCH_SIZE", 1..=10_000),
        word("HEALTH_RECOVERY_ENABLED", on_off),
        word("SPLIT_BRAIN_PREVENTION", on_off),
    ]
}

fn legal() -> impl Strategy<Value = Builder> {
    let preset = of(select(Preset::ALL));
    let profile = of(select(Profile::ALL));
    (preset, profile, of(timers()), vec(setting(), 0..12)).prop_map(|(preset, profile, timers, settings)| {
        let mut builder = Config::builder();
        if let Some(preset) = preset {
            builder = builder.preset(preset);
        }
        if let Some(profile) = profile {
            builder = builder.profile(profile);
        }
        let timers = timers.unwrap_or_default().into_iter();
        timers.chain(settings).fold(builder, |builder, (name, value)| builder.set(name, value))
    })
}

/// Text that looks like a settings file for a while.
fn nearly_toml() -> impl Strategy<Value = String> {
    let names: Vec<String> = OPTIONS.iter().flat_map(|option| [option.key.to_owned(), option.dotted()]).collect();
    let tables = ["[ha]", "[cluster]", "[failover]", "[replication]", "[state]", "[health]", "[http]", "[[cluster]]"];
    let value = prop_oneof![
        select(vec!["1", "-1", "true", "'x'", "\"\"\"", "[", "[]", "{}", "{a=1}", "1e999", "nan", "1979-05-27", "0x"])
            .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "\\PC{0,20}",
    ];
    let line = prop_oneof![
        select(tables.to_vec()).prop_map(str::to_owned),
        (select(names), value).prop_map(|(name, value)| format!("{name} = {value}")),
        ".{0,30}",
    ];
    vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

fn name() -> impl Strategy<Value = String> {
    let known: Vec<String> = OPTIONS.iter().flat_map(|option| [option.name.to_owned(), option.dotted()]).collect();
    prop_oneof![select(known), "\\PC{0,30}", "(CLUSTER|HA|HTTP|FAILOVER)_[A-Z_]{0,20}"]
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_equal(builder in legal()) {
        let config = builder.build().unwrap();
        let printed = config.to_toml_with_secrets();
        let read = Config::builder().with_toml("printed.toml", &printed).build();
        prop_assert_eq!(read.as_ref(), Ok(&config), "{}", printed);
        prop_assert_eq!(read.unwrap().to_toml_with_secrets(), printed);
        prop_assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn what_is_shown_reads_back_equal_but_for_secrets(builder in legal()) {
        let mut config = builder.build().unwrap();
        let shown = config.to_toml();
        let read = Config::builder().with_toml("shown.toml", &shown).build();
        for secret in [config.cluster.secret.take(), config.http.token.take()].into_iter().flatten() {
            prop_assert!(!shown.contains(secret.expose()));
        }
        prop_assert_eq!(read, Ok(config), "{}", shown);
    }

    #[test]
    fn no_file_panics(text in prop_oneof![nearly_toml(), "(?s).{0,200}"]) {
        if let Err(problems) = Config::builder().with_toml("any.toml", text).build() {
            prop_assert!(problems.count() > 0 && !problems.to_string().is_empty());
            prop_assert!(serde_json::to_string(&problems).is_ok());
        }
    }

    #[test]
    fn no_variable_or_flag_panics(pairs in vec((name(), "(?s).{0,40}"), 0..8)) {
        let builder = Config::builder().with_variables(pairs.clone());
        let builder = pairs.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
        let builder = pairs.iter().fold(builder, |builder, (name, value)| builder.set_pair(&format!("{name}{value}")));
        // Files that a wild value names are not there.
        match builder.build() {
            Ok(config) => prop_assert!(!config.timing().totals.is_empty() && config.warnings().len() < 1000),
            Err(problems) => prop_assert!(problems.iter().all(|problem| !problem.to_string().contains('\n'))),
        }
    }
}
