//! Names, defaults, spellings, presets and profiles are those of the contract.

use std::path::PathBuf;
use std::time::Duration;

use ha_config::{
    Builder, Cluster, Config, Failover, Ha, Health, Http, OPTIONS, Preset, Profile, Replication, Source, State,
};

use crate::cases::{CASES, Case};

/// The TOML table and key that the contract derives from a name.
fn table_and_key(name: &str) -> (String, String) {
    match name {
        "SPLIT_BRAIN_PREVENTION" => ("ha".to_owned(), name.to_lowercase()),
        _ => {
            let (table, key) = name.split_once('_').unwrap();
            (table.to_lowercase(), key.to_lowercase())
        }
    }
}

#[test]
fn options_are_those_of_the_contract() {
    let known: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
    let agreed: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(known, agreed);
    for case in CASES {
        let option = case.option();
        assert_eq!((option.table.to_owned(), option.key.to_owned()), table_and_key(case.name));
        assert!(!option.meaning().is_empty() && !option.accepted().is_empty(), "{}", case.name);
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let built = Config::builder().build().unwrap();
    assert_eq!(built, Config::default());
    for case in CASES {
        assert_eq!(case.shown(&built), case.default, "{}", case.name);
        assert_eq!(built.source(case.name), Source::Default, "{}", case.name);
    }
}

fn builder(case: &Case) -> Builder {
    case.with.iter().fold(Config::builder(), |builder, (name, value)| builder.set(*name, *value))
}

fn check(case: &Case, value: &str, builder: Builder, source: Source) {
    let config = builder.build().unwrap_or_else(|problems| panic!("{} = {value}: {problems}", case.name));
    assert_eq!(case.shown(&config), value, "{}", case.name);
    assert_eq!(config.source(case.name), source, "{}", case.name);
    let row = config.explain().into_iter().find(|row| row.name == case.name).unwrap();
    assert_eq!(row.source, source);
}

#[test]
fn every_option_is_accepted_in_the_environment() {
    for case in CASES {
        for value in case.values {
            let source = Source::Environment { variable: case.name.to_owned() };
            check(case, value, builder(case).with_variables([(case.name, value)]), source);
        }
    }
}

#[test]
fn every_option_is_accepted_in_a_file() {
    for case in CASES {
        let (table, key) = table_and_key(case.name);
        for value in case.values {
            let source = Source::File { path: PathBuf::from("ha.toml"), line: 3 };
            let as_text = format!("# settings\n[{table}]\n{key} = '{value}'\n");
            check(case, value, builder(case).with_toml("ha.toml", as_text), source.clone());
            // Numbers and booleans also stand without quotes.
            if value.parse::<u32>().is_ok() || value.parse::<bool>().is_ok() {
                let as_number = format!("# settings\n[{table}]\n{key} = {value}\n");
                check(case, value, builder(case).with_toml("ha.toml", as_number), source);
            }
        }
    }
}

#[test]
fn every_option_is_accepted_on_the_command_line() {
    for case in CASES {
        let (table, key) = table_and_key(case.name);
        for value in case.values {
            let source = Source::CommandLine { flag: "--set".to_owned() };
            check(case, value, builder(case).set(case.name, value), source.clone());
            check(case, value, builder(case).set_pair(&format!("{table}.{key}={value}")), source);
        }
    }
}

/// A renamed or forgotten field does not compile.
#[test]
fn rust_fields_carry_the_names() {
    let Config { ha, cluster, failover, replication, state, health, http, .. } = Config::default();
    let Ha {
        preset: _,
        profile: _,
        strategy: _,
        min_nodes: _,
        quorum_size: _,
        split_brain_prevention: _,
        connection_pool_size: _,
        data_dir: _,
    } = ha;
    let Cluster {
        enabled: _,
        name: _,
        node_id: _,
        address: _,
        port: _,
        advertise_address: _,
        seed_nodes: _,
        heartbeat_interval,
        node_timeout: _,
        election_timeout: _,
        node_priority: _,
        role: _,
        secret: _,
        secret_file: _,
        tls_cert: _,
        tls_key: _,
        tls_ca: _,
    } = cluster;
    let Failover {
        enabled: _,
        mode: _,
        timeout: _,
        health_check_interval: _,
        failure_threshold: _,
        recovery_wait_time: _,
        max_attempts: _,
        failback: _,
        fence_command: _,
        promote_command: _,
        demote_command: _,
    } = failover;
    let Replication { enabled: _, mode: _, consistency: _, sync_interval: _, batch_size: _, async_writes: _ } =
        replication;
    let State { enabled: _ } = state;
    let Health {
        monitor_enabled: _,
        check_interval: _,
        check_timeout: _,
        failure_threshold: _,
        recovery_enabled: _,
        checks: _,
        critical: _,
        recovery_commands: _,
    } = health;
    let Http { address: _, port: _, token: _, token_file: _ } = http;
    assert_eq!(heartbeat_interval, Duration::from_secs(5));
}

#[test]
fn a_file_may_use_numbers_arrays_and_any_radix() {
    let text = "[cluster]\nport = 0x1F0A\nheartbeat_interval = 0.2\nnode_timeout = 1_0\nseed_nodes = ['a:1', 'b:2']\n";
    let config = Config::builder().with_toml("ha.toml", text).build().unwrap();
    assert_eq!(config.cluster.port, 7946);
    assert_eq!(config.cluster.heartbeat_interval, Duration::from_millis(200));
    assert_eq!(config.cluster.node_timeout, Duration::from_secs(10));
    assert_eq!(config.cluster.seed_nodes.len(), 2);
}

#[test]
fn a_boolean_has_many_spellings() {
    for (text, expected) in
        [("true", true), ("1", true), ("Yes", true), ("ON", true), ("false", false), ("0", false), ("no", false)]
    {
        let config = Config::builder().with_variables([("CLUSTER_ENABLED", text)]).build().unwrap();
        assert_eq!(config.cluster.enabled, expected, "{text}");
    }
}

#[test]
fn an_empty_variable_takes_back_what_a_file_says() {
    let config = Config::builder()
        .with_toml("ha.toml", "[cluster]\nnode_id = 'node-1'\nseed_nodes = ['a:1']")
        .with_variables([("CLUSTER_NODE_ID", ""), ("CLUSTER_SEED_NODES", "")])
        .build()
        .unwrap();
    assert_eq!((config.cluster.node_id, config.cluster.seed_nodes), (None, vec![]));
}

fn set_by(settings: &[(&'static str, &'static str)]) -> Vec<String> {
    settings.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn presets_turn_on_what_the_contract_says() {
    for (preset, on, nodes, quorum) in [
        (Preset::Development, "cluster state health", 1, 1),
        (Preset::SimpleFailover, "cluster failover state health", 2, 2),
        (Preset::FullHa, "cluster failover replication state health", 3, 2),
        (Preset::Distributed, "cluster failover replication state health", 5, 3),
    ] {
        let config = Config::preset(preset).build().unwrap();
        assert_eq!(config.ha.preset, Some(preset));
        let enabled = [
            ("cluster", config.cluster.enabled),
            ("failover", config.failover.enabled),
            ("replication", config.replication.enabled),
            ("state", config.state.enabled),
            ("health", config.health.monitor_enabled),
        ];
        let enabled: Vec<&str> = enabled.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        assert_eq!(enabled.join(" "), on, "{preset}");
        assert_eq!((config.ha.min_nodes, config.ha.quorum_size), (nodes, quorum), "{preset}");
        let (mode, consistency) = (config.replication.mode.to_string(), config.replication.consistency.to_string());
        let expected = match preset {
            Preset::FullHa => ("active_passive", "master_slave", "quorum"),
            Preset::Distributed => ("distributed", "multi_master", "eventual"),
            _ => ("active_passive", "master_slave", "eventual"),
        };
        assert_eq!((config.ha.strategy.as_str(), mode.as_str(), consistency.as_str()), expected, "{preset}");
    }
}

#[test]
fn profiles_set_what_the_contract_says() {
    for (profile, expected) in [
        (
            Profile::LowLatency,
            "CLUSTER_HEARTBEAT_INTERVAL=1 CLUSTER_NODE_TIMEOUT=3 CLUSTER_ELECTION_TIMEOUT=2 \
             FAILOVER_HEALTH_CHECK_INTERVAL=2",
        ),
        (
            Profile::HighThroughput,
            "HA_CONNECTION_POOL_SIZE=20 REPLICATION_CONSISTENCY=eventual REPLICATION_BATCH_SIZE=500",
        ),
        (Profile::Eventual, "REPLICATION_CONSISTENCY=eventual REPLICATION_ASYNC_WRITES=true HEALTH_CHECK_INTERVAL=60"),
        (
            Profile::Lan,
            "CLUSTER_HEARTBEAT_INTERVAL=50ms CLUSTER_NODE_TIMEOUT=500ms CLUSTER_ELECTION_TIMEOUT=250ms \
             FAILOVER_HEALTH_CHECK_INTERVAL=100ms",
        ),
    ] {
        assert_eq!(set_by(profile.settings()).join(" "), expected, "{profile}");
    }
}

/// Also proves that each name in a preset or profile is one of the table.
#[test]
fn every_preset_works_with_every_profile() {
    for preset in Preset::ALL {
        for profile in Profile::ALL {
            let config = Config::preset(*preset).profile(*profile).build();
            assert!(config.is_ok(), "{preset} {profile}: {config:?}");
        }
    }
}

#[test]
fn the_contracts_rust_example_compiles() {
    fn start(_: Config) {}
    // The environment of a test is not ours to judge: only the types matter here.
    if let Ok(config) = Config::preset(Preset::FullHa).with_env() {
        start(config);
    }
}
