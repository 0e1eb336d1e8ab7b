//! What probes, balancers and monitoring are told about each kind of view.

mod support;

use ha_runtime::testing::{degraded, follower, forming, healthy, no_quorum, stopped};
use ha_runtime::{MemberRole, View};
use serde_json::json;
use support::{Stage, stage};

/// Status codes of /health, live, ready, primary, replica.
async fn codes(stage: &Stage) -> [u16; 5] {
    let mut codes = [0; 5];
    for (code, path) in codes.iter_mut().zip(["", "/live", "/ready", "/primary", "/replica"]) {
        *code = stage.caller.get(&format!("/health{path}")).await.status;
    }
    codes
}

#[tokio::test]
async fn each_view_has_its_status_codes() {
    let learner = View { role: Some(MemberRole::Learner), ..follower() };
    let witness = View { role: Some(MemberRole::Witness), ..follower() };
    let stale_leader = View { leader_is_live: false, ..healthy() };
    let stage = stage(healthy()).await;
    for (name, view, expected) in [
        ("the leader", healthy(), [200, 200, 200, 200, 503]),
        ("a follower", follower(), [200, 200, 200, 503, 200]),
        ("a learner", learner, [200, 200, 200, 503, 200]),
        ("a witness", witness, [200, 200, 200, 503, 503]),
        ("degraded", degraded(), [200, 200, 200, 200, 503]),
        ("forming", forming(), [200, 200, 503, 503, 503]),
        ("no quorum", no_quorum(), [503, 200, 503, 503, 503]),
        ("a leader that lost its quorum", stale_leader, [503, 200, 503, 503, 503]),
        ("stopped", stopped(), [503, 200, 503, 503, 503]),
    ] {
        stage.puppet.show(view);
        assert_eq!(codes(&stage).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_leader_without_its_lease_claims_nothing() {
    let stage = stage(healthy()).await;
    stage.puppet.lease.send_replace(false);
    assert_eq!(codes(&stage).await, [503, 200, 503, 503, 503]);
    assert_eq!(stage.caller.get("/v1/cluster/leader").await.status, 503);
    assert_eq!(stage.caller.get("/v1/cluster").await.json()["state"], "no_quorum");
    // To follow takes no lease.
    stage.puppet.show(follower());
    assert_eq!(codes(&stage).await, [200, 200, 200, 503, 200]);
}

#[tokio::test]
async fn the_document_says_why() {
    let stage = stage(healthy()).await;
    for (view, expected) in [
        (healthy(), json!(["healthy", null])),
        (degraded(), json!(["degraded", ["node-3 has failed: it is silent"]])),
        (forming(), json!(["degraded", ["the cluster has not formed yet; 1 of 2 nodes found"]])),
        (stopped(), json!(["unhealthy", ["this node has stopped taking part: the disk failed: I/O error"]])),
        (
            no_quorum(),
            json!([
                "unhealthy",
                [
                    "no quorum: 1 of the 2 votes needed are here",
                    "node-2 has failed: it is silent",
                    "node-3 has failed: it is silent",
                ]
            ]),
        ),
    ] {
        stage.puppet.show(view);
        let document = stage.caller.get("/health").await.json();
        assert_eq!(json!([document["status"], document["reasons"]]), expected);
        assert_eq!(document["ha_enabled"], true);
        assert_eq!(document["ha_details"]["cluster_info"]["node_id"], "node-1");
    }
}

#[tokio::test]
async fn a_refused_probe_says_why_and_who_leads() {
    let stage = stage(follower()).await;
    let answer = stage.caller.get("/health/primary").await;
    assert_eq!(
        answer.json(),
        json!({"error": {"code": "not_primary", "message": "node-2 is no primary now", "leader": "node-1"}})
    );
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    stage.puppet.show(forming());
    let message = "the cluster has not formed yet; 1 of 2 nodes found";
    assert_eq!(
        stage.caller.get("/health/ready").await.json(),
        json!({"error": {"code": "not_ready", "message": message}})
    );
}

#[tokio::test]
async fn a_node_that_stops_is_no_longer_ready_nor_primary() {
    let stage = stage(healthy()).await;
    stage.ha.stop().await;
    assert!(*stage.puppet.stopped.borrow());
    assert_eq!(codes(&stage).await, [200, 200, 503, 503, 503]);
}

#[tokio::test]
async fn metrics_follow_the_view() {
    let stage = stage(degraded()).await;
    let answer = stage.caller.get("/metrics").await;
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    for line in [
        "# TYPE ha_cluster_members gauge",
        "# HELP ha_cluster_members Members of the cluster, by what gossip believes of them.",
        "ha_cluster_members{state=\"alive\"} 2",
        "ha_cluster_members{state=\"failed\"} 1",
        "ha_cluster_members{state=\"suspect\"} 0",
        "ha_cluster_state{state=\"degraded\"} 1",
        "ha_cluster_state{state=\"healthy\"} 0",
        "ha_cluster_is_leader 1",
        "ha_cluster_leader_is_live 1",
        "ha_cluster_term 4",
        "ha_cluster_epoch_commands 17",
        "ha_cluster_votes_have 2",
        "ha_cluster_votes_need 2",
        "ha_cluster_stopped 0",
        "# TYPE ha_net_sent_bytes_total counter",
        "ha_net_sent_bytes_total 1000",
        "ha_net_received_bytes_total 2000",
        "ha_net_sent_frames_total 10",
        "ha_net_received_frames_total 20",
        "ha_net_connections 4",
        "ha_net_refused_total 1",
        "ha_health_status 1",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line:?} is missing in\n{}", answer.body);
    }
    stage.puppet.show(no_quorum());
    let body = stage.caller.get("/metrics").await.body;
    assert!(body.lines().any(|line| line == "ha_cluster_members{state=\"failed\"} 2"), "{body}");
    assert!(body.lines().any(|line| line == "ha_cluster_is_leader 0"), "{body}");
    assert!(body.lines().any(|line| line.starts_with("ha_process_uptime_seconds ")), "{body}");
}

#[tokio::test]
async fn answers_are_counted_by_route() {
    let stage = stage(healthy()).await;
    for path in ["/health", "/health", "/v1/nothing", "/v1/nowhere"] {
        stage.caller.get(path).await;
    }
    stage.caller.post_json("/v1/cluster", "{}").await;
    let body = stage.caller.get("/metrics").await.body;
    for line in [
        "ha_http_requests_total{route=\"/health\",status=\"200\"} 2",
        "ha_http_requests_total{route=\"none\",status=\"404\"} 2",
        "ha_http_requests_total{route=\"/v1/cluster\",status=\"405\"} 1",
    ] {
        assert!(body.lines().any(|found| found == line), "{line:?} is missing in\n{body}");
    }
}
