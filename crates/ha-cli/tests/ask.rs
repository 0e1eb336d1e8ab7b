//! What the commands that ask a node print, and how they end.

#![allow(clippy::unwrap_used, reason = "the stage is built outside of the tests that use it")]

mod support;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ha_http::{Server, Token};
use ha_runtime::testing::{Puppet, degraded, follower, forming, healthy, id, no_quorum};
use ha_runtime::{Event, LeaveError, Node, View};
use serde_json::{Value, json};
use support::{Ended, PATIENCE, ha, taken_port};

/// A served puppet on a runtime of its own.
struct Stage {
    puppet: Arc<Puppet>,
    server: Server,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new(view: View, token: Option<&str>) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let puppet = Puppet::new(view);
        let config = ha_http::Config {
            listen: ([127, 0, 0, 1], 0).into(),
            token: token.map(|token| Token::new(token).unwrap()),
            ..ha_http::Config::default()
        };
        let server = runtime.block_on(async { ha_http::listen(config).await.unwrap().serve(puppet.node()) });
        Self { puppet, server, runtime }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ha(arguments);
        command.env("HA_URL", format!("http://{}", self.server.local_addr()));
        command
    }

    fn wait_for_a_follower(&self) {
        let mut followers = self.puppet.followers.subscribe();
        let followed = async { tokio::time::timeout(PATIENCE, followers.wait_for(|count| *count > 0)).await.map(drop) };
        self.runtime.block_on(followed).expect("a follower in time");
    }

    fn ask(&self, arguments: &[&str]) -> Ended {
        support::end(self.command(arguments))
    }
}

#[test]
fn status_shows_the_cluster_the_members_and_the_notes() {
    let stage = Stage::new(degraded(), None);
    let expected = "\
cluster    default
id         00000000000000000000000000000abc
state      degraded
leader     node-1
nodes      2 of 3 alive
votes      2 here, 2 needed
term       4, epoch 17
this node  node-1 (leader) at 10.0.0.1:7946

NODE    STATE   ROLE      VOTES  PRIORITY  ADDRESS
node-1  alive   leader    yes    100       10.0.0.1:7946
node-2  alive   follower  yes    100       10.0.0.1:7947
node-3  failed  follower  yes    100       10.0.0.1:7948

note  node-3 has failed: it is silent
";
    let ended = stage.ask(&["status"]);
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), expected, ""));
    let json: Value = serde_json::from_str(&stage.ask(&["status", "--json"]).out).unwrap();
    assert_eq!(
        (&json["state"], &json["leader_node"], &json["votes"]["need"]),
        (&json!("degraded"), &json!("node-1"), &json!(2))
    );
    stage.puppet.show(no_quorum());
    let ended = stage.ask(&["status"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.contains("state      no_quorum\nleader     none\n"), "{}", ended.out);
}

#[test]
fn colours_are_for_terminals_and_those_who_ask() {
    let stage = Stage::new(healthy(), None);
    assert!(!stage.ask(&["status"]).out.contains('\u{1b}'));
    let mut command = stage.command(&["status"]);
    command.env("CLICOLOR_FORCE", "1");
    assert!(support::end(command).out.contains("\u{1b}[32mhealthy\u{1b}[0m"));
    let mut command = stage.command(&["status"]);
    command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    assert!(!support::end(command).out.contains('\u{1b}'));
}

#[test]
fn members_and_leader() {
    let stage = Stage::new(healthy(), None);
    let ended = stage.ask(&["members"]);
    assert_eq!((ended.code, ended.out.lines().count()), (Some(0), 4));
    let json: Value = serde_json::from_str(&stage.ask(&["members", "--json"]).out).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[1]["node_id"]), (3, &json!("node-2")));
    assert_eq!(stage.ask(&["leader"]).out, "node-1 at 10.0.0.1:7946\n");
    let json: Value = serde_json::from_str(&stage.ask(&["leader", "--json"]).out).unwrap();
    assert_eq!(json, json!({"node_id": "node-1", "address": "10.0.0.1", "port": 7946}));

    stage.puppet.show(forming());
    assert_eq!(stage.ask(&["members"]).out, "no members yet: the cluster has not formed\n");
    let ended = stage.ask(&["leader"]);
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(1), "", "ha: there is no leader now\n"));
}

#[test]
fn health_exits_with_1_when_unhealthy() {
    let stage = Stage::new(degraded(), None);
    let ended = stage.ask(&["health"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "status  degraded\n  note  node-3 has failed: it is silent\n")
    );
    stage.puppet.show(no_quorum());
    let ended = stage.ask(&["health", "--json"]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap()["status"], "unhealthy");
    assert_eq!(ended.err, format!("ha: http://{} is unhealthy\n", stage.server.local_addr()));
}

