//! The life of `ha run`, as far as it does not need other nodes.

mod support;

use std::io::{Read, Write};

use rustix::process::Signal;
use support::{Running, end, ha, taken_port};

/// A node that is alone.
fn alone(data: &tempfile::TempDir) -> std::process::Command {
    let mut command = ha(&["run", "--set", "HTTP_PORT=0"]);
    command.env("HA_DATA_DIR", data.path());
    command
}

#[test]
fn it_says_who_it_is_answers_and_ends_in_order() {
    for signal in support::ending_signals() {
        let data = tempfile::tempdir().unwrap();
        let mut node = Running::start(alone(&data));
        let url = node.url();
        let ended = end(ha(&["health", "--url", &url, "--json"]));
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let document: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(document, serde_json::json!({"status": "healthy", "ha_enabled": false}));
        let ended = end(ha(&["status", "--url", &url]));
        assert_eq!(
            (ended.code, ended.err),
            (Some(1), format!("ha: the cluster of {url} is off (CLUSTER_ENABLED=false)\n"))
        );
        node.signal(signal);
        let ended = node.end();
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.err);
        assert!(ended.err.contains("told to stop") && !ended.err.contains('\u{1b}'), "{}", ended.err);
        assert!(ended.err.contains(&data.path().display().to_string()), "{}", ended.err);
    }
}

/// A node that is its own cluster.
fn single(data: &tempfile::TempDir) -> std::process::Command {
    let mut command = ha(&["run", "--preset", "development", "--profile", "lan"]);
    for setting in ["HTTP_PORT=0", "CLUSTER_PORT=0", "CLUSTER_ADDRESS=127.0.0.1", "CLUSTER_NODE_ID=node-1"] {
        command.args(["--set", setting]);
    }
    command.env("HA_DATA_DIR", data.path());
    command
}

/// Most memory that an idle node may hold, code aside: an unoptimized build has far more code than a user's.
const IDLE_MEMORY_KIB_MAX: u64 = 10 * 1024;

#[test]
fn a_node_that_is_its_own_cluster_leads_takes_little_memory_and_comes_back() {
    let data = tempfile::tempdir().unwrap();
    for life in 1..=2 {
        let mut node = Running::start(single(&data));
        let url = node.url();
        node.wait_for("node-1 leads in term");
        node.wait_for("holds its node lease");
        let ended = end(ha(&["status", "--url", &url, "--json"]));
        let status: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(
            (&status["state"], &status["leader_node"], &status["incarnation"]),
            (&"healthy".into(), &"node-1".into(), &life.into()),
            "{status}"
        );
        assert_eq!(end(ha(&["leader", "--url", &url])).out.split(' ').next(), Some("node-1"));
        assert!(node.memory_kib() < IDLE_MEMORY_KIB_MAX, "{} KiB", node.memory_kib());
        assert!(!node.process_status().contains("THP_enabled:\t1"), "a small node has no huge pages");
        node.signal(Signal::TERM);
        assert_eq!(node.end().code, Some(0));
    }
}

#[test]
fn what_cannot_be_used_is_named_with_its_option() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Running::start(single(&data));
    node.url();
    let (_listener, port) = taken_port();
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("holiday.txt"), "sun").unwrap();
    for (directory, setting, named) in [
        (&data, "CLUSTER_PORT=0", "stop that one first, or choose another directory (HA_DATA_DIR)".to_owned()),
        (&elsewhere, &format!("CLUSTER_PORT={port}"), format!("127.0.0.1:{port}")),
        (&elsewhere, &format!("CLUSTER_PORT={port}"), "stop it, or set CLUSTER_PORT".to_owned()),
        (&foreign, "CLUSTER_PORT=0", "holiday.txt. Choose an empty directory (HA_DATA_DIR)".to_owned()),
    ] {
        let mut command = single(directory);
        command.args(["--set", setting]);
        let ended = end(command);
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let last = ended.err.lines().last().unwrap();
        assert!(last.starts_with("ha: ") && last.contains(&named), "{named:?} is not in {last:?}");
    }
    node.signal(Signal::TERM);
    assert_eq!(node.end().code, Some(0));
    let mut command = single(&data);
    command.args(["--set", "CLUSTER_NODE_ID=node-2"]);
    let ended = end(command);
    assert!(ended.code == Some(1) && ended.err.ends_with("(CLUSTER_NODE_ID, HA_DATA_DIR)\n"), "{}", ended.err);
}

