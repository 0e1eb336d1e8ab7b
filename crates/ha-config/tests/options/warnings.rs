//! What is legal but unwise is said, and nothing else.

use ha_config::Config;

/// The first option of each warning.
fn warned(settings: &[(&str, &str)]) -> Vec<&'static str> {
    let builder = settings.iter().fold(Config::builder(), |builder, (name, value)| builder.set(*name, *value));
    let warnings = builder.build().unwrap().warnings();
    warnings.iter().map(|warning| warning.options[0]).collect()
}

const QUIET: [(&str, &str); 2] = [("CLUSTER_ENABLED", "true"), ("CLUSTER_ADDRESS", "127.0.0.1")];

#[track_caller]
fn check(settings: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(warned(&[&QUIET, settings].concat()), expected, "{settings:?}");
}

#[test]
fn a_wise_configuration_is_not_warned_about() {
    check(&[], &[]);
    check(&[("HA_PRESET", "full_ha")], &[]);
    check(&[("HA_PRESET", "full_ha"), ("HA_PROFILE", "lan")], &[]);
}

#[test]
fn nothing_enabled() {
    assert_eq!(warned(&[]), ["CLUSTER_ENABLED"]);
}

#[test]
fn two_nodes_alone() {
    let preset = ("HA_PRESET", "simple_failover");
    check(&[preset], &["HA_MIN_NODES"]);
    check(&[preset, ("CLUSTER_SEED_NODES", "a:1,b:1")], &["HA_MIN_NODES"]);
    check(&[preset, ("CLUSTER_SEED_NODES", "a:1,b:1,witness:1")], &[]);
    check(&[preset, ("CLUSTER_SEED_NODES", "dns:ha:7946")], &[]);
    check(&[preset, ("FAILOVER_FENCE_COMMAND", "fence")], &[]);
    check(&[preset, ("FAILOVER_MODE", "manual")], &[]);
    check(&[preset, ("CLUSTER_ROLE", "witness")], &[]);
    check(&[preset, ("SPLIT_BRAIN_PREVENTION", "false")], &["SPLIT_BRAIN_PREVENTION"]);
}

#[test]
fn a_quorum_above_the_nodes_that_form() {
    check(&[("HA_QUORUM_SIZE", "3")], &["HA_QUORUM_SIZE"]);
}

#[test]
fn few_heartbeats_per_timeout() {
    check(&[("CLUSTER_NODE_TIMEOUT", "14.9")], &["CLUSTER_NODE_TIMEOUT"]);
    check(&[("CLUSTER_NODE_TIMEOUT", "15")], &[]);
}

#[test]
fn checks_longer_than_their_interval() {
    let settings = [("HEALTH_MONITOR_ENABLED", "true"), ("HEALTH_CHECK_INTERVAL", "1")];
    check(&settings, &["HEALTH_CHECK_TIMEOUT"]);
    check(&settings[1..], &[]);
}

#[test]
fn checks_that_nobody_makes() {
    check(&[("HEALTH_CHECKS", "db=tcp:a:1")], &["HEALTH_CHECKS"]);
    check(&[("HEALTH_CHECKS", "db=tcp:a:1"), ("HEALTH_MONITOR_ENABLED", "true")], &[]);
}

#[test]
fn open_doors() {
    let open = ("CLUSTER_ADDRESS", "0.0.0.0");
    check(&[open], &["CLUSTER_ADDRESS"]);
    let files = [("CLUSTER_TLS_CERT", "c"), ("CLUSTER_TLS_KEY", "k"), ("CLUSTER_TLS_CA", "a")];
    check(&[open, files[0], files[1], files[2]], &[]);
    let guarded =
        Config::builder().with_variables([("CLUSTER_ENABLED", "true"), ("CLUSTER_SECRET", "0123456789abcdef")]);
    assert_eq!(guarded.build().unwrap().warnings(), []);
    check(&[("HTTP_ADDRESS", "0.0.0.0")], &["HTTP_ADDRESS"]);
}

#[test]
fn secrets_that_are_short_or_in_sight() {
    check(&[("CLUSTER_SECRET", "0123456789abcdef")], &["CLUSTER_SECRET"]);
    let short = Config::builder().with_variables([("HTTP_TOKEN", "short"), ("CLUSTER_SECRET", "0123456789abcdef")]);
    let warnings = short.build().unwrap().warnings();
    assert!(warnings.iter().any(|warning| warning.to_string().starts_with("HTTP_TOKEN: a short secret")));
    assert!(!warnings.iter().any(|warning| warning.to_string().starts_with("CLUSTER_SECRET: a short secret")));
}
