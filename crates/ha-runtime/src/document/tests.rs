use ha_cluster::{
    Address, ClusterId, Epoch, Incarnation, Member, MemberRole, MemberState, Node, NodeId, Term, View, Votes,
};
use serde_json::{Value, json};

use super::*;

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn member(node: &str, role: MemberRole) -> Member {
    Member {
        node_id: id(node),
        address: "10.0.0.1".to_owned(),
        port: 7946,
        state: MemberState::Alive,
        role,
        priority: 100,
        voter: true,
    }
}

fn healthy() -> View {
    let address: Address = "10.0.0.1:7946".parse().unwrap();
    View {
        cluster_id: Some(ClusterId(0xabc)),
        cluster_name: "default".to_owned(),
        node_id: id("node-1"),
        incarnation: Incarnation(3),
        address: address.clone(),
        role: Some(MemberRole::Leader),
        term: Term(4),
        epoch: Epoch(17),
        leader: Some(Node::new(id("node-1"), &address)),
        leader_is_live: true,
        members: vec![member("node-1", MemberRole::Leader), member("node-2", MemberRole::Follower)],
        votes: Votes { have: 2, need: 2 },
        waiting_for: None,
        stopped: None,
    }
}

fn on() -> Rooms {
    Rooms { cluster: true, ..Rooms::default() }
}

/// Status and reasons of a view.
fn verdict(view: &View) -> Value {
    let document = serde_json::to_value(build(on(), view, false)).unwrap();
    json!([document["status"], document["reasons"]])
}

#[test]
fn all_off_says_only_that() {
    let document = build(Rooms::default(), &healthy(), false);
    assert_eq!(serde_json::to_value(document).unwrap(), json!({"status": "healthy", "ha_enabled": false}));
}

#[test]
fn a_healthy_member_in_full() {
    let document = serde_json::to_value(build(on(), &healthy(), false)).unwrap();
    let member = |node: &str, role: &str| {
        json!({"node_id": node, "address": "10.0.0.1", "port": 7946, "state": "alive", "role": role, "priority": 100,
            "voter": true})
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
                    "total_nodes": 2, "active_nodes": 2, "leader_node": "node-1", "state": "healthy", "is_healthy": true,
                    "cluster_id": "00000000000000000000000000000abc", "cluster_name": "default", "node_id": "node-1",
                    "incarnation": 3, "address": "10.0.0.1:7946", "role": "leader", "term": 4, "epoch": 17,
                    "votes": {"have": 2, "need": 2},
                    "members": [member("node-1", "leader"), member("node-2", "follower")],
                    "waiting_for": null, "stopped": null,
                },
            },
        })
    );
}

#[test]
fn forming_is_degraded_and_says_what_it_waits_for() {
    let view = View {
        cluster_id: None,
        role: None,
        leader: None,
        members: vec![],
        votes: Votes::default(),
        waiting_for: Some("1 of 2 nodes found".to_owned()),
        ..healthy()
    };
    assert_eq!(verdict(&view), json!(["degraded", ["the cluster has not formed yet: 1 of 2 nodes found"]]));
}

#[test]
fn a_node_that_has_not_joined_is_degraded_although_it_sees_no_leader() {
    let view = View { role: None, leader: None, leader_is_live: false, ..healthy() };
    assert_eq!(verdict(&view), json!(["degraded", ["this node has not joined the cluster yet"]]));
}

#[test]
fn a_missing_member_is_degraded() {
    let mut view = healthy();
    view.members[1].state = MemberState::Failed;
    assert_eq!(verdict(&view), json!(["degraded", ["node-2 has failed: it is silent"]]));
    view.members[1].state = MemberState::Suspect;
    assert_eq!(verdict(&view), json!(["degraded", ["node-2 is suspect: it missed probes"]]));
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
    let mut view = View { votes: Votes { have: 1, need: 2 }, ..healthy() };
    view.members[1].state = MemberState::Failed;
    view.waiting_for = Some("node-2 must come back".to_owned());
    assert_eq!(
        verdict(&view),
        json!([
            "unhealthy",
            ["no quorum: 1 of the 2 votes needed are here: node-2 must come back", "node-2 has failed: it is silent",]
        ])
    );
}

#[test]
fn a_stopped_node_is_unhealthy_and_says_only_why() {
    let mut view = View { stopped: Some("the disk failed: I/O error".to_owned()), ..healthy() };
    view.members[1].state = MemberState::Failed;
    assert_eq!(verdict(&view), json!(["unhealthy", ["this node has stopped taking part: the disk failed: I/O error"]]));
}

#[test]
fn a_stopping_node_is_degraded() {
    let document = build(on(), &healthy(), true);
    assert_eq!(document.status, HealthStatus::Degraded);
    assert_eq!(document.reasons, ["this node is stopping"]);
}
