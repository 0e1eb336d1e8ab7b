//! Options that cannot work together are refused, and both are named.

use ha_config::{Config, Problem, ProblemKind};

fn problems(settings: &[(&str, &str)]) -> Vec<Problem> {
    let builder = settings.iter().fold(Config::builder(), |builder, (name, value)| builder.set(*name, *value));
    builder.build().err().map(|problems| problems.iter().cloned().collect()).unwrap_or_default()
}

#[track_caller]
fn refused<const NAMES: usize>(settings: &[(&str, &str)], names: [&str; NAMES]) {
    let found = problems(settings);
    assert_eq!(found.len(), 1, "{found:?}");
    let text = found[0].to_string();
    assert_eq!(found[0].kind, ProblemKind::Contradiction);
    for name in names {
        assert!(found[0].names(name) && text.contains(name), "{text}");
    }
    assert!(found[0].accepted.is_some(), "{text}");
}

#[track_caller]
fn accepted(settings: &[(&str, &str)]) {
    assert_eq!(problems(settings), []);
}

#[test]
fn node_timeout_not_above_the_heartbeat() {
    let names = ["CLUSTER_NODE_TIMEOUT", "CLUSTER_HEARTBEAT_INTERVAL"];
    refused(&[("CLUSTER_NODE_TIMEOUT", "5")], names);
    refused(&[("CLUSTER_NODE_TIMEOUT", "3")], names);
    accepted(&[("CLUSTER_NODE_TIMEOUT", "5.001")]);
}

#[test]
fn election_shorter_than_the_heartbeat() {
    let names = ["CLUSTER_ELECTION_TIMEOUT", "CLUSTER_HEARTBEAT_INTERVAL"];
    refused(&[("CLUSTER_ELECTION_TIMEOUT", "4")], names);
    // The shortest election timeout is 0.8 times the option.
    refused(&[("CLUSTER_ELECTION_TIMEOUT", "6.25")], names);
    accepted(&[("CLUSTER_ELECTION_TIMEOUT", "6.26")]);
}

#[test]
fn failover_timeout_shorter_than_the_lease() {
    let names = ["FAILOVER_TIMEOUT", "CLUSTER_NODE_TIMEOUT"];
    refused(&[("FAILOVER_TIMEOUT", "10")], names);
    refused(&[("FAILOVER_TIMEOUT", "15.8")], names);
    accepted(&[("FAILOVER_TIMEOUT", "15.9")]);
    // Nobody asked for failover, so a long node timeout is fine.
    accepted(&[("CLUSTER_NODE_TIMEOUT", "60")]);
    refused(&[("CLUSTER_NODE_TIMEOUT", "60"), ("HA_PRESET", "full_ha")], names);
}

#[test]
fn quorum_under_a_majority() {
    let names = ["HA_QUORUM_SIZE", "HA_MIN_NODES"];
    refused(&[("HA_QUORUM_SIZE", "1")], names);
    refused(&[("HA_MIN_NODES", "5")], names);
    refused(&[("HA_MIN_NODES", "7"), ("HA_QUORUM_SIZE", "3")], names);
    accepted(&[("HA_MIN_NODES", "7"), ("HA_QUORUM_SIZE", "4")]);
    accepted(&[("HA_QUORUM_SIZE", "1"), ("SPLIT_BRAIN_PREVENTION", "false")]);
}

#[test]
fn durable_consistency_with_asynchronous_writes() {
    let names = ["REPLICATION_ASYNC_WRITES", "REPLICATION_CONSISTENCY"];
    for consistency in ["strong", "quorum"] {
        let durable = ("REPLICATION_CONSISTENCY", consistency);
        refused(&[durable, ("REPLICATION_ASYNC_WRITES", "true")], names);
        accepted(&[durable, ("REPLICATION_ASYNC_WRITES", "false")]);
        // The default and the profile do not insist.
        accepted(&[durable]);
        accepted(&[durable, ("HA_PROFILE", "eventual")]);
    }
    let config = Config::builder().set("REPLICATION_CONSISTENCY", "strong").build().unwrap();
    assert!(!config.replication.async_writes);
    assert_eq!(config.source("REPLICATION_ASYNC_WRITES").to_string(), "implied by REPLICATION_CONSISTENCY");
}

