//! Nodes that do not belong: a second one with the same id, one with other timers, one of another cluster's name.

use std::time::Duration;

use xtask::local_cluster::{LocalCluster, Settings, wait_for};

use crate::support::{Outcome, ends_with_error};

/// How long a stranger is given to be refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_second_node_with_the_same_id_is_refused() -> Outcome {
    let mut cluster = formed_without_the_last(&Settings::new(4)).await?;
    let leader = cluster.wait_leader().await?;
    cluster.node_mut(4).spec.options.insert("CLUSTER_NODE_ID".to_owned(), "node-1".to_owned());
    ends_with_error(&mut cluster, 4, &["node-1", "CLUSTER_NODE_ID"]).await?;
    assert_eq!(cluster.wait_leader().await?, leader, "the stranger moved the leader");
    Ok(())
}

#[tokio::test]
async fn a_node_with_other_timers_is_refused_and_told_which() -> Outcome {
    let mut cluster = formed_without_the_last(&Settings::new(4)).await?;
    cluster.node_mut(4).spec.options.insert("CLUSTER_ELECTION_TIMEOUT".to_owned(), "300ms".to_owned());
    is_refused(&mut cluster, &["CLUSTER_ELECTION_TIMEOUT"]).await
}

#[tokio::test]
async fn a_node_of_another_cluster_name_is_refused() -> Outcome {
    let mut cluster = formed_without_the_last(&Settings::new(4)).await?;
    cluster.node_mut(4).spec.options.insert("CLUSTER_NAME".to_owned(), "elsewhere".to_owned());
    is_refused(&mut cluster, &["elsewhere", "CLUSTER_NAME"]).await
}

/// Three nodes form; the fourth, which knows them as seeds, is not started.
pub(crate) async fn formed_without_the_last(settings: &Settings) -> Outcome<LocalCluster> {
    let settings = settings.clone().with("HA_MIN_NODES", "3").with("HA_QUORUM_SIZE", "2");
    let mut cluster = LocalCluster::prepare(settings)?;
    for number in 1..=3 {
        cluster.node_mut(number).start()?;
    }
    cluster.wait_leader().await?;
    Ok(cluster)
}

/// Starts the fourth node. It ends with a failure, or stays outside; either way it says all of these words, where a
/// person looks: in what it prints or in `/health`. The cluster goes on without it.
pub(crate) async fn is_refused(cluster: &mut LocalCluster, words: &[&str]) -> Outcome {
    let leader = cluster.wait_leader().await?;
    cluster.node_mut(4).start()?;
    let refused = wait_for("the fourth node saying why it is refused", REFUSAL_TIMEOUT, async || {
        let health = cluster.http(4).get("/health").await.map(|answer| answer.body).unwrap_or_default();
        let said = format!("{health}\n{}", cluster.node(4).log_text());
        if words.iter().all(|word| said.contains(word)) { Ok(()) } else { Err(said) }
    });
    refused.await?;
    let members = cluster.http(leader).members().await?;
    assert!(members.iter().all(|member| member.node_id != "node-4"), "the stranger became a member: {members:?}");
    assert_eq!(cluster.http(leader).get("/health/primary").await?.status, 200, "the stranger moved the leader");
    Ok(())
}
