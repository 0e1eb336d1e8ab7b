//! T01, T02: nodes are killed with SIGKILL, one or all, and what they agreed on stays.

use xtask::local_cluster::{LocalCluster, Settings};

use crate::support::Outcome;

/// The leader is killed this often in a row; each time it comes back as a follower first.
const KILLS: usize = 3;

#[tokio::test]
async fn a_killed_leader_is_succeeded_and_comes_back() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    let cluster_id = cluster.wait_formed().await?;
    let mut term = 0;
    for _ in 0..KILLS {
        let leader = cluster.wait_leader().await?;
        cluster.kill9(leader).await?;
        let next = cluster.wait_leader().await?;
        assert_ne!(next, leader, "the killed node still leads");
        let now = term_of(&cluster, next).await?;
        assert!(now > term, "term {now} after term {term}");
        term = now;
        cluster.restart(leader)?;
        assert_eq!(cluster.wait_formed().await?, cluster_id);
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_follower_is_missed_and_comes_back() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    let term = term_of(&cluster, leader).await?;
    let follower = leader % 3 + 1;
    cluster.kill9(follower).await?;
    let degraded = cluster.wait_node(leader, "one node missing", xtask::local_cluster::LEADER_TIMEOUT, |status| {
        status.cluster.as_ref().is_some_and(|info| info.state == "degraded" && info.active_nodes == 2)
    });
    degraded.await?;
    cluster.restart(follower)?;
    cluster.wait_formed().await?;
    assert_eq!(cluster.wait_leader().await?, leader, "a follower's death moved the leader");
    assert_eq!(term_of(&cluster, leader).await?, term, "a follower's return disturbed the leader");
    Ok(())
}

/// Every node is killed at once, and they come back in each of these orders, one after the other.
#[tokio::test]
async fn a_cluster_that_was_killed_whole_comes_back_in_any_order() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    let cluster_id = cluster.wait_formed().await?;
    let mut before = (0, 0);
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        let leader = cluster.wait_leader().await?;
        before = before.max((term_of(&cluster, leader).await?, epoch_of(&cluster, leader).await?));
        cluster.kill9_all().await?;
        for number in order {
            cluster.restart(number)?;
        }
        assert_eq!(cluster.wait_formed().await?, cluster_id);
        let leader = cluster.wait_leader().await?;
        let (term, epoch) = (term_of(&cluster, leader).await?, epoch_of(&cluster, leader).await?);
        assert!(term > before.0, "term {term} after term {}", before.0);
        assert!(epoch >= before.1, "epoch {epoch} after epoch {}", before.1);
    }
    Ok(())
}

#[tokio::test]
async fn five_nodes_survive_the_loss_of_two() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(5)).await?;
    let cluster_id = cluster.wait_formed().await?;
    let first = cluster.wait_leader().await?;
    cluster.kill9(first).await?;
    let second = cluster.wait_leader().await?;
    cluster.kill9(second).await?;
    let third = cluster.wait_leader().await?;
    assert!(third != first && third != second);
    cluster.restart(first)?;
    cluster.restart(second)?;
    assert_eq!(cluster.wait_formed().await?, cluster_id);
    Ok(())
}

/// A node that lost its majority must not go on as if it had one, and the cluster must work again with the majority.
#[tokio::test]
async fn without_a_majority_nobody_leads() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    let (one, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.kill9(one).await?;
    cluster.kill9(other).await?;
    let silent = cluster.wait_node(leader, "no quorum", xtask::local_cluster::LEADER_TIMEOUT, |status| {
        status.cluster.as_ref().is_some_and(|info| info.state == "no_quorum")
    });
    silent.await?;
    assert_eq!(cluster.http(leader).get("/health/primary").await?.status, 503);
    assert_eq!(cluster.http(leader).get("/health/live").await?.status, 200, "a node without quorum is alive");
    cluster.restart(one)?;
    cluster.wait_leader().await?;
    Ok(())
}

async fn term_of(cluster: &LocalCluster, number: usize) -> Outcome<u64> {
    cluster.http(number).health().await?.number("term").ok_or_else(|| "no term in /health".into())
}

async fn epoch_of(cluster: &LocalCluster, number: usize) -> Outcome<u64> {
    cluster.http(number).health().await?.number("epoch").ok_or_else(|| "no epoch in /health".into())
}
