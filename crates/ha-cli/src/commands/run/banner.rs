//! What a node says of itself when it starts.

use std::net::SocketAddr;

use ha_config::Config;
use ha_runtime::View;

use crate::table::{Cell, QUIET, STRONG, list};

/// A few lines for people.
pub(super) fn text(config: &Config, view: &View, http: SocketAddr) -> String {
    let listen = SocketAddr::new(config.cluster.address, config.cluster.port);
    let mut entries = vec![];
    if config.cluster.enabled {
        let seeds: Vec<String> = config.cluster.seed_nodes.iter().map(ToString::to_string).collect();
        let (role, priority) = (config.cluster.role, config.cluster.node_priority);
        entries.extend([
            ("node", Cell::new(&view.node_id, STRONG)),
            ("cluster", format!("{}, as {role} of priority {priority}", config.cluster.name).into()),
            ("nodes", format!("listens on {listen}, others dial {}", view.address).into()),
            ("seeds", if seeds.is_empty() { Cell::new("none", QUIET) } else { seeds.join(", ").into() }),
        ]);
    } else {
        entries.push(("cluster", Cell::new("off (CLUSTER_ENABLED=false): this node is alone", QUIET)));
    }
    entries.push(("http", format!("http://{http}").into()));
    entries.push(("data", config.ha.data_dir.display().to_string().into()));
    format!("ha {}\n{}", env!("CARGO_PKG_VERSION"), list(&entries))
}
