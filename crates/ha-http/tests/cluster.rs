//! The cluster's calls, and what every call has in common.

mod support;

use ha_runtime::testing::{degraded, forming, healthy, id, no_quorum};
use ha_runtime::{LeaveError, Node, TransferError, View};
use serde_json::json;
use support::{stage, stage_with};

#[tokio::test]
async fn the_cluster_at_a_glance() {
    let stage = stage(healthy()).await;
    let glance = |total, active, leader: Option<&str>, state: &str, is_healthy| {
        json!({"total_nodes": total, "active_nodes": active, "leader_node": leader, "state": state,
            "is_healthy": is_healthy})
    };
    for (view, expected) in [
        (healthy(), glance(3, 3, Some("node-1"), "healthy", true)),
        (degraded(), glance(3, 2, Some("node-1"), "degraded", false)),
        (no_quorum(), glance(3, 1, None, "no_quorum", false)),
        (forming(), glance(0, 0, None, "forming", false)),
    ] {
        stage.puppet.show(view);
        let answer = stage.caller.get("/v1/cluster").await;
        assert_eq!((answer.status, answer.json()), (200, expected));
    }
}

#[tokio::test]
async fn the_leader_or_503() {
    let stage = stage(healthy()).await;
    let answer = stage.caller.get("/v1/cluster/leader").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"node_id": "node-1", "address": "10.0.0.1", "port": 7946}));
    for view in [no_quorum(), forming(), View { leader_is_live: false, ..healthy() }] {
        stage.puppet.show(view);
        let answer = stage.caller.get("/v1/cluster/leader").await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json(), json!({"error": {"code": "no_leader", "message": "there is no leader now"}}));
    }
}

#[tokio::test]
async fn the_members() {
    let stage = stage(degraded()).await;
    let member = |node, port, state, role| {
        json!({"node_id": node, "address": "10.0.0.1", "port": port, "state": state, "role": role, "priority": 100,
            "voter": true, "fit": true})
    };
    assert_eq!(
        stage.caller.get("/v1/cluster/members").await.json(),
        json!([
            member("node-1", 7946, "alive", "leader"),
            member("node-2", 7947, "alive", "follower"),
            member("node-3", 7948, "failed", "follower"),
        ])
    );
}

#[tokio::test]
async fn leadership_is_handed_to_the_node_named_or_to_the_best() {
    let stage = stage(healthy()).await;
    let node = Node { node_id: id("node-2"), address: "10.0.0.1".to_owned(), port: 7947 };
    *stage.puppet.transfer_answer.lock().unwrap() = Some(Ok(node));
    let expected = json!({"node_id": "node-2", "address": "10.0.0.1", "port": 7947});
    let path = "/v1/cluster/transfer";
    for body in ["{\"to\": \"node-2\"}", "{}", "{\"to\": null}"] {
        let answer = stage.caller.post_json(path, body).await;
        assert_eq!((answer.status, answer.json()), (200, expected.clone()), "{body}");
    }
    assert_eq!(stage.caller.call("POST", path, &[], "").await.json(), expected);
    let array = stage.caller.post_json(path, " []").await;
    assert_eq!((array.status, array.code()), (400, "bad_json".to_owned()));
    assert_eq!(*stage.puppet.transfers.lock().unwrap(), [Some(id("node-2")), None, None, None]);
}

