//! Records on three nodes: written anywhere, read anywhere, followed, and still there after everything stopped.

mod support;

use ha_replication::{Consistency, CopyState, Event, KeyError, ReplicateError, Version};
use support::{Other, Stage, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_written_read_and_followed_on_every_node_and_outlive_a_restart_of_all() {
    let stage = Stage::new(3);
    let nodes = stage.start_all().await;
    let mut versions = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        for n in 0..20 {
            let written = node.replication.replicate("task", &format!("{index}-{n:02}"), &(index, n)).await.unwrap();
            assert!(written.acknowledged_by.len() >= 2, "{written:?}");
            versions.push(written.version);
        }
    }
    assert!(versions.is_sorted_by(|a, b| a < b), "each is later than the one before");

    let strong = nodes[0].replication.with_consistency(Consistency::Strong);
    let written = strong.replicate("task", "strong", "all").await.unwrap();
    assert_eq!(written.acknowledged_by.len(), 3);
    nodes[1].replication.delete("task", "0-00").await.unwrap();

    for node in &nodes {
        assert_eq!(node.replication.get("task", "0-00").await.unwrap(), None);
        let record = node.replication.with_consistency(Consistency::Strong).get("task", "2-19").await.unwrap().unwrap();
        assert_eq!((record.json::<(usize, u32)>().unwrap(), record.version), ((2, 19), versions[59]));
        let first = node.replication.list("task", None, 50).await.unwrap();
        let rest = node.replication.list("task", Some(first[49].key.data_id()), 50).await.unwrap();
        let ids: Vec<_> = first.iter().chain(&rest).map(|record| record.key.data_id().to_owned()).collect();
        assert_eq!(ids.len(), 60);
        assert!(ids.is_sorted() && ids[0] == "0-01" && ids[59] == "strong");
        assert!(node.replication.list("other", None, 10).await.unwrap().is_empty());
    }

    let mut changes = nodes[2].replication.subscribe(versions[58]);
    assert!(matches!(changes.next().await.unwrap(), Event::Changed(record) if record.version == versions[59]));
    assert_eq!(changes.next().await.unwrap().key().data_id(), "strong");
    assert!(matches!(changes.next().await.unwrap(), Event::Deleted { key, .. } if key.data_id() == "0-00"));
    let (late, next) = tokio::join!(nodes[0].replication.replicate("task", "late", &1), changes.next());
    assert_eq!(next.unwrap().version(), late.unwrap().version);

    let status = nodes[1].replication.status().await;
    assert_eq!((status.mode.as_str(), status.replicated_items, status.nodes.len()), ("master_slave", 63, 3));
    assert!(status.nodes.iter().all(|node| node.state == CopyState::InStep), "{status:?}");

    assert!(matches!(
        nodes[0].replication.replicate("", "a", &1).await,
        Err(ReplicateError::Key(KeyError::Empty { what: "type" }))
    ));
    let large = bytes::Bytes::from(vec![0; ha_replication::DATA_BYTES_MAX + 1]);
    assert!(matches!(
        nodes[0].replication.replicate_bytes("task", "a", large).await,
        Err(ReplicateError::TooLarge { .. })
    ));

    for node in nodes {
        node.stop().await;
    }
    let nodes = stage.start_all().await;
    for node in &nodes {
        assert_eq!(node.replication.list("task", None, 100).await.unwrap().len(), 61);
        let report = node.replication.check().await.unwrap();
        assert_eq!((report.wrong, report.records), (0, 61), "{report:?}");
    }
    let mut all = nodes[0].replication.subscribe(Version::default());
    assert_eq!(all.next().await.unwrap().version(), versions[1], "the first record that is still what it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_missed_what_left_the_log_fetches_it_while_writes_go_on() {
    let mut stage = Stage::new(3);
    stage.snapshot_entries = 50;
    let mut nodes = stage.start_all().await;
    for n in 0..50 {
        nodes[0].replication.replicate("task", &format!("{n:04}"), &n).await.unwrap();
    }
    let away = nodes.pop().unwrap();
    away.stop().await;
    // A copy without its log and its records: a new one that joins.
    nodes[0].replication.delete("task", "0007").await.unwrap();
    for n in 50..150 {
        nodes[1].replication.replicate("task", &format!("{n:04}"), &"x".repeat(1000)).await.unwrap();
    }
    std::fs::remove_file(stage.directory(2).join("replication/records.redb")).unwrap();
    let back = stage.start(2).await;
    let writing = nodes[0].replication.clone();
    let writer = tokio::spawn(async move {
        for n in 150..250 {
            writing.replicate("task", &format!("{n:04}"), &n).await.unwrap();
        }
    });
    writer.await.unwrap();
    nodes.push(back);
    until("equal copies", async || {
        let mut reports = Vec::new();
        for node in &nodes {
            reports.push(node.replication.check().await.map_err(|error| vec![error.to_string()])?);
        }
        let equal = reports
            .iter()
            .all(|report| report.wrong == 0 && report.records == 249 && report.digest == reports[0].digest);
        if equal { Ok(()) } else { Err(reports.iter().map(|report| format!("{report:?}")).collect::<Vec<_>>()) }
    })
    .await;
    until("everybody in step again", async || {
        let status = nodes[2].replication.status().await;
        if status.nodes.iter().all(|node| node.state == CopyState::InStep) { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(nodes[2].replication.get_local("task", "0007").unwrap(), None);
    let written =
        nodes[2].replication.with_consistency(Consistency::Strong).replicate("task", "last", &1).await.unwrap();
    assert_eq!(written.acknowledged_by.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_agreed_while_no_record_changed_outlives_the_log_and_leaves_no_copy_incomplete() {
    let mut stage = Stage::new(3);
    stage.snapshot_entries = 50;
    let mut nodes = stage.start_all().await;
    nodes[0].replication.replicate("task", "kept", &1).await.unwrap();
    let away = nodes.pop().unwrap();
    assert!(away.replication.get("task", "kept").await.unwrap().is_some());
    away.stop().await;
    let node = &nodes[0];
    until("it is agreed that a copy is away", async || {
        let status = node.replication.status().await;
        let away = status.nodes.iter().filter(|node| node.state != CopyState::InStep).count();
        if away == 1 { Ok(()) } else { Err(status) }
    })
    .await;
    let other = node.cluster.replicated::<Other>().unwrap();
    for n in 0..200 {
        other.write(&n).await.unwrap();
    }
    for node in nodes {
        node.stop().await;
    }
    // One copy begins with nothing, so that it needs another one as its source.
    std::fs::remove_file(stage.directory(2).join("replication/records.redb")).unwrap();
    let nodes = stage.start_all().await;
    for node in &nodes {
        until("a whole copy", async || match node.replication.get("task", "kept").await {
            Ok(Some(_)) if node.replication.held_here().is_caught_up => Ok(()),
            other => Err(other),
        })
        .await;
    }
}
