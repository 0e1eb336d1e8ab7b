//! T38: SIGTERM. The node hands over first, then leaves, and ends as a program that did what it was told.

use rustix::process::Signal;
use xtask::local_cluster::{Ended, LocalCluster, STOP_TIMEOUT, Settings};

use crate::support::Outcome;

#[tokio::test]
async fn a_leader_hands_over_before_it_ends() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    let cluster_id = cluster.wait_formed().await?;
    let old = cluster.wait_leader().await?;
    succeeded(cluster.terminate(old).await?)?;
    // Asked at once: had the node only died, the others would still have to notice.
    let mut answers = Vec::new();
    for number in (1..=3).filter(|number| *number != old) {
        answers.push(cluster.http(number).get("/health/primary").await?);
    }
    let primaries = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(primaries, 1, "the leader ended before another one led: {answers:?}");
    cluster.restart(old)?;
    assert_eq!(cluster.wait_formed().await?, cluster_id, "the node is still a member");
    Ok(())
}

#[tokio::test]
async fn a_follower_ends_without_disturbing_the_leader() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    let term = cluster.http(leader).health().await?.number("term");
    succeeded(cluster.terminate(leader % 3 + 1).await?)?;
    assert_eq!(cluster.wait_leader().await?, leader);
    assert_eq!(cluster.http(leader).health().await?.number("term"), term);
    Ok(())
}

#[tokio::test]
async fn a_whole_cluster_ends_at_once_and_starts_again() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    let cluster_id = cluster.wait_formed().await?;
    for node in cluster.nodes() {
        node.signal(Signal::TERM)?;
    }
    for number in 1..=3 {
        succeeded(cluster.node_mut(number).wait_exit(STOP_TIMEOUT).await?)?;
    }
    cluster.start_all()?;
    assert_eq!(cluster.wait_formed().await?, cluster_id);
    Ok(())
}

/// A node that still looks for its peers must not need them to stop.
#[tokio::test]
async fn a_node_that_waits_for_others_ends_when_told() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(3))?;
    cluster.node_mut(1).start()?;
    let answers = cluster.wait_node(1, "an answer", STOP_TIMEOUT, |status| status.cluster.is_some());
    answers.await?;
    succeeded(cluster.terminate(1).await?)
}

fn succeeded(ended: Ended) -> Outcome {
    match ended {
        Ended::Status(status) if status.success() => Ok(()),
        other => Err(format!("SIGTERM ended it with {other:?} instead of success").into()),
    }
}