#[test]
fn an_http_port_in_use_is_named_and_nothing_is_written() {
    let (_listener, port) = taken_port();
    let data = tempfile::tempdir().unwrap();
    let mut command = ha(&["run", "--preset", "development", "--set", &format!("HTTP_PORT={port}")]);
    command.env("HA_DATA_DIR", data.path().join("node"));
    let ended = end(command);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let expected = format!("ha: cannot listen on 127.0.0.1:{port} for HTTP: ");
    assert!(
        ended.err.lines().any(|line| line.starts_with(&expected) && line.contains("set HTTP_PORT")),
        "{}",
        ended.err
    );
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let mut command = alone(&data);
    command.args(["--set", "HTTP_ADDRESS=203.0.113.1"]);
    let ended = end(command);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("this machine has no such address: set HTTP_ADDRESS"), "{}", ended.err);
}

#[test]
fn the_log_can_be_widened_and_silenced() {
    let data = tempfile::tempdir().unwrap();
    let mut command = alone(&data);
    command.env("HA_LOG", "off");
    let mut node = Running::start(command);
    node.url();
    node.signal(Signal::TERM);
    let ended = node.end();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.err.contains("told to stop"), "{}", ended.err);
}

#[test]
fn a_node_whose_log_nobody_reads_runs_all_the_same() {
    let data = tempfile::tempdir().unwrap();
    let mut command = alone(&data);
    command.env("HA_LOG", "trace");
    let mut node = Running::start(command);
    let url = node.url();
    node.stop_reading();
    for _ in 0..3 {
        assert_eq!(end(ha(&["health", "--url", &url])).code, Some(0));
    }
    node.signal(Signal::TERM);
    assert_eq!(node.end().code, Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Running::start(alone(&data));
    let url = node.url();
    // A request that is being answered holds the end up: here, one whose body does not come.
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/cluster/transfer HTTP/1.1\r\nHost: {address}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    // Frozen meanwhile, it finds both signals when it wakes, and which one it takes first is its own affair.
    for signal in [Signal::STOP, Signal::TERM, Signal::INT, Signal::CONT] {
        node.signal(signal);
    }
    let ended = node.end();
    assert!(matches!(ended.code, Some(130 | 143)), "{ended:?}");
    assert!(ended.err.contains("told again"), "{ended:?}");
}

#[test]
fn a_node_checks_its_components_tells_of_them_and_changes_its_log_while_it_runs() {
    let data = tempfile::tempdir().unwrap();
    let mut command = alone(&data);
    for setting in [
        "HEALTH_MONITOR_ENABLED=true",
        "HEALTH_CHECK_INTERVAL=0.2",
        "HEALTH_FAILURE_THRESHOLD=1",
        "HEALTH_CHECKS=work=command:echo broken >&2; exit 1",
        "HEALTH_CRITICAL=work",
    ] {
        command.args(["--set", setting]);
    }
    let mut node = Running::start(command);
    let url = node.url();
    node.wait_for("work is unhealthy: broken (exit status: 1)");
    let ended = end(ha(&["health", "--url", &url]));
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.out.contains("\nwork           unhealthy  yes"), "{}", ended.out);
    let ended = end(ha(&["doctor", "--url", &url]));
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(
        ended.out.contains("  trouble   work is unhealthy\n    cause   broken (exit status: 1)\n"),
        "{}",
        ended.out
    );
    let ended = end(ha(&["config", "set", "log_level", "loud", "--url", &url]));
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert_eq!(end(ha(&["config", "set", "log_level", "off", "--url", &url])).code, Some(0));
    node.signal(Signal::TERM);
    let ended = node.end();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.err.contains("told to stop"), "{}", ended.err);
}
