//! Nodes that are started wrongly say what is wrong and what to do, and end, or wait where waiting helps.

use std::fs;
use std::net::TcpListener;

use xtask::local_cluster::{LocalCluster, Settings};

use crate::support::{Outcome, ends_with_error, told_in_health};

#[tokio::test]
async fn a_cluster_port_in_use_is_named() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(1))?;
    let port = cluster.node(1).spec.cluster_port;
    let _taken = TcpListener::bind(("127.0.0.1", port))?;
    ends_with_error(&mut cluster, 1, &[&port.to_string(), "in use", "CLUSTER_PORT"]).await?;
    Ok(())
}

#[tokio::test]
async fn an_http_port_in_use_is_named() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(1))?;
    let port = cluster.node(1).spec.http_port;
    let _taken = TcpListener::bind(("127.0.0.1", port))?;
    ends_with_error(&mut cluster, 1, &[&port.to_string(), "in use", "HTTP_PORT"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_named() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(1))?;
    // Below a file nobody can make a folder, not even the superuser that a build machine may run tests as.
    let file = cluster.directory().join("file");
    fs::write(&file, "not a folder")?;
    let below = file.join("data").display().to_string();
    cluster.node_mut(1).spec.options.insert("HA_DATA_DIR".to_owned(), below.clone());
    ends_with_error(&mut cluster, 1, &[&below, "HA_DATA_DIR"]).await?;
    assert_eq!(fs::read_to_string(&file)?, "not a folder");
    Ok(())
}

#[tokio::test]
async fn wrong_settings_are_told_all_at_once_with_exit_code_2() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(1))?;
    let options = &mut cluster.node_mut(1).spec.options;
    options.insert("CLUSTER_HEARTBEAT_INTERVAL".to_owned(), "soon".to_owned());
    options.insert("HA_STRATEGY".to_owned(), "hope".to_owned());
    ends_with_error(&mut cluster, 1, &["CLUSTER_HEARTBEAT_INTERVAL", "soon", "HA_STRATEGY", "hope"]).await?;
    assert_eq!(exit_code(&mut cluster), Some(2));
    Ok(())
}

/// A name may start to resolve later: the node keeps trying, and says what it waits for.
#[tokio::test]
async fn a_seed_that_does_not_resolve_is_waited_for_and_named() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(1).with("HA_MIN_NODES", "2").with("HA_QUORUM_SIZE", "2"))?;
    let own = cluster.node(1).spec.cluster_address().to_string();
    let seeds = format!("{own},no-such-host.invalid:7946");
    cluster.node_mut(1).spec.options.insert("CLUSTER_SEED_NODES".to_owned(), seeds);
    cluster.node_mut(1).start()?;
    told_in_health(&cluster, 1, &["no-such-host.invalid"]).await?;
    assert!(cluster.node(1).is_running());
    Ok(())
}

/// One wrong name among the seeds does not keep the others from forming.
#[tokio::test]
async fn two_right_seeds_of_three_are_enough() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(2))?;
    let right: Vec<String> = cluster.nodes().iter().map(|node| node.spec.cluster_address().to_string()).collect();
    let seeds = format!("{},no-such-host.invalid:7946", right.join(","));
    for number in 1..=2 {
        cluster.node_mut(number).spec.options.insert("CLUSTER_SEED_NODES".to_owned(), seeds.clone());
    }
    cluster.start_all()?;
    cluster.wait_formed().await?;
    Ok(())
}

fn exit_code(cluster: &mut LocalCluster) -> Option<i32> {
    match cluster.node_mut(1).reap()? {
        xtask::local_cluster::Ended::Status(status) => status.code(),
        xtask::local_cluster::Ended::Unseen => None,
    }
}
