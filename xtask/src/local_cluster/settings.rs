//! What a whole local cluster is started with.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::binary::{self, BuildError};
use super::lab::Lab;
use super::ports::PortBlock;
use super::spec::NodeSpec;

/// Most nodes that a cluster is formed of: as many as vote.
const FOUNDERS_MAX: usize = 5;
/// In networks of their own all nodes have the same ports.
const LAB_CLUSTER_PORT: u16 = 7946;
const LAB_HTTP_PORT: u16 = 8080;

/// What a whole local cluster is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Nodes that keep data.
    pub nodes: usize,
    /// Whether one more node only votes.
    pub witness: bool,
    /// The program; built first when `None`.
    pub binary: Option<PathBuf>,
    /// Whether each node has a network of its own, so that wires can be cut.
    pub networks: bool,
    /// Options of every node, by their environment names.
    pub options: BTreeMap<String, String>,
    /// What every node but a witness runs while it is primary.
    pub service: Vec<String>,
    /// Where the folder of the cluster is made; the system's place for temporary files when `None`, which may be memory.
    pub below: Option<PathBuf>,
    /// Whether the last lines of each log are printed when the cluster is dropped. A test wants that: they are shown
    /// when it fails.
    pub tells_logs: bool,
}

/// Where a node is.
struct Place {
    address: Ipv4Addr,
    cluster_port: u16,
    http_port: u16,
    launcher: Vec<String>,
}

impl Place {
    fn on_loopback(cluster_port: u16, http_port: u16) -> Self {
        Self { address: Ipv4Addr::LOCALHOST, cluster_port, http_port, launcher: Vec::new() }
    }
}

/// Why a cluster could not be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The program was not built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No ports, or no folder.
    #[error("{doing}: {source}")]
    Io {
        /// What failed.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Settings {
    /// This many nodes with the timers of one machine room, and nothing else turned on.
    pub fn new(nodes: usize) -> Self {
        let options = BTreeMap::from([("HA_PROFILE".to_owned(), "lan".to_owned())]);
        let (service, below) = (Vec::new(), None);
        Self { nodes, witness: false, binary: None, networks: false, options, service, below, tells_logs: true }
    }

    /// With one more node that only votes.
    #[must_use]
    pub fn with_witness(mut self) -> Self {
        self.witness = true;
        self
    }

    /// With a network for each node, so that wires can be cut.
    #[must_use]
    pub fn with_networks(mut self) -> Self {
        self.networks = true;
        self
    }

    /// With an option on every node.
    #[must_use]
    pub fn with(mut self, option: &str, value: &str) -> Self {
        self.options.insert(option.to_owned(), value.to_owned());
        self
    }

    /// With failover, and a command that writes down where it runs; see [`super::Journal`].
    #[must_use]
    pub fn with_journal(mut self) -> Self {
        self.service = super::Journal::command();
        self.with("FAILOVER_ENABLED", "true")
    }

    /// All processes: nodes and witness.
    pub fn processes(&self) -> usize {
        self.nodes + usize::from(self.witness)
    }

    /// The nodes below a folder, on ports of a block.
    pub(super) fn specs_on_block(&self, root: &Path, block: &mut PortBlock) -> Result<Vec<NodeSpec>, PrepareError> {
        let mut port = || block.port().map_err(|source| PrepareError::Io { doing: "looking for a free port", source });
        let place = |_| Ok(Place::on_loopback(port()?, port()?));
        let places = (0..self.processes()).map(place).collect::<Result<Vec<_>, PrepareError>>()?;
        Ok(self.specs_at(root, &self.program()?, &places))
    }

    /// The nodes below a folder, each in its own network.
    pub(super) fn specs_in_lab(&self, root: &Path, lab: &Lab) -> Result<Vec<NodeSpec>, PrepareError> {
        let place = |number| Place {
            address: lab.address(number),
            cluster_port: LAB_CLUSTER_PORT,
            http_port: LAB_HTTP_PORT,
            launcher: lab.launcher(number),
        };
        let places: Vec<Place> = (1..=self.processes()).map(place).collect();
        Ok(self.specs_at(root, &self.program()?, &places))
    }

    fn program(&self) -> Result<PathBuf, BuildError> {
        self.binary.clone().map_or_else(binary::for_tests, Ok)
    }

    /// The nodes below a folder, with a cluster port and an HTTP port each.
    pub fn specs(&self, root: &Path, binary: &Path, ports: &[(u16, u16)]) -> Vec<NodeSpec> {
        let places: Vec<Place> = ports.iter().map(|(cluster, http)| Place::on_loopback(*cluster, *http)).collect();
        self.specs_at(root, binary, &places)
    }

    /// The nodes below a folder, each at a place.
    fn specs_at(&self, root: &Path, binary: &Path, places: &[Place]) -> Vec<NodeSpec> {
        let seeds = places.iter().map(|place| format!("{}:{}", place.address, place.cluster_port));
        let seeds = seeds.collect::<Vec<_>>().join(",");
        // More nodes than may vote join a cluster that the first of them formed.
        let founders = self.processes().min(FOUNDERS_MAX);
        let spec = |(index, place): (usize, &Place)| {
            let witness = index >= self.nodes;
            let node_id = if witness { "witness".to_owned() } else { format!("node-{}", index + 1) };
            let mut options = self.options.clone();
            options.entry("CLUSTER_SEED_NODES".to_owned()).or_insert_with(|| seeds.clone());
            options.entry("HA_MIN_NODES".to_owned()).or_insert_with(|| founders.to_string());
            options.entry("HA_QUORUM_SIZE".to_owned()).or_insert_with(|| (founders / 2 + 1).to_string());
            NodeSpec {
                directory: root.join(&node_id),
                node_id,
                witness,
                address: place.address,
                cluster_port: place.cluster_port,
                http_port: place.http_port,
                launcher: place.launcher.clone(),
                binary: binary.to_owned(),
                options,
                service: if witness { Vec::new() } else { self.service.clone() },
            }
        };
        places.iter().take(self.processes()).enumerate().map(spec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_witness_comes_last_and_everybody_is_a_seed() {
        let settings = Settings::new(2).with_witness();
        let specs = settings.specs(Path::new("root"), Path::new("ha"), &[(1, 2), (3, 4), (5, 6)]);
        let ids: Vec<_> = specs.iter().map(|s| s.node_id.as_str()).collect();
        assert_eq!(ids, ["node-1", "node-2", "witness"]);
        assert!(specs[2].witness && !specs[1].witness);
        for spec in &specs {
            assert_eq!(spec.options["CLUSTER_SEED_NODES"], "127.0.0.1:1,127.0.0.1:3,127.0.0.1:5");
            assert_eq!((spec.options["HA_MIN_NODES"].as_str(), spec.options["HA_QUORUM_SIZE"].as_str()), ("3", "2"));
        }
    }
}