#[test]
fn a_transfer_needs_the_token_and_names_the_new_leader() {
    let stage = Stage::new(follower(), Some("open-sesame"));
    let node = Node { node_id: id("node-2"), address: "10.0.0.1".to_owned(), port: 7947 };
    *stage.puppet.transfer_answer.lock().unwrap() = Some(Ok(node));
    let ended = stage.ask(&["transfer", "--to", "node-2"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("Authorization: Bearer"), "{}", ended.err);
    let ended = stage.ask(&["transfer", "--to", "node-2", "--token", "open-sesame"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "leadership is with node-2 at 10.0.0.1:7947\n"));
    let mut command = stage.command(&["transfer", "--json"]);
    command.env("HA_HTTP_TOKEN", "open-sesame");
    let json: Value = serde_json::from_str(&support::end(command).out).unwrap();
    assert_eq!(json["node_id"], "node-2");
    assert_eq!(*stage.puppet.transfers.lock().unwrap(), [Some(id("node-2")), None]);
}

#[test]
fn a_member_is_removed_by_name() {
    let stage = Stage::new(follower(), None);
    let ended = stage.ask(&["remove", "node-3"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "node-3 is no member any more\n"));
    *stage.puppet.removal_refused.lock().unwrap() = Some(LeaveError::NotAMember { node: id("node-9") });
    let ended = stage.ask(&["remove", "node-9"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), "ha: node-9 is not a member of this cluster\n"));
    assert_eq!(*stage.puppet.removals.lock().unwrap(), [id("node-3"), id("node-9")]);
}

#[test]
fn events_are_followed_until_the_node_stops() {
    let stage = Stage::new(healthy(), None);
    let child = stage.command(&["events", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    stage.wait_for_a_follower();
    stage.puppet.happen(7, "leader_changed", "node-2 leads in term 5");
    stage.puppet.happen(8, "member_failed", "node-3 is silent");
    stage.runtime.block_on(stage.server.stop());
    let ended = Ended::from(child.wait_with_output().unwrap());
    let events: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        events,
        [
            json!({"number": 7, "kind": "leader_changed", "message": "node-2 leads in term 5"}),
            json!({"number": 8, "kind": "member_failed", "message": "node-3 is silent"}),
        ]
    );
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("the node is stopping"), "{}", ended.err);
}

#[test]
fn a_node_that_cannot_be_reached_is_one_clear_line() {
    let (listener, port) = taken_port();
    drop(listener);
    let url = format!("http://127.0.0.1:{port}");
    for command in ["status", "members", "leader", "transfer", "health", "events"] {
        let ended = support::end(ha(&[command, "--url", &url]));
        let expected = format!("ha: cannot reach {url}: connection refused; is `ha run` running there? (--url)\n");
        assert_eq!((ended.code, ended.out.as_str(), ended.err), (Some(1), "", expected), "{command}");
    }
}

#[test]
fn a_server_that_is_no_node_is_told_from_one() {
    let (listener, port) = taken_port();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert_ne!(stream.read(&mut request).unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    let ended = support::end(ha(&["members", "--url", &format!("127.0.0.1:{port}")]));
    server.join().unwrap();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.starts_with("ha: the answer is not that of a node of ha (200 OK)"), "{}", ended.err);
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let stage = Stage::new(healthy(), None);
    let mut child = stage.command(&["events"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    stage.wait_for_a_follower();
    drop(child.stdout.take());
    // A process that another test is just starting may hold the reading end for a moment, and take one line; so there
    // are more than one.
    let ended = async {
        for number in 1.. {
            // Once it has ended, nobody follows.
            let _ = stage.puppet.events.send(Event { number, kind: "tick", message: "one more".to_owned() });
            tokio::time::sleep(Duration::from_millis(5)).await;
            if child.try_wait().unwrap().is_some() {
                return;
            }
        }
    };
    stage.runtime.block_on(async { tokio::time::timeout(PATIENCE, ended).await }).expect("an end in time");
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[test]
fn the_doctor_exits_with_1_when_there_is_trouble() {
    let stage = Stage::new(healthy(), None);
    let ended = stage.ask(&["doctor"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.starts_with("Do nodes join?  yes\n"), "{}", ended.out);
    stage.puppet.show(degraded());
    let ended = stage.ask(&["doctor"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("  trouble   node-3 has failed\n    cause   nothing is heard"), "{}", ended.out);
    assert!(
        ended.out.contains("    remedy  start it again; if it is gone for good: ha remove node-3\n"),
        "{}",
        ended.out
    );
    let json: Value = serde_json::from_str(&stage.ask(&["doctor", "--json"]).out).unwrap();
    assert_eq!((&json["well"], &json["topics"][0]["name"]), (&json!(false), &json!("joining")));
}

#[test]
fn a_priority_is_set_on_a_running_node() {
    let stage = Stage::new(healthy(), None);
    let ended = stage.ask(&["config", "set", "priority", "7"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "the priority of the node is 7 until it starts again\n"));
    let ended = stage.ask(&["config", "set", "priority", "1001"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert_eq!(stage.ask(&["config", "set", "priority", "high"]).code, Some(2));
    assert_eq!(stage.ask(&["config", "set", "colour", "red"]).code, Some(2));
    assert_eq!(*stage.puppet.priorities.lock().unwrap(), [7]);
}
