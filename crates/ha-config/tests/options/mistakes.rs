//! All mistakes are reported at once, each with its place and what would be right.

use ha_config::{Config, Problem, ProblemKind, Problems};

fn all(problems: &Problems) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

#[track_caller]
fn in_file(text: &str) -> Vec<String> {
    all(&Config::builder().with_toml("ha.toml", text).build().unwrap_err())
}

#[test]
fn five_mistakes_are_five_problems() {
    let text = "\
[ha]
preset = 'ful_ha'

[cluster]
enabled = true
nam = 'blue'
port = 70000
node_timeout = 3
seed_nodes = ['node-1']
";
    assert_eq!(
        in_file(text),
        [
            "HA_PRESET = ful_ha (file ha.toml line 2): is not one of the words; did you mean full_ha? \
             accepted: `development`, `simple_failover`, `full_ha` or `distributed`",
            "cluster.nam = blue (file ha.toml line 6): no option has this name; did you mean cluster.name?",
            "CLUSTER_PORT = 70000 (file ha.toml line 7): is out of range; accepted: a whole number from 0 to 65535",
            "CLUSTER_SEED_NODES = [node-1] (file ha.toml line 9): has an item node-1 that has no port \
             from 1 to 65535; accepted: up to 256 of `host:port` or `dns:NAME:PORT`, separated by commas; \
             in a file also an array of texts",
            "CLUSTER_NODE_TIMEOUT = 3s (file ha.toml line 8) and CLUSTER_HEARTBEAT_INTERVAL = 5s (default): \
             the node timeout must be longer than the heartbeat interval, or every lease ends between two heartbeats; \
             accepted: CLUSTER_NODE_TIMEOUT above 5s, better three times as long",
        ]
    );
}

#[test]
fn what_only_follows_from_another_mistake_is_no_mistake() {
    for (text, count) in [
        // Meant to be below the node timeout.
        ("[cluster]\nhartbeat_interval = 1\nnode_timeout = 3", 1),
        ("[cluster]\nheartbeat_interval = 'x'\nnode_timeout = 3", 1),
        ("[cluster]\nheartbeat_interval = \nnode_timeout = 3", 1),
        ("[ha]\nprofile = 'lann'\n[cluster]\nnode_timeout = 3", 1),
        ("[ha]\npreset = 'ful_ha'\n[failover]\nenabled = true", 1),
        // Whatever the profile was meant to be, these two cannot be.
        ("[ha]\nprofile = 'lann'\n[cluster]\nnode_timeout = 3\nheartbeat_interval = 4", 2),
        ("[cluster]\nport = \nnode_timeout = 3\nheartbeat_interval = 4", 2),
    ] {
        let found = in_file(text);
        assert_eq!(found.len(), count, "{text}: {found:#?}");
    }
}

#[test]
fn every_layer_is_looked_through() {
    let problems = Config::builder()
        .with_file("/nowhere/ha.toml")
        .with_toml("ha.toml", "[cluster]\nport = 'x'")
        .with_variables([("HTTP_PORT", "y"), ("CLUSTER_NAM", "z")])
        .set("REPLICATION_BATCH_SIZE", "0")
        .set("nothing", "1")
        .set_pair("CLUSTER_PORT")
        .build()
        .unwrap_err();
    let kinds: Vec<ProblemKind> = problems.iter().map(|problem| problem.kind).collect();
    use ProblemKind::{File, Syntax, Unknown, Value};
    assert_eq!(kinds, [File, Value, Unknown, Value, Unknown, Syntax, Value], "{problems}");
    assert_eq!(problems.count(), 7);
}

#[test]
fn a_value_refused_below_is_reported_although_a_higher_layer_has_a_good_one() {
    let builder = Config::builder().with_toml("ha.toml", "cluster.port = 'x'").set("CLUSTER_PORT", "1");
    assert_eq!(builder.build().unwrap_err().count(), 1);
}