#[test]
fn a_component_without_the_one_it_needs() {
    for name in ["FAILOVER_ENABLED", "REPLICATION_ENABLED", "STATE_ENABLED"] {
        refused(&[(name, "true")], [name, "CLUSTER_ENABLED"]);
        accepted(&[(name, "true"), ("CLUSTER_ENABLED", "true")]);
    }
    assert_eq!(problems(&[("HA_PRESET", "full_ha"), ("CLUSTER_ENABLED", "false")]).len(), 3);
}

#[test]
fn components_that_are_not_checked_or_checked_twice() {
    let checks = ("HEALTH_CHECKS", "db=tcp:a:1");
    for (name, value) in [("HEALTH_CRITICAL", "db,web"), ("HEALTH_RECOVERY_COMMANDS", "web=restart web")] {
        refused(&[checks, (name, value)], [name, "HEALTH_CHECKS"]);
        accepted(&[("HEALTH_CHECKS", "db=tcp:a:1,web=tcp:a:2"), (name, value)]);
    }
    refused(&[("HEALTH_CHECKS", "db=tcp:a:1,db=tcp:a:2")], ["HEALTH_CHECKS"]);
}

#[test]
fn a_witness_with_a_priority() {
    let witness = ("CLUSTER_ROLE", "witness");
    refused(&[witness, ("CLUSTER_NODE_PRIORITY", "100")], ["CLUSTER_ROLE", "CLUSTER_NODE_PRIORITY"]);
    accepted(&[witness, ("CLUSTER_NODE_PRIORITY", "0")]);
    accepted(&[witness]);
    let config = Config::builder().set("CLUSTER_ROLE", "witness").build().unwrap();
    assert_eq!(config.cluster.node_priority, 0);
}

#[test]
fn two_listeners_on_one_port() {
    let names = ["HTTP_PORT", "CLUSTER_PORT"];
    let on = ("CLUSTER_ENABLED", "true");
    refused(&[on, ("HTTP_PORT", "7946")], names);
    accepted(&[on, ("HTTP_PORT", "7946"), ("CLUSTER_ADDRESS", "10.0.0.1")]);
    accepted(&[on, ("HTTP_PORT", "0"), ("CLUSTER_PORT", "0")]);
    accepted(&[("HTTP_PORT", "7946")]);
}

#[test]
fn part_of_tls() {
    refused(&[("CLUSTER_TLS_KEY", "k")], ["CLUSTER_TLS_CERT", "CLUSTER_TLS_KEY"]);
    refused(&[("CLUSTER_TLS_CA", "a")], ["CLUSTER_TLS_CERT", "CLUSTER_TLS_CA"]);
    refused(&[("CLUSTER_TLS_CERT", "c"), ("CLUSTER_TLS_CA", "a")], ["CLUSTER_TLS_CERT", "CLUSTER_TLS_KEY"]);
    assert_eq!(problems(&[("CLUSTER_TLS_CERT", "c")]).len(), 2);
    accepted(&[("CLUSTER_TLS_CERT", "c"), ("CLUSTER_TLS_KEY", "k"), ("CLUSTER_TLS_CA", "a")]);
}

#[test]
fn each_side_is_shown_with_its_value_and_source() {
    let problems =
        Config::builder().with_toml("ha.toml", "[cluster]\nenabled = true\nnode_timeout = 3\n").build().unwrap_err();
    assert_eq!(
        problems.to_string(),
        "CLUSTER_NODE_TIMEOUT = 3s (file ha.toml line 3) and CLUSTER_HEARTBEAT_INTERVAL = 5s (default): \
         the node timeout must be longer than the heartbeat interval, or every lease ends between two heartbeats; \
         accepted: CLUSTER_NODE_TIMEOUT above 5s, better three times as long"
    );
}

#[test]
fn a_program_that_changes_fields_can_ask_again() {
    let mut config = Config::preset(ha_config::Preset::FullHa).build().unwrap();
    assert_eq!(config.validate(), Ok(()));
    config.cluster.node_timeout = std::time::Duration::MAX;
    config.ha.min_nodes = 9;
    let problems = config.validate().unwrap_err();
    assert!(problems.iter().any(|problem| problem.kind == ProblemKind::Value && problem.names("CLUSTER_NODE_TIMEOUT")));
    assert!(problems.iter().any(|problem| problem.names("HA_MIN_NODES") && problem.names("HA_QUORUM_SIZE")));
    // Asking for the rest does not panic either.
    assert!(!config.warnings().is_empty());
    assert!(!config.timing().totals.is_empty());
}
