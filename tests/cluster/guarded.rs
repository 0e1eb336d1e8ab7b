//! T55, T56: nodes that share a secret or an authority form a cluster; whoever does not stays outside, says why, and
//! changes nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use xtask::local_cluster::{LocalCluster, Settings};

use crate::strangers::{formed_without_the_last, is_refused};
use crate::support::Outcome;

const SECRET: &str = "a secret of thirty-two characters";

#[tokio::test]
async fn a_node_with_another_secret_is_refused() -> Outcome {
    let mut cluster = formed_without_the_last(&Settings::new(4).with("CLUSTER_SECRET", SECRET)).await?;
    cluster.node_mut(4).spec.options.insert("CLUSTER_SECRET".to_owned(), "another one of many characters".to_owned());
    is_refused(&mut cluster, &["CLUSTER_SECRET"]).await?;
    says_nowhere(&cluster, SECRET);
    Ok(())
}

#[tokio::test]
async fn a_node_without_the_secret_is_refused() -> Outcome {
    let mut cluster = formed_without_the_last(&Settings::new(4).with("CLUSTER_SECRET", SECRET)).await?;
    cluster.node_mut(4).spec.options.remove("CLUSTER_SECRET");
    is_refused(&mut cluster, &["CLUSTER_SECRET"]).await
}

#[tokio::test]
async fn nodes_that_share_a_secret_elect_again_after_a_kill() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3).with("CLUSTER_SECRET", SECRET)).await?;
    elects_again(&mut cluster).await
}

#[tokio::test]
async fn nodes_that_speak_tls_elect_again_after_a_kill() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(3))?;
    let certificates = certificates(&cluster, "certs")?;
    for number in 1..=3 {
        with_tls(&mut cluster, number, &certificates);
    }
    cluster.start_all()?;
    elects_again(&mut cluster).await?;
    let metrics = cluster.http(1).get("/metrics").await?.body;
    assert!(metrics.contains("ha_net_certificate_left_seconds"), "no metric tells when the certificate ends");
    Ok(())
}

#[tokio::test]
async fn a_node_of_another_authority_and_one_without_tls_are_refused() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(4).with("HA_MIN_NODES", "3").with("HA_QUORUM_SIZE", "2"))?;
    let (certificates, others) = (certificates(&cluster, "certs")?, certificates(&cluster, "others")?);
    for number in 1..=3 {
        with_tls(&mut cluster, number, &certificates);
        cluster.node_mut(number).start()?;
    }
    cluster.wait_leader().await?;
    is_refused(&mut cluster, &["CLUSTER_TLS_CERT"]).await?;
    told_by_members(&cluster)?;
    // All three turned it away, so it ends by itself, a moment after it said so.
    cluster.node_mut(4).wait_exit(Duration::from_secs(15)).await?;
    with_tls(&mut cluster, 4, &others);
    is_refused(&mut cluster, &["CLUSTER_TLS_CA"]).await
}

/// The members' own logs name what is wrong with whoever speaks plainly to them.
fn told_by_members(cluster: &LocalCluster) -> Outcome {
    let told = (1..=3).any(|number| cluster.node(number).log_text().contains("does not speak TLS"));
    if told { Ok(()) } else { Err("nobody says that the stranger does not speak TLS".into()) }
}

async fn elects_again(cluster: &mut LocalCluster) -> Outcome {
    let cluster_id = cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    cluster.kill9(leader).await?;
    assert_ne!(cluster.wait_leader().await?, leader);
    cluster.restart(leader)?;
    assert_eq!(cluster.wait_formed().await?, cluster_id);
    Ok(())
}

fn says_nowhere(cluster: &LocalCluster, secret: &str) {
    for node in cluster.nodes() {
        assert!(!node.log_text().contains(secret), "{} shows the secret in its log", node.spec.node_id);
    }
}

/// What `ha certs create` makes for every node, in a folder of the cluster's.
fn certificates(cluster: &LocalCluster, name: &str) -> Outcome<PathBuf> {
    let folder = cluster.directory().join(name);
    let nodes: Vec<&str> = cluster.nodes().iter().map(|node| node.spec.node_id.as_str()).collect();
    let mut command = Command::new(&cluster.node(1).spec.binary);
    command.args(["certs", "create", "--nodes", &nodes.join(","), "--dir"]).arg(&folder);
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(folder)
}

fn with_tls(cluster: &mut LocalCluster, number: usize, folder: &Path) {
    let spec = &mut cluster.node_mut(number).spec;
    for (option, file) in [
        ("CLUSTER_TLS_CERT", format!("{}.crt", spec.node_id)),
        ("CLUSTER_TLS_KEY", format!("{}.key", spec.node_id)),
        ("CLUSTER_TLS_CA", "ca.crt".to_owned()),
    ] {
        spec.options.insert(option.to_owned(), folder.join(file).display().to_string());
    }
}
