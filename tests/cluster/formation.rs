//! T50: all nodes start for the first time at the same instant, and exactly one cluster forms.

use xtask::local_cluster::{LocalCluster, Settings};

use crate::support::Outcome;

/// Starts that are tried: each has its own order of events.
const ROUNDS: usize = 3;

#[tokio::test]
async fn three_nodes_that_start_together_form_one_cluster() -> Outcome {
    for _ in 0..ROUNDS {
        forms_once(Settings::new(3)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn five_nodes_that_start_together_form_one_cluster() -> Outcome {
    forms_once(Settings::new(5)).await
}

#[tokio::test]
async fn two_nodes_and_a_witness_form_one_cluster_that_the_witness_does_not_lead() -> Outcome {
    let cluster = LocalCluster::start(Settings::new(2).with_witness()).await?;
    cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    let members = cluster.http(leader).members().await?;
    let witness = members.iter().find(|member| member.node_id == "witness").ok_or("the witness is no member")?;
    assert_eq!((witness.role.as_str(), witness.voter), ("witness", true));
    assert_ne!(cluster.node(leader).spec.node_id, "witness");
    Ok(())
}

#[tokio::test]
async fn a_node_alone_forms_when_it_is_told_to() -> Outcome {
    let cluster = LocalCluster::start(Settings::new(1)).await?;
    cluster.wait_formed().await?;
    assert_eq!(cluster.wait_leader().await?, 1);
    Ok(())
}

/// A node whose peers are missing must wait for them, and say so, rather than found a cluster of its own.
#[tokio::test]
async fn one_of_three_nodes_waits_for_the_others() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(3))?;
    cluster.node_mut(1).start()?;
    let alone = cluster.wait_node(1, "node-1 waiting", xtask::local_cluster::FORM_TIMEOUT, |status| {
        status.remark.is_some() && status.cluster.as_ref().is_some_and(|info| info.state == "forming")
    });
    alone.await?;
    cluster.start_all()?;
    cluster.wait_formed().await?;
    Ok(())
}

async fn forms_once(settings: Settings) -> Outcome {
    let size = settings.nodes;
    let cluster = LocalCluster::start(settings).await?;
    let cluster_id = cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    let of_leader = cluster.http(leader).members().await?;
    let voters = of_leader.iter().filter(|member| member.voter).count();
    assert_eq!((of_leader.len(), voters), (size, size), "{of_leader:?}");
    for status in cluster.status().await {
        assert_eq!(status.cluster_id.as_ref(), Some(&cluster_id), "{} is in another cluster", status.node_id);
    }
    Ok(())
}
