//! T04: the leader is frozen with SIGSTOP for one, two and ten leases, and woken. It must not claim what it lost.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use xtask::local_cluster::{LocalCluster, Settings};

use crate::support::Outcome;

/// Profile `lan`: the lease of a leader is the longest election timeout, 1.6 × 250 ms.
const LEASE: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_leader_frozen_for_one_lease_ends_in_one_agreed_leader() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    cluster.pause(leader).await?;
    // The length of the freeze is the fault itself: there is nothing to wait for instead.
    sleep(LEASE).await;
    cluster.resume(leader)?;
    cluster.wait_leader().await?;
    Ok(())
}

#[tokio::test]
async fn a_leader_frozen_for_two_leases_does_not_claim_to_lead() -> Outcome {
    wakes_as_nobody(2 * LEASE).await
}

#[tokio::test]
async fn a_leader_frozen_for_ten_leases_does_not_claim_to_lead() -> Outcome {
    wakes_as_nobody(10 * LEASE).await
}

/// A frozen follower must not disturb the leader, neither while it sleeps nor when it wakes.
#[tokio::test]
async fn a_follower_that_wakes_does_not_depose_the_leader() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    let term = cluster.http(leader).health().await?.number("term");
    let follower = leader % 3 + 1;
    cluster.pause(follower).await?;
    sleep(10 * LEASE).await;
    cluster.resume(follower)?;
    cluster.wait_formed().await?;
    assert_eq!(cluster.http(leader).health().await?.number("term"), term, "the term moved");
    assert_eq!(cluster.wait_leader().await?, leader);
    Ok(())
}

async fn wakes_as_nobody(freeze: Duration) -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    cluster.wait_formed().await?;
    let old = cluster.wait_leader().await?;
    assert_eq!(cluster.http(old).get("/health/primary").await?.status, 200);
    cluster.pause(old).await?;
    sleep(freeze).await;
    let new = cluster.wait_leader_among(&[old % 3 + 1, (old + 1) % 3 + 1]).await?;

    // The question waits in the frozen node's socket, so that it is answered in the first instant after the wake.
    let mut question = TcpStream::connect(cluster.node(old).spec.http_address()).await?;
    question.write_all(b"GET /health/primary HTTP/1.0\r\n\r\n").await?;
    cluster.resume(old)?;
    let mut answer = String::new();
    question.read_to_string(&mut answer).await?;
    assert!(
        answer.lines().next().is_some_and(|line| line.contains(" 503 ")),
        "{new} leads, and {old} woke with: {answer}"
    );
    cluster.wait_formed().await?;
    let follows = cluster.wait_leader().await?;
    assert_eq!(cluster.http(follows).get("/health/primary").await?.status, 200);
    Ok(())
}