#[test]
fn names_are_found_again() {
    for (text, expected) in [
        (
            "[state]\ncolour = 1",
            "state.colour (file ha.toml line 2): no option has this name; accepted: under [state]: enabled",
        ),
        ("[clutser]\nport = 1", "[clutser] (file ha.toml line 1): no table has this name; did you mean [cluster]?"),
        ("port = 1", "port (file ha.toml line 1): no option stands outside a table; did you mean cluster.port?"),
        (
            "CLUSTER_PORT = 1",
            "CLUSTER_PORT (file ha.toml line 1): no option stands outside a table; did you mean cluster.port?",
        ),
        (
            "[cluster]\nCLUSTER_PORT = 1",
            "cluster.CLUSTER_PORT = 1 (file ha.toml line 2): no option has this name; did you",
        ),
        (
            "[cluster]\nbatch_size = 1",
            "cluster.batch_size = 1 (file ha.toml line 2): no option has this name; did you mean r",
        ),
        (
            "cluster = 1",
            "cluster (file ha.toml line 1): is a table, not a value; accepted: [cluster] on a line of its own",
        ),
        ("[[cluster]]\nport = 1", "cluster (file ha.toml line 1): is a table, not a value"),
        ("[cluster]\nport.x = 1", "CLUSTER_PORT = a table (file ha.toml line 2): is a table; accepted: a whole number"),
        ("[cluster]\nport = 2024-01-01", "CLUSTER_PORT = a date or time of day (file ha.toml line 2): is a date"),
        ("[cluster]\nport = [1]", "CLUSTER_PORT = [1] (file ha.toml line 2): is a list; accepted: a whole number"),
        (
            "[cluster]\nseed_nodes = [['a:1']]",
            "CLUSTER_SEED_NODES = a list of lists (file ha.toml line 2): is a list of",
        ),
    ] {
        let found = in_file(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert!(found[0].starts_with(expected), "{text}: {}", found[0]);
    }
}

#[test]
fn values_are_refused_with_the_reason() {
    for (name, value, reason) in [
        ("CLUSTER_PORT", "", "is not a whole number"),
        ("CLUSTER_PORT", "7946.0", "is not a whole number"),
        ("CLUSTER_PORT", "+1", "is not a whole number"),
        ("CLUSTER_PORT", "-1", "is out of range"),
        ("CLUSTER_PORT", "65536", "is out of range"),
        ("CLUSTER_PORT", "99999999999999999999999", "is out of range"),
        ("CLUSTER_ADDRESS", "nowhere", "is not an IP address"),
        ("CLUSTER_ADDRESS", "256.0.0.1", "is not an IP address"),
        ("CLUSTER_ADVERTISE_ADDRESS", "0.0.0.0", "is an address to listen on: no other node can dial it"),
        ("CLUSTER_SEED_NODES", "a:1,,b:2", "has an item \"\" that has no host name or IP address"),
        ("CLUSTER_ENABLED", "maybe", "is neither true nor false"),
        ("CLUSTER_HEARTBEAT_INTERVAL", "fast", "is not a number of seconds"),
        ("CLUSTER_HEARTBEAT_INTERVAL", "5 days", "has a unit that is not ms, s, m or h"),
        ("CLUSTER_HEARTBEAT_INTERVAL", "-5", "is negative"),
        ("CLUSTER_HEARTBEAT_INTERVAL", "9ms", "is out of range"),
        ("CLUSTER_HEARTBEAT_INTERVAL", "25h", "is out of range"),
        ("CLUSTER_NODE_ID", "a b", "contains a character not allowed"),
        ("CLUSTER_NAME", "", "is empty"),
        ("CLUSTER_ROLE", "", "is empty"),
        ("HA_DATA_DIR", "", "is empty"),
        ("HA_MIN_NODES", "10", "is out of range"),
        ("HTTP_TOKEN", "two words", "contains a character not allowed"),
    ] {
        let problems = Config::builder().set(name, value).build().unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert_eq!((problem.reason.as_str(), problems.count()), (reason, 1), "{name}={value}");
        assert!(problem.names(name) && problem.accepted.is_some(), "{problem}");
    }
    let long = "x".repeat(65);
    let problems = Config::builder().set("CLUSTER_NODE_ID", &long).build().unwrap_err();
    assert!(problems.to_string().contains("is longer than 64 bytes"), "{problems}");
}

#[test]
fn broken_toml_names_the_line_and_the_rest_is_still_read() {
    let found = in_file("[cluster]\nport = \nnode_timeout = 'x'\n[http]\nport = 99999\n");
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("the file (file ha.toml line 2): is not TOML here"), "{}", found[0]);
    assert!(found[1].starts_with("CLUSTER_NODE_TIMEOUT = x (file ha.toml line 3)"), "{}", found[1]);
    assert!(found[2].starts_with("HTTP_PORT = 99999 (file ha.toml line 5)"), "{}", found[2]);
    let twice = in_file("[cluster]\nport = 1\nport = 2\n");
    assert!(twice.len() == 1 && twice[0].contains("line 3") && twice[0].contains("duplicate key"), "{twice:#?}");
}

#[test]
fn files_are_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("long.toml"), "#".repeat(ha_config::FILE_BYTES_MAX + 1)).unwrap();
    std::fs::write(path("latin1.toml"), b"# caf\xe9\n").unwrap();
    std::fs::write(path("good.toml"), "cluster.port = 1\n").unwrap();
    for (name, reason) in [
        ("absent.toml", "cannot be read: "),
        (".", "cannot be read: "),
        ("long.toml", "is longer than 1048576 bytes"),
        ("latin1.toml", "is not valid UTF-8"),
    ] {
        let problems = Config::builder().with_file(path(name)).build().unwrap_err();
        assert!(problems.count() == 1 && problems.to_string().contains(reason), "{name}: {problems}");
    }
    assert_eq!(Config::builder().with_file(path("good.toml")).build().unwrap().cluster.port, 1);
}

#[test]
fn a_long_or_wild_value_is_shown_on_one_short_line() {
    let problems = Config::builder().set("CLUSTER_PORT", format!("\u{1b}[2J\n{}", "x".repeat(100_000))).build();
    let text = problems.unwrap_err().to_string();
    assert!(text.len() < 400 && !text.contains('\u{1b}') && text.lines().count() == 1, "{text}");
}

#[test]
fn problems_are_data_too() {
    let problems = Config::builder().with_variables([("CLUSTER_PORT", "x")]).build().unwrap_err();
    assert_eq!(
        serde_json::to_value(&problems).unwrap(),
        serde_json::json!([{
            "kind": "value",
            "settings": [{"option": "CLUSTER_PORT", "value": "x", "source": "environment variable"}],
            "reason": "is not a whole number",
            "accepted": "a whole number from 0 to 65535",
            "nearest": null,
        }])
    );
}