/// Who relies on a key must hear that it means nothing here, before anything happens.
#[tokio::test]
async fn calls_that_know_no_repetition_refuse_an_idempotency_key() {
    let stage = stage(healthy()).await;
    let headers = ["Content-Type: application/json", "Idempotency-Key: k"];
    for (method, path) in [
        ("POST", "/v1/cluster/transfer"),
        ("DELETE", "/v1/cluster/members/node-2"),
        ("POST", "/v1/failover/promote"),
        ("POST", "/v1/snapshot"),
        ("PUT", "/v1/replication/t/1"),
        ("DELETE", "/v1/replication/t/1"),
        ("POST", "/v1/replication-tails/4711/apply"),
        ("DELETE", "/v1/replication-tails/4711"),
        ("POST", "/v1/replication-promote"),
    ] {
        let answer = stage.caller.call(method, path, &headers, "{}").await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!("no_request_key")),
            "{method} {path}"
        );
    }
    assert!(stage.puppet.transfers.lock().unwrap().is_empty() && stage.puppet.removals.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_transfer_that_fails_says_why_and_who_leads() {
    let stage = stage(healthy()).await;
    let node = id("node-9");
    let reason = "a reason".to_owned();
    for (error, status, code) in [
        (TransferError::NoLeader, 503, "no_leader"),
        (TransferError::NotAMember { node: node.clone() }, 404, "not_a_member"),
        (TransferError::NotEligible { node: node.clone(), reason: reason.clone() }, 409, "not_eligible"),
        (TransferError::NotReady { node, reason: reason.clone() }, 409, "not_ready"),
        (TransferError::Failed { reason }, 503, "transfer_failed"),
    ] {
        *stage.puppet.transfer_answer.lock().unwrap() = Some(Err(error.clone()));
        let answer = stage.caller.post_json("/v1/cluster/transfer", "{}").await;
        let expected = json!({"error": {"code": code, "message": error.to_string(), "leader": "node-1"}});
        assert_eq!((answer.status, answer.json()), (status, expected));
    }
}

#[tokio::test]
async fn a_member_is_removed_or_stays_for_a_reason() {
    let stage = stage(healthy()).await;
    let delete = |node| stage.caller.call("DELETE", node, &[], "");
    let answer = delete("/v1/cluster/members/node-3").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"removed": "node-3"})));
    let answer = delete("/v1/cluster/members/no%20node").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_a_member"));
    let reason = || "for a reason".to_owned();
    for (error, status, code) in [
        (LeaveError::Refused { reason: reason() }, 409, "not_removed"),
        (LeaveError::NotAMember { node: id("node-2") }, 404, "not_a_member"),
        (LeaveError::Unknown { reason: reason() }, 503, "removal_unknown"),
    ] {
        *stage.puppet.removal_refused.lock().unwrap() = Some(error);
        let answer = delete("/v1/cluster/members/node-2").await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }
    assert_eq!(stage.puppet.removals.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_a_code() {
    let stage = stage(healthy()).await;
    let caller = stage.caller;
    let path = "/v1/cluster/transfer";
    let too_long = format!("{{\"to\": \"{}\"}}", "x".repeat(ha_http::limits::BODY_BYTES_MAX));
    for (answer, status, code) in [
        (caller.get("/v1/nothing").await, 404, "not_found"),
        (caller.get("/").await, 404, "not_found"),
        (caller.get(path).await, 405, "method_not_allowed"),
        (caller.call("DELETE", "/health", &[], "").await, 405, "method_not_allowed"),
        (caller.post_json("/v1/replication-check", "{}").await, 405, "method_not_allowed"),
        (caller.get("/v1/replication-tails/4711/apply").await, 405, "method_not_allowed"),
        (caller.post_json(path, "{").await, 400, "bad_json"),
        (caller.post_json(path, "{\"two\": \"node-2\"}").await, 400, "bad_json"),
        (caller.post_json(path, "{\"to\": \"not a node id\"}").await, 400, "bad_json"),
        (caller.call("POST", path, &[], "{\"to\": \"node-2\"}").await, 415, "not_json"),
        (caller.call("POST", path, &["Content-Type: text/plain"], "{}").await, 415, "not_json"),
        (caller.post_json(path, &too_long).await, 413, "body_too_large"),
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    }
    assert!(stage.puppet.transfers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn changes_need_a_loopback_address_or_the_token() {
    let path = "/v1/cluster/transfer";
    let open = stage_with(healthy(), "0.0.0.0:0", None).await;
    let answer = open.caller.post_json(path, "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "token_required"));
    assert_eq!(open.caller.get("/v1/cluster").await.status, 200);
    assert!(open.puppet.transfers.lock().unwrap().is_empty());

    let guarded = stage_with(healthy(), "0.0.0.0:0", Some("open-sesame")).await;
    let answer = guarded.caller.post_json(path, "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
    for path in ["/v1/replication-check", "/v1/replication-tails", "/v1/state", "/v1/replication/orders"] {
        assert_eq!(guarded.caller.get(path).await.status, 401, "{path}");
    }
    // By the short way, and by the table of routes.
    for path in ["/v1/state/a", "/v1/state/%61", "/v1/replication/orders/1", "/v1/replication/orders/%31"] {
        assert_eq!(guarded.caller.get(path).await.status, 401, "{path}");
        let json = ["Content-Type: application/json"];
        let put = guarded.caller.call("PUT", path, &json, "{\"value\": 1}").await;
        assert_eq!((put.status, put.code().as_str()), (401, "unauthorized"), "{path}");
        let put = open.caller.call("PUT", path, &json, "{\"value\": 1}").await;
        assert_eq!((put.status, put.code().as_str()), (403, "token_required"), "{path}");
    }
    assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    let answer = guarded.caller.call("POST", path, &["Authorization: Bearer wrong"], "").await;
    assert_eq!(answer.status, 401);
    assert!(guarded.puppet.transfers.lock().unwrap().is_empty());
    let answer = guarded.caller.call("POST", path, &["Authorization: Bearer open-sesame"], "").await;
    assert_eq!(answer.code(), "no_leader");
    assert_eq!(guarded.puppet.transfers.lock().unwrap().len(), 1);
}
