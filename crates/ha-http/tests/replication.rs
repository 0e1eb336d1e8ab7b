//! Records over HTTP, on a real cluster of one node; and what a node without them says.

#![allow(clippy::unwrap_used, reason = "helpers stand outside of the tests that use them")]

mod support;

use std::net::SocketAddr;

use ha_http::Config;
use ha_runtime::testing::healthy;
use serde_json::{Value, json};
use support::{Caller, PATIENCE, stage};

/// A cluster of one node that keeps records.
async fn alone(directory: &std::path::Path) -> (ha_runtime::Ha, ha_http::Server, Caller) {
    let settings = [
        ("HA_DATA_DIR", directory.to_str().unwrap()),
        ("HA_PROFILE", "lan"),
        ("CLUSTER_ADDRESS", "127.0.0.1"),
        ("CLUSTER_PORT", "0"),
        ("CLUSTER_NODE_ID", "node-1"),
        ("REPLICATION_ENABLED", "true"),
        ("REPLICATION_CONSISTENCY", "quorum"),
    ];
    let config = ha_config::Config::preset(ha_config::Preset::Development);
    let config = settings.into_iter().fold(config, |config, (name, value)| config.set(name, value)).build().unwrap();
    let ha = ha_runtime::start(config).await.unwrap();
    let mut view = ha.cluster().watch();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.leader_is_live)).await.unwrap().unwrap();
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    let server = ha_http::listen(config).await.unwrap().serve(ha.clone());
    let caller = Caller { to: SocketAddr::from(([127, 0, 0, 1], server.local_addr().port())) };
    (ha, server, caller)
}

/// What is written plainly takes a short way past the table of routes; what is escaped takes the long one.
#[tokio::test]
async fn both_ways_to_a_record_answer_alike() {
    let directory = tempfile::tempdir().unwrap();
    let (ha, _server, caller) = alone(directory.path()).await;
    let (short, long) = ("/v1/replication/way/a-b", "/v1/replication/way/a%2Db");
    let counted = "route=\"/v1/replication/{data_type}/{data_id}\"";
    assert_eq!(caller.get(short).await.status, 404);
    let metrics = caller.get("/metrics").await.body;
    assert!(metrics.lines().any(|line| line.contains(counted)), "{metrics}");
    for (written, read, value) in [(short, long, "[1, 2]"), (long, short, "3")] {
        let put = caller.call("PUT", written, &[], value).await;
        let got = caller.get(read).await;
        assert_eq!((put.status, got.status, got.body.as_str()), (200, 200, value), "{put:?} {got:?}");
        assert_eq!(put.header("etag"), got.header("etag"));
        assert!(put.header("x-request-id").is_some() && got.header("x-request-id").is_some(), "{put:?} {got:?}");
    }
    let page = caller.get("/v1/replication/way").await.json();
    assert_eq!(page["items"][0]["data_id"], "a-b", "{page}");

    for (method, headers, body) in [
        ("GET", &[][..], ""),
        ("PUT", &[], "{\"a\":"),
        ("PUT", &[], ""),
        ("PUT", &["Idempotency-Key: r"], "1"),
        ("PUT", &[], "[1, 2]"),
    ] {
        let told = [caller.call(method, short, headers, body).await, caller.call(method, long, headers, body).await];
        let [short, long] = told.map(|told| {
            let error = (told.status != 200).then(|| told.json()["error"].clone());
            (told.status, told.header("content-type").map(str::to_owned), error)
        });
        assert_eq!(short, long, "{method} {body}");
    }
    let long_id = "x".repeat(2000);
    for id in [long_id.clone(), long_id.replacen('x', "%78", 1)] {
        let put = caller.call("PUT", &format!("/v1/replication/way/{id}"), &[], "1").await;
        assert_eq!((put.status, put.code().as_str()), (400, "bad_key"), "{put:?}");
    }
    assert_eq!(caller.call("PUT", &format!("{short}/"), &[], "1").await.status, 404);
    ha.stop().await;
}

