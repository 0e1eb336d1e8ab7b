use ha_cluster::{MemberState, View, Votes};
use serde_json::{Value, json};

use super::*;
use crate::testing::{degraded, forming, healthy, no_quorum, stopped};

fn on() -> Rooms {
    Rooms { cluster: true, ..Rooms::default() }
}

/// Status and reasons of a view.
fn verdict(view: &View) -> Value {
    let document = serde_json::to_value(build(on(), view, None, false)).unwrap();
    json!([document["status"], document["reasons"]])
}

#[test]
fn all_off_says_only_that() {
    let document = build(Rooms::default(), &healthy(), None, false);
    assert_eq!(serde_json::to_value(document).unwrap(), json!({"status": "healthy", "ha_enabled": false}));
}

#[test]
fn a_healthy_member_in_full() {
    let document = serde_json::to_value(build(on(), &healthy(), None, false)).unwrap();
    let member = |node: &str, port: u16, role: &str| {
        json!({"node_id": node, "address": "10.0.0.1", "port": port, "state": "alive", "role": role, "priority": 100,
            "voter": true, "fit": true})
    };
    assert_eq!(
        document,
        json!({
            "status": "healthy",
            "ha_enabled": true,
            "ha_details": {
                "enabled": true,
                "version": env!("CARGO_PKG_VERSION"),
                "cluster_info": {
                    "total_nodes": 3, "active_nodes": 3, "leader_node": "node-1", "state": "healthy", "is_healthy": true,
                    "cluster_id": "00000000000000000000000000000abc", "cluster_name": "default", "node_id": "node-1",
                    "incarnation": 3, "address": "10.0.0.1:7946", "role": "leader", "term": 4, "epoch": 17,
                    "votes": {"have": 3, "need": 2},
                    "members": [
                        member("node-1", 7946, "leader"), member("node-2", 7947, "follower"),
                        member("node-3", 7948, "follower"),
                    ],
                    "waiting_for": null, "stopped": null,
                },
            },
        })
    );
}

#[test]
fn forming_is_degraded_and_says_what_it_waits_for() {
    assert_eq!(verdict(&forming()), json!(["degraded", ["the cluster has not formed yet; 1 of 2 nodes found"]]));
}

#[test]
fn a_node_that_has_not_joined_is_degraded_although_it_sees_no_leader() {
    let view = View { role: None, leader: None, leader_is_live: false, ..healthy() };
    assert_eq!(verdict(&view), json!(["degraded", ["this node has not joined the cluster yet"]]));
}

#[test]
fn a_missing_member_is_degraded() {
    let mut view = degraded();
    assert_eq!(verdict(&view), json!(["degraded", ["node-3 has failed: it is silent"]]));
    view.members[2].state = MemberState::Alive;
    assert_eq!(verdict(&view), json!(["healthy", null]));
    view.members[2].fit = false;
    let unfit = "node-3 is unfit: its disk does not answer, or it takes part no more; its own /health says which";
    assert_eq!(verdict(&view), json!(["degraded", [unfit]]));
    view.members[2].state = MemberState::Suspect;
    assert_eq!(
        verdict(&view),
        json!(["degraded", ["node-3 is suspect: it missed probes, or does not answer the leader"]])
    );
    view.members[2].state = MemberState::Left;
    assert_eq!(verdict(&view), json!(["degraded", ["node-3 has left: it said goodbye"]]));
}

#[test]
fn without_a_live_leader_a_member_is_unhealthy() {
    let mut view = healthy();
    view.leader_is_live = false;
    assert_eq!(verdict(&view), json!(["unhealthy", ["no quorum: no leader is known that can commit"]]));
    view.leader = None;
    assert_eq!(verdict(&view), json!(["unhealthy", ["no quorum: no leader is known that can commit"]]));
}

#[test]
fn too_few_votes_are_unhealthy_also_under_a_live_leader() {
    let view = View { votes: Votes { have: 1, need: 2 }, ..degraded() };
    let no_quorum = "no quorum: 1 of the 2 votes needed are here";
    assert_eq!(verdict(&view), json!(["unhealthy", [no_quorum, "node-3 has failed: it is silent"]]));
}

#[test]
fn a_lone_survivor_is_unhealthy_and_says_what_it_waits_for() {
    let view = View { waiting_for: Some("node-2 or node-3 must come back".to_owned()), ..no_quorum() };
    assert_eq!(
        verdict(&view),
        json!([
            "unhealthy",
            [
                "no quorum: 1 of the 2 votes needed are here; node-2 or node-3 must come back",
                "node-2 has failed: it is silent",
                "node-3 has failed: it is silent",
            ]
        ])
    );
}

#[test]
fn a_stopped_node_is_unhealthy_and_says_only_why() {
    let reason = "this node has stopped taking part: the disk failed: I/O error";
    assert_eq!(verdict(&stopped()), json!(["unhealthy", [reason]]));
}

#[test]
fn a_stopping_node_is_degraded() {
    let document = build(on(), &healthy(), None, true);
    assert_eq!(document.status, HealthStatus::Degraded);
    assert_eq!(document.reasons, ["this node is stopping"]);
}
