//! Shared keys and locks over HTTP, on a real cluster of one node.

#![allow(clippy::unwrap_used, reason = "the stage is built outside of the tests that use it")]

mod support;

use std::time::Duration;

use ha_http::{Config, Server};
use ha_runtime::Ha;
use serde_json::json;
use support::{Answer, Caller, PATIENCE, stage};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

/// A node that serves.
struct Node {
    ha: Ha,
    caller: Caller,
    _server: Server,
    _folder: TempDir,
}

async fn node() -> Node {
    let node = start("CLUSTER_ROLE", "member").await;
    let mut view = node.ha.cluster().watch();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.leader_is_live)).await.unwrap().unwrap();
    node
}

async fn start(option: &str, value: &str) -> Node {
    let folder = tempfile::tempdir().unwrap();
    let mut config = ha_config::Config::builder();
    for (option, value) in [
        ("HA_PRESET", "development"),
        ("HA_PROFILE", "lan"),
        ("CLUSTER_ADDRESS", "127.0.0.1"),
        ("CLUSTER_PORT", "0"),
        ("HA_DATA_DIR", folder.path().to_str().unwrap()),
        (option, value),
    ] {
        config = config.set(option, value);
    }
    let ha = ha_runtime::start(config.build().unwrap()).await.unwrap();
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
    let server = ha_http::listen(config).await.unwrap().serve(ha.clone());
    let caller = Caller { to: server.local_addr() };
    Node { ha, caller, _server: server, _folder: folder }
}

const JSON: &str = "Content-Type: application/json";

