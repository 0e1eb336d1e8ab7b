//! What is said, and with which exit code, when the program is used wrongly.

mod support;

use support::{end, ha};

#[test]
fn without_arguments_it_shows_its_help() {
    let ended = end(ha(&[]));
    assert_eq!(ended.code, Some(2));
    for command in ["run", "status", "members", "leader", "transfer", "health", "doctor", "events", "config", "version"]
    {
        assert!(ended.err.contains(&format!("\n  {command} ")), "{command} is missing in\n{}", ended.err);
    }
    assert_eq!(end(ha(&["--help"])).code, Some(0));
}

#[test]
fn the_version_has_one_line_and_one_field() {
    let version = env!("CARGO_PKG_VERSION");
    for arguments in [&["version"][..], &["--version"]] {
        let ended = end(ha(arguments));
        assert_eq!((ended.code, ended.out), (Some(0), format!("ha {version}\n")));
    }
    let ended = end(ha(&["version", "--json"]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ended.out).unwrap(), serde_json::json!({"version": version}));
}

#[test]
fn wrong_usage_exits_with_2_and_names_what_is_wrong() {
    let long = "n".repeat(1025);
    for (arguments, named) in [
        (&["statsu"][..], "statsu"),
        (&["status", "--jsno"], "--jsno"),
        (&["status", "--url", "https://node-1"], "TLS"),
        (&["run", "--log", "ha_net=loud"], "ha_net=loud"),
        (&["run", "--", "python", "-m", "bot"], "failover decides where it runs"),
        (&["lock", "", "--", "true"], "the name of a lock must not be empty"),
        (&["lock", &long, "--", "true"], "the name of a lock has at most 1024 bytes, not 1025"),
        (&["lock", "l", "--holder", &long, "--", "true"], "--holder takes at most 256 bytes"),
        (&["lock", "l", "--ttl", "0", "--", "true"], "--ttl takes from 0.1 to 86400 seconds"),
        (&["lock", "l", "--ttl", "0.09", "--", "true"], "--ttl takes from 0.1 to 86400 seconds"),
        (&["lock", "l", "--timeout", "1e19", "--", "true"], "--timeout"),
        (&["state", "list", "--limit", "0"], "--limit"),
        (&["state", "put", "k", "1", "--ttl", "NaN"], "--ttl takes a number of seconds"),
    ] {
        let ended = end(ha(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(named), "{arguments:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{arguments:?}");
    }
}

#[test]
fn options_that_contradict_one_another_are_shown_with_their_sources_before_they_are_refused() {
    let ended = end(ha(&["config", "show", "--json", "--set", "FAILOVER_ENABLED=true"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("FAILOVER_ENABLED") && ended.err.contains("CLUSTER_ENABLED"), "{}", ended.err);
    let options = serde_json::from_str::<Vec<serde_json::Value>>(&ended.out).unwrap();
    let shown = serde_json::json!({"name": "FAILOVER_ENABLED", "value": true, "source": "--set"});
    assert!(options.contains(&shown), "{}", ended.out);
}

#[test]
fn every_mistake_in_the_configuration_is_reported_at_once() {
    let mut command = ha(&[
        "run",
        "--preset",
        "ful_ha",
        "--set",
        "CLUSTER_PROT=1",
        "--set",
        "no-equals",
        "--config",
        "/no/such/file",
    ]);
    command.env("HTTP_PORT", "http").env("CLUSTER_NODE_TIMEOUT", "-1").env("HTTP_PROXY", "http://proxy:3128");
    let ended = end(command);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.starts_with("ha: the configuration has 6 problems:\n  "), "{}", ended.err);
    for named in ["HA_PRESET", "CLUSTER_PROT", "no-equals", "/no/such/file", "HTTP_PORT", "CLUSTER_NODE_TIMEOUT"] {
        assert!(ended.err.contains(named), "{named} is missing in\n{}", ended.err);
    }
    assert!(!ended.err.contains("HTTP_PROXY"), "{}", ended.err);
}

#[test]
fn the_token_is_not_shown_in_the_help() {
    let mut command = ha(&["status", "--help"]);
    command.env("HA_HTTP_TOKEN", "open-sesame");
    let ended = end(command);
    assert!(ended.out.contains("HA_HTTP_TOKEN") && !ended.out.contains("open-sesame"), "{}", ended.out);
}
