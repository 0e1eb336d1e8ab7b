//! What ends a node from within.

use std::time::Duration;

use crate::machine::Machines;
use crate::{Config, Seams};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_consensus_panics_leads_no_more_and_gives_its_lease_up() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        node_id: Some("a".parse().unwrap()),
        data_dir: directory.path().join("a"),
        listen: ([127, 0, 0, 1], 0).into(),
        min_nodes: 1,
        quorum_size: 1,
        heartbeat_interval: Duration::from_millis(50),
        election_timeout: Duration::from_millis(250),
        ..Config::default()
    };
    let mut node = super::start(config, Seams::default(), Machines::new()).await.unwrap();
    let patience = Duration::from_secs(20);
    let leads = async {
        node.view.wait_for(|view| view.leader_is_live).await.unwrap();
        while !node.lease.is_held() {
            node.lease.changed().await;
        }
    };
    tokio::time::timeout(patience, leads).await.unwrap();

    node.engine.panic().await;
    let ended = tokio::time::timeout(patience, node.view.wait_for(|view| view.stopped.is_some())).await;
    let view = ended.unwrap().unwrap().clone();
    assert!(view.stopped.as_ref().unwrap().contains("it panicked"), "{view:?}");
    assert_eq!((&view.leader, view.leader_is_live, &view.waiting_for), (&None, false, &None));
    assert!(!node.lease.is_held(), "although its time is not over");
}
