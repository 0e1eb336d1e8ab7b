//! Nodes over TCP and real files.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ha_cluster::{Cluster, Config, Seed, View};

/// Of the node at an index, whose seeds are all addresses.
pub(crate) fn config(addresses: &[SocketAddr], index: usize, directory: &Path) -> Config {
    let mut config = Config::default();
    config.node_id = Some(format!("node-{index}").parse().expect("a valid name"));
    config.data_dir = directory.join(format!("node-{index}"));
    config.listen = addresses[index];
    config.seeds = addresses.iter().map(|a| Seed::Address((*a).into())).collect();
    config.heartbeat_interval = Duration::from_millis(50);
    config.node_timeout = Duration::from_millis(500);
    config.election_timeout = Duration::from_millis(250);
    config.min_nodes = 3;
    config.segment_bytes = 1024 * 1024;
    config
}

/// Waits until a node sees something.
pub(crate) async fn until(cluster: &Cluster, what: &str, ready: impl Fn(&View) -> bool) {
    let mut view = cluster.watch();
    let wait = view.wait_for(|view| ready(view));
    match tokio::time::timeout(Duration::from_secs(20), wait).await {
        Ok(seen) => drop(seen.expect("a node that runs")),
        Err(_) => panic!("not in time: {what}; the last view was {:#?}", cluster.watch().borrow()),
    }
}
