//! Records without a leader, on three nodes.

mod support;

use std::time::Duration;

use ha_replication::{Alarm, Consistency, Mode, ReadError, ReplicateError, SubscribeError, Version};
use support::{Node, Stage, until};

async fn until_equal(nodes: &[Node], records: u64) {
    until("equal copies", async || {
        let mut held = Vec::new();
        for node in nodes {
            held.push(node.replication.check().await.map_err(|error| error.to_string())?);
        }
        let equal = held.iter().all(|copy| copy.wrong == 0 && copy.records == records && copy.digest == held[0].digest);
        if equal { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_on_every_node_reach_all_and_those_that_a_node_missed_are_found() {
    let mut stage = Stage::new(3);
    stage.consistency = Consistency::Eventual;
    stage.mode = Mode::MultiMaster;
    let mut nodes = stage.start_all().await;
    for (index, node) in nodes.iter().enumerate() {
        for n in 0..50 {
            let written = node.replication.replicate("task", &format!("{index}-{n}"), &n).await.unwrap();
            assert_eq!(written.acknowledged_by.len(), 1, "its own disk: {written:?}");
        }
        node.replication.replicate("task", "shared", &index).await.unwrap();
        node.replication.delete("task", &format!("{index}-7")).await.unwrap();
    }
    until_equal(&nodes, 148).await;
    let shared: Vec<_> =
        nodes.iter().map(|node| node.replication.get_local("task", "shared").unwrap().unwrap()).collect();
    assert!(shared.iter().all(|record| *record == shared[0]), "the same change wins everywhere");
    let refused = nodes[0].replication.with_consistency(Consistency::Strong).replicate("task", "x", &1).await;
    assert!(matches!(refused, Err(ReplicateError::NotReplicated { .. })), "{refused:?}");
    for level in [Consistency::Quorum, Consistency::Strong] {
        let asks = nodes[0].replication.with_consistency(level);
        let read = asks.get("task", "shared").await;
        assert!(matches!(read, Err(ReadError::NoQuorum { .. })), "what is here may be old: {read:?}");
        assert!(matches!(asks.list("task", None, 10).await, Err(ReadError::NoQuorum { .. })));
    }
    let written = nodes[0].replication.replicate("followed", "last", &1).await.unwrap();
    let mut changes = nodes[0].replication.subscribe(written.version);
    let followed = changes.next().await;
    assert!(matches!(followed, Err(SubscribeError::NoOrder)), "a stamp is no place to go on from: {followed:?}");
    let mut all = nodes[0].replication.subscribe(Version::default());
    assert!(all.next().await.is_ok());
    nodes[0].replication.delete("followed", "last").await.unwrap();

    let away = nodes.pop().unwrap();
    away.stop().await;
    nodes[0].replication.delete("task", "2-0").await.unwrap();
    for n in 0..300 {
        nodes[n % 2].replication.replicate("task", &format!("later-{n}"), &"x".repeat(500)).await.unwrap();
    }
    nodes.push(stage.start(2).await);
    until_equal(&nodes, 447).await;
    assert_eq!(nodes[2].replication.get("task", "2-0").await.unwrap(), None, "deleted while it was away");

    for node in nodes {
        node.stop().await;
    }
    let nodes = stage.start_all().await;
    until_equal(&nodes, 447).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_master_takes_what_is_written_anywhere() {
    let mut stage = Stage::new(3);
    stage.consistency = Consistency::Eventual;
    let nodes = stage.start_all().await;
    let leader = nodes[0].cluster.leader().unwrap().node_id;
    for (index, node) in nodes.iter().enumerate() {
        let written = node.replication.replicate("task", &index.to_string(), &index).await.unwrap();
        assert_eq!(written.acknowledged_by, [leader.clone()].into());
    }

    until_equal(&nodes, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_time_the_others_do_not_believe_says_so_and_counts_what_they_lack() {
    let mut stage = Stage::new(3);
    stage.consistency = Consistency::Eventual;
    stage.mode = Mode::MultiMaster;
    for node in stage.start_all().await {
        node.stop().await;
    }
    stage.ahead[2] = Duration::from_secs(3600);
    let wrong = stage.start(2).await;
    wrong.replication.replicate("task", "alone", &1).await.unwrap();
    let others = [stage.start(0).await, stage.start(1).await];
    until("writes there are refused", async || match wrong.replication.replicate("task", "more", &1).await {
        Err(ReplicateError::NotReplicated { reason }) if reason.contains("of 2 of 2 copies") => Ok(()),
        other => Err(other),
    })
    .await;
    let is_ahead = |alarm: &Alarm| matches!(alarm, Alarm::TimeAhead { milliseconds: 3_590_000.., .. });
    assert!(wrong.replication.alarms().iter().any(is_ahead), "{:?}", wrong.replication.alarms());
    assert!(others[0].replication.replicate("task", "fine", &1).await.is_ok());

    until("a push was turned away", async || {
        let counts: Vec<_> = others.iter().map(|node| node.replication.merged().unwrap().quarantined).collect();
        if counts.iter().all(|count| *count > 4) { Ok(()) } else { Err(counts) }
    })
    .await;
    let status = others[0].replication.status().await;
    let lags = |name: &str| status.nodes.iter().find(|node| node.node_id.as_str() == name).unwrap().lag_items;
    assert!(lags("node-0") >= Some(1) && lags("node-1") >= Some(1), "{status:?}");

    // Its time is set right: what it stamped an hour ahead is stamped again, and the others take it.
    wrong.stop().await;
    stage.ahead[2] = Duration::ZERO;
    let right = stage.start(2).await;
    until("the others have what was written there", async || {
        let found = others[0].replication.get("task", "alone").await.unwrap();
        found.is_some().then_some(()).ok_or("nothing")
    })
    .await;
    until("nothing is wrong any more", async || match right.replication.alarms() {
        alarms if alarms.is_empty() => Ok(()),
        alarms => Err(alarms),
    })
    .await;
    let written = right.replication.replicate("task", "alone", &2).await.unwrap();
    until("the later value is everywhere", async || {
        let found = others[1].replication.get("task", "alone").await.unwrap().unwrap();
        if found.version == written.version { Ok(()) } else { Err(found) }
    })
    .await;
    right.stop().await;
    let again = stage.start(2).await;
    let later = again.replication.replicate("task", "alone", &3).await.unwrap();
    let hour = 3_600_000 << 16;
    assert!(later.version > written.version && later.version.time < written.version.time + hour, "{later:?}");
}