#[tokio::test]
async fn a_record_is_put_read_listed_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let (ha, _server, caller) = alone(directory.path()).await;
    let path = "/v1/replication/download_task/task-1%2F2";
    let put = caller.call("PUT", path, &[], "{\"b\": 1,  \"a\":[2]}").await;
    assert_eq!((put.status, &put.json()["acknowledged_by"]), (200, &json!(["node-1"])), "{put:?}");
    let version = put.json()["version"].as_u64().unwrap();
    assert!(put.head.contains(&format!("etag: \"{version}\"")), "{put:?}");

    let got = caller.get(path).await;
    assert_eq!((got.status, got.body.as_str()), (200, "{\"b\": 1,  \"a\":[2]}"), "as it was put, to the byte");
    assert!(got.head.contains(&format!("etag: \"{version}\"")) && got.head.contains("application/json"), "{got:?}");
    for level in ["stale", "quorum", "strong"] {
        assert_eq!(caller.get(&format!("{path}?consistency={level}")).await.status, 200, "{level}");
    }

    let named = caller.call("PUT", path, &["Idempotency-Key: r"], "1").await;
    assert_eq!((named.status, named.code().as_str()), (400, "no_request_key"), "{named:?}");
    assert_eq!(caller.get(&format!("{path}?consistency=any")).await.code(), "bad_query");
    let promoted = caller.call("POST", "/v1/replication-promote", &["Content-Type: application/json"], "{").await;
    assert_eq!(promoted.code(), "bad_json");
    for n in 0..3 {
        caller.call("PUT", &format!("/v1/replication/other/{n}"), &[], &n.to_string()).await;
    }
    let page = caller.get("/v1/replication/other?limit=2").await.json();
    let ids = |page: &Value| -> Vec<Value> {
        page["items"].as_array().unwrap().iter().map(|i| i["data_id"].clone()).collect()
    };
    assert_eq!((ids(&page), &page["items"][1]["data"]), (vec![json!("0"), json!("1")], &json!(1)));
    let next = page["next_after"].as_str().unwrap();
    let page = caller.get(&format!("/v1/replication/other?limit=2&after={next}")).await.json();
    assert_eq!(ids(&page), ["2"]);
    let end = caller.get("/v1/replication/other?after=2").await.json();
    assert_eq!(end, json!({"items": [], "next_after": null}));

    // A probe may bound how far behind a copy is; the only one lacks nothing.
    assert_eq!(caller.get("/health/ready?max_lag=0").await.status, 200);
    assert_eq!(caller.get("/health/replica?max_lag=x").await.code(), "bad_query");

    let deleted = caller.call("DELETE", path, &[], "").await;
    assert!(deleted.status == 200 && deleted.json()["version"].as_u64().unwrap() > version);
    let gone = caller.get(path).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "no_record"));

    let status = caller.get("/v1/replication").await.json();
    assert_eq!((&status["mode"], &status["consistency"]), (&json!("master_slave"), &json!("quorum")));
    assert_eq!((&status["master_node"], &status["replicated_items"]), (&json!("node-1"), &json!(5)));
    assert_eq!(
        (&status["nodes"][0]["node_id"], &status["nodes"][0]["lag_items"], &status["nodes"][0]["lag_seconds"]),
        (&json!("node-1"), &json!(0), &json!(0.0))
    );
    assert_eq!(caller.get("/v1/replication-check").await.json()["wrong"], 0);
    ha.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_record_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (ha, _server, caller) = alone(directory.path()).await;
    let put = async |path: &str, body: &str| {
        let answer = caller.call("PUT", path, &[], body).await;
        (answer.status, answer.code())
    };
    assert_eq!(put("/v1/replication/t/1", "{no").await, (400, "bad_json".to_owned()));
    assert_eq!(put("/v1/replication/t/1", "").await, (400, "bad_json".to_owned()));
    assert_eq!(put("/v1/replication/t/%0A", "1").await, (400, "bad_key".to_owned()));
    assert_eq!(put(&format!("/v1/replication/{}/1", "t".repeat(200)), "1").await, (400, "bad_key".to_owned()));
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    assert_eq!(put("/v1/replication/t/1", &large).await, (413, "body_too_large".to_owned()));
    let fits = format!("\"{}\"", "x".repeat(1024 * 1024 - 2));
    assert_eq!(caller.call("PUT", "/v1/replication/t/1", &[], &fits).await.status, 200);
    assert_eq!(caller.get("/v1/replication/t/1").await.body, fits);
    ha.stop().await;
}

#[tokio::test]
async fn a_node_without_replication_says_so() {
    let stage = stage(healthy()).await;
    for path in ["/v1/replication", "/v1/replication/t", "/v1/replication/t/1", "/v1/replication-check"] {
        let answer = stage.caller.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (409, "replication_off"), "{path}");
    }
    let answer = stage.caller.call("PUT", "/v1/replication/t/1", &[], "1").await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "replication_off"));
}
