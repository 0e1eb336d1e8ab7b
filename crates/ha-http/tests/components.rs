//! Checked components over HTTP, the doctor, and what can be changed on a node that runs.

#![allow(clippy::unwrap_used, reason = "the stage is built outside of the tests that use it")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_http::{Config, LogControl};
use ha_runtime::ha_health::{self, Health, Status};
use ha_runtime::testing::{Puppet, healthy, no_quorum};
use ha_runtime::{ClusterHandle, Ha, Rooms};
use serde_json::json;
use support::{Caller, stage};

/// A node whose monitor is on, and what was set on its log.
struct Monitored {
    caller: Caller,
    health: Health,
    puppet: Arc<Puppet>,
    levels: Arc<Mutex<Vec<String>>>,
    _server: ha_http::Server,
}

async fn monitored() -> Monitored {
    let health = ha_health::start(ha_health::Config::default()).unwrap();
    let rooms = Rooms { cluster: true, health_monitor: true, ..Rooms::default() };
    let puppet = Puppet::new(healthy());
    let ha = Ha::assemble(rooms, ClusterHandle::new(puppet.clone())).with_health(health.clone());
    let levels = Arc::<Mutex<Vec<String>>>::default();
    let log = {
        let levels = levels.clone();
        LogControl::new(move |level| {
            if level == "loud" {
                return Err("no such level".to_owned());
            }
            levels.lock().unwrap().push(level.to_owned());
            Ok(())
        })
    };
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), log: Some(log), ..Config::default() };
    let server = ha_http::listen(config).await.unwrap().serve(ha);
    let caller = Caller { to: server.local_addr() };
    Monitored { caller, health, puppet, levels, _server: server }
}

async fn becomes(health: &Health, name: &str, status: Status) {
    let mut overall = health.watch();
    let known = overall.wait_for(|overall| overall.component(name).is_some_and(|one| one.status == status));
    tokio::time::timeout(support::PATIENCE, known).await.expect("in time").unwrap();
}

#[tokio::test]
async fn components_are_listed_and_count_in_the_document() {
    let node = monitored().await;
    node.health.component("db").critical().failures(1).check(|| async { Err::<(), _>("it is gone") }).unwrap();
    node.health.register("web", || async { true }).unwrap();
    becomes(&node.health, "db", Status::Unhealthy).await;
    becomes(&node.health, "web", Status::Healthy).await;
    let answer = node.caller.get("/v1/health").await.json();
    assert_eq!(
        (&answer["status"], &answer["healthy"], &answer["total_components"], &answer["enabled"]),
        (&json!("unhealthy"), &json!(false), &json!(2), &json!(true))
    );
    assert_eq!(answer["components"][0]["message"], "it is gone");
    assert_eq!(answer["history"].as_array().unwrap().len(), 2);
    let document = node.caller.get("/health").await;
    assert_eq!((document.status, document.json()["status"].clone()), (503, json!("unhealthy")));
    assert_eq!(document.json()["reasons"], json!(["db is unhealthy: it is gone"]));
    let status = &document.json()["ha_details"]["health_status"];
    assert_eq!((&status["status"], status["checks"].as_array().unwrap().len()), (&json!("unhealthy"), 2));
    assert_eq!(node.caller.get("/health/live").await.status, 200);
    let metrics = node.caller.get("/metrics").await.body;
    assert!(metrics.lines().any(|line| line == "ha_health_component_status{component=\"db\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_component_reports_over_http() {
    let node = monitored().await;
    let _worker = node.health.component("worker").heartbeat(Duration::from_secs(60)).unwrap();
    assert_eq!(node.caller.post_json("/v1/health/worker/heartbeat", "").await.status, 200);
    becomes(&node.health, "worker", Status::Healthy).await;
    let body = r#"{"status": "degraded", "message": "slow"}"#;
    assert_eq!(node.caller.post_json("/v1/health/worker/heartbeat", body).await.status, 200);
    becomes(&node.health, "worker", Status::Degraded).await;
    let body = r#"{"status": "unhealthy"}"#;
    assert_eq!(node.caller.post_json("/v1/health/worker/heartbeat", body).await.status, 200);
    becomes(&node.health, "worker", Status::Unhealthy).await;
    let answer = node.caller.post_json("/v1/health/nobody/heartbeat", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "no_such_component"));
    let answer = stage(healthy()).await.caller.post_json("/v1/health/worker/heartbeat", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "health_off"));
}

#[tokio::test]
async fn the_doctor_names_trouble_with_its_cause_and_what_mends_it() {
    let node = monitored().await;
    assert_eq!(node.caller.get("/v1/doctor").await.json()["well"], true);
    node.puppet.show(no_quorum());
    let diagnosis = node.caller.get("/v1/doctor").await.json();
    assert_eq!(diagnosis["well"], false);
    let joining = &diagnosis["topics"][0];
    assert_eq!((&joining["name"], &joining["question"]), (&json!("joining"), &json!("Do nodes join?")));
    let finding = &joining["findings"][0];
    assert_eq!(
        (&finding["severity"], &finding["what"], &finding["cause"]),
        (&json!("trouble"), &json!("nothing can be decided"), &json!("1 of the 2 votes needed are here"))
    );
    assert!(finding["remedy"].as_str().unwrap().contains("ha members"), "{finding}");
}

#[tokio::test]
async fn the_log_level_and_the_priority_change_while_a_node_runs() {
    let node = monitored().await;
    let answer = node.caller.post_json("/v1/config/log-level", r#"{"level": "info,ha_net=debug"}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true, "level": "info,ha_net=debug"})));
    let answer = node.caller.post_json("/v1/config/log-level", r#"{"level": "loud"}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_level"));
    assert_eq!(*node.levels.lock().unwrap(), ["info,ha_net=debug"]);
    let answer = node.caller.post_json("/v1/cluster/priority", r#"{"priority": 7}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true, "priority": 7})));
    for body in ["", "{}", r#"{"priority": 1001}"#, r#"{"priority": -1}"#] {
        assert_eq!(node.caller.post_json("/v1/cluster/priority", body).await.status, 400, "{body}");
    }
    assert_eq!(*node.puppet.priorities.lock().unwrap(), [7]);
    let other = stage(healthy()).await;
    let answer = other.caller.post_json("/v1/config/log-level", r#"{"level": "info"}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "not_adjustable"));
}

#[tokio::test]
async fn only_who_may_change_something_does() {
    let stage = support::stage_with(healthy(), "127.0.0.1:0", Some("open-sesame")).await;
    for path in ["/v1/config/log-level", "/v1/cluster/priority", "/v1/health/worker/heartbeat"] {
        assert_eq!(stage.caller.post_json(path, "{}").await.status, 401, "{path}");
    }
    assert_eq!(stage.caller.get("/v1/doctor").await.status, 200);
}
