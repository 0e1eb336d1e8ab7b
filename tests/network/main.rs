//! Real processes, each in a network of its own, and wires that lose what is sent over them: no connection is reset, so
//! nothing but silence tells a node that something is wrong.

mod pairs;

use std::time::Duration;

use tokio::time::sleep;
use xtask::local_cluster::{Bookkeeper, LEADER_TIMEOUT, LocalCluster, Settings};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// How long a fault lasts that should change nothing: several of the longest election timeouts of profile `lan`.
const LONG: Duration = Duration::from_secs(3);

/// T09: the old leader falls silent by itself, and one of the others leads.
#[tokio::test]
async fn a_leader_cut_off_in_both_directions_is_succeeded() -> Outcome {
    let (cluster, old) = formed().await?;
    cluster.isolate(old)?;
    succeeded_by_one_of_the_others(&cluster, old).await?;
    heals(&cluster, |number| cluster.rejoin(number), old).await
}

/// T10: its heartbeats arrive and no answer does. It must step down rather than hold the others in its spell.
#[tokio::test]
async fn a_leader_that_can_send_and_not_receive_is_succeeded() -> Outcome {
    let (cluster, old) = formed().await?;
    let (one, other) = others(old);
    cluster.cut(one, old)?;
    cluster.cut(other, old)?;
    succeeded_by_one_of_the_others(&cluster, old).await?;
    let mend = |_| cluster.mend(one, old).and_then(|()| cluster.mend(other, old));
    heals(&cluster, mend, old).await
}

/// T11: it hears everything and nobody hears it.
#[tokio::test]
async fn a_leader_that_can_receive_and_not_send_is_succeeded() -> Outcome {
    let (cluster, old) = formed().await?;
    let (one, other) = others(old);
    cluster.cut(old, one)?;
    cluster.cut(old, other)?;
    succeeded_by_one_of_the_others(&cluster, old).await?;
    let mend = |_| cluster.mend(old, one).and_then(|()| cluster.mend(old, other));
    heals(&cluster, mend, old).await
}

/// A follower that was away campaigns in vain meanwhile; when it is back, it must not depose a leader that is well.
#[tokio::test]
async fn a_follower_that_was_cut_off_moves_nothing() -> Outcome {
    let (cluster, leader) = formed().await?;
    let term = cluster.http(leader).health().await?.number("term");
    let (follower, _) = others(leader);
    cluster.isolate(follower)?;
    // The length of the fault is the fault.
    sleep(LONG).await;
    cluster.rejoin(follower)?;
    cluster.wait_formed().await?;
    assert_eq!(cluster.wait_leader().await?, leader);
    assert_eq!(cluster.http(leader).health().await?.number("term"), term, "the term moved");
    Ok(())
}

/// One wire between two followers is cut: all that matters goes through the leader.
#[tokio::test]
async fn a_cut_between_followers_moves_nothing() -> Outcome {
    let (cluster, leader) = formed().await?;
    let (one, other) = others(leader);
    cluster.cut(one, other)?;
    cluster.cut(other, one)?;
    sleep(LONG).await;
    assert_eq!(cluster.http(leader).get("/health/primary").await?.status, 200);
    cluster.mend(one, other)?;
    cluster.mend(other, one)?;
    cluster.wait_formed().await?;
    assert_eq!(cluster.wait_leader().await?, leader);
    Ok(())
}

/// I2: records go on being written on the side that has a majority, whichever node is cut off, and none of those that
/// were acknowledged is missing on any copy after the wires are whole.
#[tokio::test]
async fn acknowledged_records_survive_cuts() -> Outcome {
    let settings = Settings::new(3).with_networks();
    let settings = settings.with("REPLICATION_ENABLED", "true").with("REPLICATION_CONSISTENCY", "quorum");
    // Calls that change something are answered only with a token where the address is no loopback one.
    let settings = settings.with("HTTP_TOKEN", "a-token-that-nobody-guesses");
    let cluster = LocalCluster::start(settings).await?;
    cluster.wait_formed().await?;
    let old = cluster.wait_leader().await?;
    let keeper = Bookkeeper::start(&cluster, 6);
    keeper.wait_for_more(50, LONG * 3).await?;
    cluster.isolate(old)?;
    let (one, other) = others(old);
    let new = cluster.wait_leader_among(&[one, other]).await?;
    keeper.wait_for_more(50, LONG * 5).await?;
    cluster.rejoin(old)?;
    // One direction only: it hears, and nobody hears it.
    cluster.cut(new, old)?;
    keeper.wait_for_more(50, LONG * 5).await?;
    cluster.mend(new, old)?;
    cluster.wait_formed().await?;
    keeper.wait_for_more(50, LONG * 5).await?;
    let book = keeper.end().await;
    assert!(book.count() >= 200);
    book.expect_everywhere(&cluster).await?;
    Ok(())
}

async fn formed() -> Result<(LocalCluster, usize), Box<dyn std::error::Error>> {
    let cluster = LocalCluster::start(Settings::new(3).with_networks()).await?;
    cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    Ok((cluster, leader))
}

fn others(number: usize) -> (usize, usize) {
    (number % 3 + 1, (number + 1) % 3 + 1)
}

async fn succeeded_by_one_of_the_others(cluster: &LocalCluster, old: usize) -> Outcome {
    let (one, other) = others(old);
    let new = cluster.wait_leader_among(&[one, other]).await?;
    assert_eq!(cluster.http(new).get("/health/primary").await?.status, 200);
    assert_eq!(cluster.http(old).get("/health/primary").await?.status, 503, "two nodes claim to be primary");
    let alone = cluster.wait_node(old, "the old leader seeing that it has no quorum", LEADER_TIMEOUT, |status| {
        status.cluster.as_ref().is_some_and(|info| info.state == "no_quorum")
    });
    alone.await?;
    Ok(())
}

async fn heals(cluster: &LocalCluster, mend: impl FnOnce(usize) -> std::io::Result<()>, old: usize) -> Outcome {
    let cluster_id = cluster.status().await[old - 1].cluster_id.clone();
    mend(old)?;
    assert_eq!(Some(cluster.wait_formed().await?), cluster_id);
    cluster.wait_leader().await?;
    Ok(())
}