impl Node {
    async fn put(&self, key: &str, body: &str) -> Answer {
        self.caller.call("PUT", &format!("/v1/state/{key}"), &[JSON], body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.caller.call("DELETE", path, &[], "").await
    }
}

fn revision(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["revision"].as_u64().unwrap()
}

#[tokio::test]
async fn a_value_comes_back_as_it_was_put() {
    let node = node().await;
    let put = node.put("a/b%20c", r#"{"value": {"n": 1.50, "s": "\u00e4"}}"#).await;
    let first = revision(&put);
    let got = node.caller.get("/v1/state/a/b%20c").await;
    assert_eq!((got.status, got.json()["key"].as_str()), (200, Some("a/b c")));
    assert!(got.body.contains(r#""value":{"n": 1.50, "s": "\u00e4"}"#), "{}", got.body);
    assert!(got.head.contains("cache-control: no-store"));
    assert_eq!((got.json()["revision"].as_u64(), got.json()["version"].as_u64()), (Some(first), Some(1)));
    assert_eq!(node.caller.get("/v1/state/a/b%20c?consistency=stale").await.json(), got.json());
    node.ha.state().put("raw", vec![0xff]).await.unwrap();
    let raw = node.caller.get("/v1/state/raw").await.json();
    assert_eq!((&raw["value"], &raw["encoding"]), (&json!("/w=="), &json!("base64")));
    assert_eq!(node.caller.get("/v1/state/none").await.code(), "no_such_key");
    assert_eq!(node.caller.get("/v1/state/none?consistency=eventual").await.status, 400);
    assert_eq!(node.delete("/v1/state/raw").await.json()["deleted"], true);
    assert_eq!(node.delete("/v1/state/raw").await.json()["deleted"], false);
}

#[tokio::test]
async fn a_failed_condition_changes_nothing() {
    let node = node().await;
    let first = revision(&node.put("k", r#"{"value": 1, "if_revision": 0}"#).await);
    let again = node.put("k", r#"{"value": 2, "if_revision": 0}"#).await;
    assert_eq!((again.status, again.code().as_str()), (412, "condition_failed"));
    let second = revision(&node.put("k", &format!(r#"{{"value": 2, "if_revision": {first}}}"#)).await);
    assert_eq!(node.delete(&format!("/v1/state/k?if_revision={first}")).await.status, 412);
    assert_eq!(node.delete(&format!("/v1/state/k?if_revision={second}")).await.status, 200);
}

#[tokio::test]
async fn mistakes_are_told() {
    let node = node().await;
    assert_eq!(node.put("k", "{}").await.status, 400);
    assert_eq!(node.put("k", r#"{"value": 1, "if_version": 2}"#).await.code(), "bad_json");
    assert_eq!(node.put("k", r#"{"value": 1, "ttl_seconds": -1}"#).await.code(), "bad_seconds");
    assert_eq!(node.put(&"k".repeat(1025), r#"{"value": 1}"#).await.code(), "bad_key");
    let long = format!(r#"{{"value": "{}"}}"#, "x".repeat(1024 * 1024));
    assert_eq!(node.put("k", &long).await.status, 413);
    let wait = node.caller.post_json("/v1/locks/l", r#"{"timeout_seconds": 3600}"#).await;
    assert_eq!((wait.status, wait.code().as_str()), (400, "bad_seconds"));
    let off = stage(ha_runtime::testing::healthy()).await;
    assert_eq!(off.caller.get("/v1/state/k").await.code(), "state_off");
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_the_first() {
    let node = node().await;
    let put = async |body: &str| node.caller.call("PUT", "/v1/state/k", &[JSON, "Idempotency-Key: r"], body).await;
    let first = revision(&put(r#"{"value": 1, "ttl_seconds": 30}"#).await);
    node.put("k", r#"{"value": 2}"#).await;
    assert_eq!(revision(&put(r#"{"value": 1, "ttl_seconds": 30}"#).await), first);
    assert_eq!(node.caller.get("/v1/state/k").await.json()["value"], 2);
    assert_eq!(put(r#"{"value": 3, "ttl_seconds": 30}"#).await.code(), "bad_request_key");
    let others = "k".repeat(1025);
    for key in ["other", &others] {
        let path = format!("/v1/state/{key}");
        let refused =
            node.caller.call("PUT", &path, &[JSON, "Idempotency-Key: r"], r#"{"value": 1, "ttl_seconds": 30}"#);
        assert!(["bad_request_key", "bad_key"].contains(&refused.await.code().as_str()));
    }
    assert_eq!(node.caller.get("/v1/state/k").await.status, 200, "its lease is not another call's to end");
}

#[tokio::test]
async fn a_key_that_is_put_again_and_again_has_one_lease() {
    let node = node().await;
    let leases = || node.ha.state().usage().leases;
    for value in 0..20 {
        let body = json!({"value": value, "ttl_seconds": 3600}).to_string();
        assert_eq!(node.put("k", &body).await.status, 200);
    }
    assert_eq!(leases(), 1);
    let lease = node.caller.get("/v1/state/k").await.json()["lease"].as_str().unwrap().to_owned();
    assert_eq!(node.caller.post_json(&format!("/v1/leases/{lease}/renew"), "").await.status, 200);
    assert_eq!(node.put("l", r#"{"value": 1, "ttl_seconds": 3600, "if_revision": 7}"#).await.status, 412);
    assert_eq!(node.put("l", r#"{"value": 1, "ttl_seconds": 0.01}"#).await.code(), "bad_seconds");
    assert_eq!(leases(), 1);
    assert_eq!(node.delete("/v1/state/k").await.status, 200);
    assert_eq!(leases(), 0);

    let mut watch = node.ha.state().watch("short").unwrap();
    let put = async || {
        let headers = [JSON, "Idempotency-Key: short"];
        node.caller.call("PUT", "/v1/state/short", &headers, r#"{"value": 1, "ttl_seconds": 0.2}"#).await
    };
    let first = revision(&put().await);
    while node.ha.state().get_local("short").is_some() {
        tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    }
    assert_eq!(revision(&put().await), first, "also when its time is over");
    assert_eq!((node.caller.get("/v1/state/short").await.status, leases()), (404, 0));
}

#[tokio::test]
async fn a_witness_says_that_it_keeps_nothing() {
    let witness = start("CLUSTER_ROLE", "witness").await;
    for path in [
        "/v1/state/k",
        "/v1/state/k?consistency=stale",
        "/v1/state?consistency=stale",
        "/v1/state-watch",
        "/v1/locks",
        "/v1/locks/l",
    ] {
        let answer = witness.caller.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "state_off"), "{path}");
        assert!(answer.body.contains("a witness keeps no shared state"), "{answer:?}");
    }
    assert_eq!(witness.put("k", r#"{"value": 1}"#).await.code(), "state_off");
}

#[tokio::test]
async fn a_request_key_is_for_one_call() {
    let node = node().await;
    let post = async |key: &str, path: &str, body: &str| {
        node.caller.call("POST", path, &[JSON, &format!("Idempotency-Key: {key}")], body).await
    };
    let first = post("r", "/v1/locks/l", "").await;
    assert_eq!((first.status, first.json()), (200, post("r", "/v1/locks/l", "").await.json()));
    let txn = r#"{"then": [{"get": {"key": "k"}}]}"#;
    let calls = [("/v1/locks/m", ""), ("/v1/locks/l", r#"{"holder": "me"}"#), ("/v1/state-txn", txn)];
    for (path, body) in calls.into_iter().chain([("/v1/leases", r#"{"ttl_seconds": 30}"#)]) {
        let reused = post("r", path, body).await;
        assert_eq!((reused.status, reused.code().as_str()), (422, "bad_request_key"), "{path}");
    }
    assert_eq!(node.caller.get("/v1/locks/m").await.status, 404);
    let id = first.json()["lock_id"].as_str().unwrap().to_owned();
    assert_eq!(node.delete(&format!("/v1/locks/l/{id}")).await.status, 200);
    let late = post("r", "/v1/locks/l", "").await;
    assert_eq!((late.status, late.code().as_str()), (410, "lock_over"));
    assert_eq!(node.caller.get("/v1/locks/l").await.status, 404, "nobody holds it");

    let lease = post("s", "/v1/leases", r#"{"ttl_seconds": 30}"#).await.json();
    assert_eq!(post("s", "/v1/leases", r#"{"ttl_seconds": 30}"#).await.json(), lease);
    let put = async |key: &str, body: &str| {
        node.caller.call("PUT", "/v1/state/k", &[JSON, &format!("Idempotency-Key: {key}")], body).await
    };
    assert_eq!(put("s", r#"{"value": 1, "ttl_seconds": 30}"#).await.code(), "bad_request_key");
    assert_eq!(put("t", r#"{"value": 1}"#).await.status, 200);
    for (path, body) in [("/v1/locks/l", ""), ("/v1/leases", r#"{"ttl_seconds": 30}"#)] {
        assert_eq!(post("t", path, body).await.code(), "bad_request_key", "{path}");
    }
}

#[tokio::test]
async fn a_key_or_a_prefix_that_is_too_long_is_refused_wherever_it_stands() {
    let node = node().await;
    let long = "k".repeat(1025);
    let escaped = format!("%6b{}", "k".repeat(1024));
    let paths = [format!("/v1/state/{long}"), format!("/v1/state/{escaped}"), format!("/v1/state?prefix={long}")];
    for path in paths {
        let answer = node.caller.get(&path).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_key"), "{path}");
    }
    assert_eq!(node.caller.get(&format!("/v1/state/{}", &long[1..])).await.code(), "no_such_key");
    for step in [json!({"list": {"prefix": long}}), json!({"delete_prefix": {"prefix": long}})] {
        for branch in ["then", "else"] {
            let answer = node.caller.post_json("/v1/state-txn", &json!({branch: [step]}).to_string()).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "bad_key"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn what_a_caller_relies_on_and_no_call_reads_is_refused() {
    let node = node().await;
    node.put("k", r#"{"value": 1}"#).await;
    for (method, path) in [
        ("PUT", "/v1/state/k?if_revision=0"),
        ("PUT", "/v1/state/%6b?ttl_seconds=5"),
        ("POST", "/v1/state-txn?x=1"),
        ("POST", "/v1/leases?ttl_seconds=1"),
        ("POST", "/v1/locks/l?timeout_seconds=1"),
        ("GET", "/v1/state?limit=0"),
        ("GET", "/v1/locks?limit=0"),
    ] {
        let answer = node.caller.call(method, path, &["Content-Type: application/json"], r#"{"value": 2}"#).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_query"), "{method} {path}");
    }
    assert_eq!(node.caller.call("DELETE", "/v1/state/k?if_rev=1", &[], "").await.code(), "bad_query");
    for condition in ["If-Match: \"1\"", "If-None-Match: *", "If-Unmodified-Since: Tue, 01 Dec 2026 00:00:00 GMT"] {
        for (method, path) in [("PUT", "/v1/state/k"), ("PUT", "/v1/state/%6b"), ("DELETE", "/v1/state/k")] {
            let headers = ["Content-Type: application/json", condition];
            let body = if method == "PUT" { r#"{"value": 2}"# } else { "" };
            let answer = node.caller.call(method, path, &headers, body).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "no_condition"), "{method} {path} {condition}");
        }
    }
    let refused = node.caller.post_json("/v1/state-txn", r#"{"then": [{"list": {"prefix": "", "limit": 0}}]}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "bad_json"));
    let lease = node.caller.post_json("/v1/leases", r#"{"ttl_seconds": 9}"#).await.json()["lease"].clone();
    let renew = format!("/v1/leases/{}/renew", lease.as_str().unwrap());
    assert_eq!(node.caller.post_json(&renew, r#"{"ttl_seconds": 30}"#).await.code(), "bad_json");
    for none in ["", "null", "{}"] {
        assert_eq!(node.caller.post_json(&renew, none).await.status, 200, "{none}");
    }
    assert_eq!(node.caller.post_json("/v1/locks/l", r#"{"holder": ""}"#).await.code(), "bad_holder");
    assert_eq!(node.caller.get("/v1/state/k").await.json()["value"], json!(1));
}

#[tokio::test]
async fn what_is_no_text_is_refused_as_any_mistake() {
    let node = node().await;
    for path in ["/v1/state/%ff", "/v1/state/a/%C3%28", "/v1/replication/t/%ff", "/v1/locks/%ff", "/v1/leases/%80"] {
        let answer = node.caller.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_path"), "{path}");
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    }
    assert_eq!(node.caller.get("/v1/state?prefix=%ff").await.code(), "bad_query");
    assert_eq!(node.caller.get("/v1/state?prefix=%C3%A4%zz%").await.status, 200, "not every % begins an escape");
    assert_eq!(node.caller.get("/v1/state/%C3%A4").await.code(), "no_such_key");
    for id in ["abc", "-1", "\u{e4}"] {
        let header = format!("Last-Event-ID: {id}");
        let answer = node.caller.call("GET", "/v1/state-watch?from_revision=1", &[&header], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_query"), "{id}");
    }
}

#[tokio::test]
async fn pages_and_leases() {
    let node = node().await;
    for name in ["p/1", "p/2", "p/3", "q"] {
        node.put(name, r#"{"value": null}"#).await;
    }
    node.put("p/short", r#"{"value": null, "ttl_seconds": 0.2}"#).await;
    let page = node.caller.get("/v1/state?prefix=p/&limit=2").await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["more"]), (2, &json!(true)));
    assert!(page["items"][0]["lease"].is_null());
    let mut watch = node.ha.state().watch("p/short").unwrap();
    if node.ha.state().get_local("p/short").is_some() {
        tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    }
    let page = node.caller.get("/v1/state?prefix=p/&after=p/2").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!((&page["items"][0]["key"], &page["more"]), (&json!("p/3"), &json!(false)));
}

#[tokio::test]
async fn a_transaction_compares_and_does_the_one_or_the_other() {
    let node = node().await;
    let first = revision(&node.put("a", r#"{"value": {"n": 1}}"#).await);
    let txn = async |body: serde_json::Value| node.caller.post_json("/v1/state-txn", &body.to_string()).await;
    let body = json!({
        "compare": [
            {"key": "a", "revision": first}, {"key": "a", "value": {"n": 1}, "is": "not_equal"},
            {"key": "b", "exists": false}, {"key": "a", "version": 0, "is": "greater"},
        ],
        "then": [
            {"put": {"key": "b", "value": [1, 2]}}, {"get": {"key": "b"}}, {"delete": {"key": "a"}},
            {"get": {"key": "a"}}, {"list": {"prefix": ""}},
        ],
        "else": [{"get": {"key": "a"}}, {"delete_prefix": {"prefix": "none/"}}],
    });
    // As bytes: the text that was put has a space in it.
    let done = txn(body.clone()).await;
    assert_eq!(done.status, 200, "{done:?}");
    let told = done.json();
    assert_eq!(told["succeeded"], true, "{told}");
    assert_eq!(told["results"][0], json!({"put": true}));
    assert_eq!((&told["results"][1]["item"]["value"], &told["results"][2]), (&json!([1, 2]), &json!({"deleted": 1})));
    assert_eq!((&told["results"][3]["item"], &told["results"][4]["more"]), (&json!(null), &json!(false)));
    assert_eq!(told["results"][4]["items"][0]["revision"], told["revision"]);
    let other = txn(body).await.json();
    assert_eq!((&other["succeeded"], &other["results"][1]), (&json!(false), &json!({"deleted": 0})), "{other}");

    let lock = node.caller.post_json("/v1/locks/l", "").await.json();
    let fenced = |token| json!({"compare": [{"lock": "l", "fencing_token": token}]});
    assert_eq!(txn(fenced(lock["fencing_token"].as_u64().unwrap())).await.json()["succeeded"], true);
    assert_eq!(txn(fenced(1)).await.json()["succeeded"], false);

    for wrong in [
        json!({"compare": [{"key": "a"}]}),
        json!({"compare": [{"key": "a", "version": 1, "revision": 1}]}),
        json!({"compare": [{"lock": "l"}]}),
        json!({"then": [{"get": {}}]}),
        json!({"then": [{"put": {"key": "", "value": 1}}]}),
        json!({"when": []}),
        json!({"then": [{"put": {"key": "k", "value": 1}}, {"put": {"key": "k", "value": 2}}]}),
    ] {
        assert_eq!(txn(wrong.clone()).await.status, 400, "{wrong}");
    }
    let many = json!({"then": vec![json!({"get": {"key": "k"}}); 129]});
    assert_eq!((txn(many.clone()).await.status, txn(many).await.code().as_str()), (413, "too_many_operations"));
    let long = "x".repeat(700_000);
    let two = json!({"then": [{"put": {"key": "k", "value": long}}, {"put": {"key": "l", "value": long}}]});
    assert_eq!(txn(two).await.status, 200);
}

#[tokio::test]
async fn a_repeated_transaction_is_done_once() {
    let node = node().await;
    let body = r#"{"compare": [{"key": "k", "exists": false}], "then": [{"put": {"key": "k", "value": 1}}]}"#;
    let ask = async || node.caller.call("POST", "/v1/state-txn", &[JSON, "Idempotency-Key: t"], body).await.json();
    let first = ask().await;
    assert_eq!(first["succeeded"], true);
    assert_eq!(ask().await, first);
    let lock = node.caller.post_json("/v1/locks/l", "").await.json();
    let path = format!("/v1/locks/l/{}", lock["lock_id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(node.caller.call("DELETE", &path, &["Idempotency-Key: u"], "").await.status, 200);
    }
    assert_eq!(node.caller.call("DELETE", &path, &[], "").await.status, 404);
}

#[tokio::test]
async fn many_keys_hang_on_one_lease_for_as_long_as_it_is_renewed() {
    let node = node().await;
    let granted = node.caller.post_json("/v1/leases", r#"{"ttl_seconds": 0.6}"#).await.json();
    let lease = granted["lease"].as_str().unwrap().to_owned();
    for key in ["m/1", "m/2"] {
        assert_eq!(node.put(key, &json!({"value": 1, "lease": lease}).to_string()).await.status, 200);
    }
    let path = format!("/v1/leases/{lease}");
    let mut watch = node.ha.state().watch("m/").unwrap();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(node.caller.post_json(&format!("{path}/renew"), "").await.status, 200);
    }
    let shown = node.caller.get(&path).await.json();
    assert_eq!((&shown["keys"], &shown["keys_count"]), (&json!(["m/1", "m/2"]), &json!(2)));
    assert!(shown["remaining_seconds"].as_f64().is_some_and(|left| left > 0.0), "{shown}");
    let ended = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(ended.len(), 2, "both at one revision");
    let gone = node.caller.post_json(&format!("{path}/renew"), "").await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "no_such_lease"));
    assert_eq!(node.put("m/3", &json!({"value": 1, "lease": lease}).to_string()).await.code(), "lease_over");
    let both = json!({"value": 1, "lease": lease, "ttl_seconds": 1}).to_string();
    assert_eq!(node.put("m/3", &both).await.code(), "bad_lease");
    let lock = node.caller.post_json("/v1/locks/l", "").await.json();
    let lock = lock["lock_id"].as_str().unwrap();
    let path = format!("/v1/leases/{}", lock.split_once('-').unwrap().1);
    let renewed = node.caller.post_json(&format!("{path}/renew"), "").await;
    assert_eq!((renewed.status, renewed.code().as_str()), (409, "lease_of_a_lock"));
    assert_eq!(node.delete(&path).await.code(), "lease_of_a_lock");
    assert_eq!(node.caller.post_json(&format!("/v1/locks/l/{lock}/renew"), "").await.status, 200, "it is held");
    let granted = node.caller.post_json("/v1/leases", r#"{"ttl_seconds": 60}"#).await.json();
    let lease = granted["lease"].as_str().unwrap();
    node.put("n", &json!({"value": 1, "lease": lease}).to_string()).await;
    assert_eq!(node.delete(&format!("/v1/leases/{lease}")).await.status, 200);
    assert_eq!(node.caller.get("/v1/state/n").await.status, 404);
    assert_eq!(node.delete(&format!("/v1/leases/{lease}")).await.status, 404);
}

#[tokio::test]
async fn locks_are_taken_renewed_shown_and_given_back() {
    let node = node().await;
    let held = node.caller.post_json("/v1/locks/jobs%2F1", r#"{"holder": "me", "ttl_seconds": 20}"#).await;
    assert_eq!(held.status, 200, "{held:?}");
    let (held, ttl) = (held.json(), held.json()["ttl_seconds"].as_f64());
    let id = held["lock_id"].as_str().unwrap();
    assert!(ttl == Some(20.0) && id.starts_with(&held["fencing_token"].to_string()));
    let taken = node.caller.post_json("/v1/locks/jobs%2F1", r#"{"timeout_seconds": 0}"#).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "not_acquired"));
    let shown = node.caller.get("/v1/locks/jobs%2F1").await.json();
    assert_eq!((&shown["holder"], &shown["fencing_token"]), (&json!("me"), &held["fencing_token"]));
    assert!(shown["remaining_seconds"].as_f64().is_some_and(|left| left > 10.0), "{shown}");
    let all = node.caller.get("/v1/locks").await.json();
    assert_eq!((all["locks"].as_array().unwrap().len(), &all["more"]), (1, &json!(false)));
    let path = format!("/v1/locks/jobs%2F1/{id}");
    assert_eq!(node.caller.post_json(&format!("{path}/renew"), "").await.status, 200);
    assert_eq!(node.delete(&path).await.status, 200);
    assert_eq!(node.delete(&path).await.code(), "not_held");
    assert_eq!(node.caller.post_json(&format!("{path}/renew"), "").await.status, 404);
    assert_eq!(node.delete("/v1/locks/jobs%2F1/nonsense").await.status, 404);
    assert_eq!(node.caller.get("/v1/locks/jobs%2F1").await.status, 404);
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_the_queue() {
    let node = node().await;
    let guard = node.ha.state().lock("l").acquire().await.unwrap();
    let waiting = node.caller.open("POST", "/v1/locks/l", &[], "").await;
    let mut epoch = node.ha.cluster().watch();
    let leases = || node.ha.state().usage().leases;
    let wait = async |count: usize, view: &mut tokio::sync::watch::Receiver<_>| {
        tokio::time::timeout(PATIENCE, async {
            while leases() != count {
                // The view is shown anew at least with each heartbeat.
                let _ = tokio::time::timeout(Duration::from_millis(20), view.changed()).await;
            }
        })
        .await
        .unwrap();
    };
    wait(2, &mut epoch).await;
    drop(waiting);
    wait(1, &mut epoch).await;
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_watch_goes_on_where_the_last_one_ended() {
    let node = node().await;
    let first = revision(&node.put("w/1", r#"{"value": {"a": 1}}"#).await);
    node.put("other", r#"{"value": 1}"#).await;
    let open =
        async |headers: &[&str], path: &str| BufReader::new(node.caller.open("GET", path, headers, "").await).lines();
    let mut stream = open(&[], &format!("/v1/state-watch?prefix=w/&from_revision={first}")).await;
    let mut until = async |start: &str| loop {
        let line = tokio::time::timeout(PATIENCE, stream.next_line()).await.unwrap().unwrap().expect("more");
        if let Some(rest) = line.strip_prefix(start) {
            break rest.trim().to_owned();
        }
    };
    assert_eq!(until("event:").await, "put");
    assert!(until("data:").await.contains(r#""value":{"a": 1}"#));
    assert_eq!(until("id:").await, first.to_string());
    node.delete("/v1/state/w/1").await;
    assert_eq!(until("event:").await, "delete");
    let second: u64 = until("id:").await.parse().unwrap();
    let third = revision(&node.put("w/2", r#"{"value": 2}"#).await);
    let mut again = open(&[&format!("Last-Event-ID: {second}")], "/v1/state-watch?prefix=w/").await;
    let mut id = None;
    while id.is_none() {
        let line = tokio::time::timeout(PATIENCE, again.next_line()).await.unwrap().unwrap().expect("more");
        id = line.strip_prefix("id:").map(|id| id.trim().to_owned());
    }
    assert_eq!(id, Some(third.to_string()));
    node.ha.state().compact(ha_runtime::ha_state::Revision(third)).await.unwrap();
    let gone = node.caller.get(&format!("/v1/state-watch?from_revision={first}")).await;
    assert_eq!((gone.status, gone.code().as_str()), (410, "compacted"));
    assert!(gone.body.contains(&format!("compacted at {third}")));
}
