//! Records that a majority holds and no leader orders, on three nodes.

mod support;

use ha_replication::{Consistency, Mode, ReadError, ReplicateError};
use support::{Stage, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_writes_while_a_majority_is_there_and_what_it_missed_arrives() {
    let mut stage = Stage::new(3);
    stage.mode = Mode::MultiMaster;
    let mut nodes = stage.start_all().await;
    until("the copies take part", async || {
        for node in &nodes {
            let written = node.replication.replicate("task", "first", &0).await.map_err(|error| error.to_string())?;
            if !written.acknowledged_by.contains(&node.replication.node_id()) {
                return Err("a copy is still loading what the others hold".to_owned());
            }
        }
        Ok(())
    })
    .await;
    for (index, node) in nodes.iter().enumerate() {
        for n in 0..20 {
            let written = node.replication.replicate("task", &format!("{n:02}"), &(index, n)).await.unwrap();
            assert!(written.acknowledged_by.len() >= 2, "{written:?}");
            let other = &nodes[(index + 1) % 3].replication;
            let read = other.get("task", &format!("{n:02}")).await.unwrap().unwrap();
            assert_eq!((read.version, read.json::<(usize, u32)>().unwrap()), (written.version, (index, n)));
            assert!(read.siblings.is_empty(), "each write saw the one before: {read:?}");
        }
    }
    let page = nodes[1].replication.list("task", Some("04"), 10).await.unwrap();
    let ids: Vec<&str> = page.iter().map(|record| record.key.data_id()).collect();
    assert_eq!(ids, ["05", "06", "07", "08", "09", "10", "11", "12", "13", "14"]);
    let strong = nodes[0].replication.with_consistency(Consistency::Strong).replicate("task", "x", &1).await;
    assert!(matches!(strong, Err(ReplicateError::NotReplicated { reason }) if reason.contains("REPLICATION_MODE")));

    let away = nodes.pop().unwrap();
    away.stop().await;
    nodes[0].replication.delete("task", "07").await.unwrap();
    for n in 0..50 {
        nodes[n % 2].replication.replicate("task", &format!("later-{n}"), &n).await.unwrap();
    }
    let alone = nodes.pop().unwrap();
    alone.stop().await;
    let refused = nodes[0].replication.replicate("task", "alone", &1).await.unwrap_err();
    assert!(matches!(&refused, ReplicateError::NotReplicated { reason } if reason.contains("1 of 3")), "{refused}");
    let refused = nodes[0].replication.get("task", "00").await.unwrap_err();
    assert!(matches!(&refused, ReadError::NoQuorum { .. }), "{refused}");

    nodes.push(stage.start(1).await);
    nodes.push(stage.start(2).await);
    until("equal copies", async || {
        let mut held = Vec::new();
        for node in &nodes {
            held.push(node.replication.check().await.map_err(|error| error.to_string())?);
        }
        let equal = held.iter().all(|copy| (copy.wrong, copy.records, copy.digest) == (0, 70, held[0].digest));
        if equal { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
    until("read again", async || nodes[2].replication.get("task", "07").await.map(|found| assert_eq!(found, None)))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_do_not_see_each_other_lose_nothing() {
    let mut stage = Stage::new(3);
    stage.mode = Mode::MultiMaster;
    let nodes = stage.start_all().await;
    until("the copies take part", async || nodes[0].replication.get("task", "shared").await.map(drop)).await;
    let mut beside = 0;
    for round in 0..30 {
        let values = [10 * round, 10 * round + 1, 10 * round + 2];
        let write = |index: usize| nodes[index].replication.replicate("task", "shared", &values[index]);
        let (one, other, third) = tokio::join!(write(0), write(1), write(2));
        let written = [one.unwrap().version, other.unwrap().version, third.unwrap().version];
        let read = nodes[round % 3].replication.get("task", "shared").await.unwrap().unwrap();
        let found: Vec<_> = std::iter::once(read.version).chain(read.siblings.iter().map(|one| one.version)).collect();
        assert!(found.iter().all(|version| written.contains(version)), "of the earlier rounds nothing is left");
        assert!(found.contains(written.iter().max().unwrap()));
        beside += read.siblings.len();
    }
    assert!(beside > 0, "some did not see each other");
    let written = nodes[0].replication.replicate("task", "shared", &"one").await.unwrap();
    let read = nodes[1].replication.get("task", "shared").await.unwrap().unwrap();
    assert_eq!((read.version, read.siblings.len()), (written.version, 0), "a write that saw all replaces them all");
}
