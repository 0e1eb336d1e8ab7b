//! What one node is started with.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Beginnings of the names of options: a variable of the caller's own environment that starts so must not leak into
/// a node.
const OPTION_PREFIXES: [&str; 10] = [
    "HA_",
    "CLUSTER_",
    "FAILOVER_",
    "REPLICATION_",
    "STATE_",
    "HEALTH_",
    "HTTP_ADDRESS",
    "HTTP_PORT",
    "HTTP_TOKEN",
    "SPLIT_BRAIN_",
];

/// What one node is started with: enough to start it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its id.
    pub node_id: String,
    /// Whether it only votes.
    pub witness: bool,
    /// Its address, loopback unless it has a network of its own.
    pub address: Ipv4Addr,
    /// Where it listens for other nodes.
    pub cluster_port: u16,
    /// Where its HTTP API is.
    pub http_port: u16,
    /// Its folder: data and log.
    pub directory: PathBuf,
    /// What its command begins with, when it has a network of its own.
    pub launcher: Vec<String>,
    /// The program.
    pub binary: PathBuf,
    /// Options by their environment names.
    pub options: BTreeMap<String, String>,
    /// What it runs while it is primary.
    #[serde(default)]
    pub service: Vec<String>,
}

impl NodeSpec {
    /// Where it keeps its durable state.
    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What it printed.
    pub fn log(&self) -> PathBuf {
        self.directory.join("node.log")
    }

    /// Where other nodes dial it.
    pub fn cluster_address(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.cluster_port))
    }

    /// Where its HTTP API is.
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.http_port))
    }

    /// `ha run` with these options and with none of the caller's.
    pub fn command(&self) -> Command {
        let mut words = self.launcher.iter().map(OsStr::new).chain([self.binary.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("run").current_dir(&self.directory);
        if !self.service.is_empty() {
            command.arg("--").args(&self.service);
        }
        for (name, _) in std::env::vars_os() {
            if OPTION_PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.envs(self.settings());
        command
    }

    /// All options of the node; its own `options` win.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::from([
            ("CLUSTER_ENABLED".to_owned(), "true".to_owned()),
            ("CLUSTER_NODE_ID".to_owned(), self.node_id.clone()),
            ("CLUSTER_ADDRESS".to_owned(), self.address.to_string()),
            ("CLUSTER_PORT".to_owned(), self.cluster_port.to_string()),
            ("HTTP_ADDRESS".to_owned(), self.address.to_string()),
            ("HTTP_PORT".to_owned(), self.http_port.to_string()),
            ("HA_DATA_DIR".to_owned(), self.data_directory().display().to_string()),
        ]);
        if self.witness {
            settings.insert("CLUSTER_ROLE".to_owned(), "witness".to_owned());
        }
        settings.extend(self.options.clone());
        settings
    }
}

/// The preset that fits this many nodes.
pub fn preset_for(nodes: usize) -> &'static str {
    match nodes {
        0 | 1 => "development",
        2 => "simple_failover",
        3 | 4 => "full_ha",
        _ => "distributed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> NodeSpec {
        NodeSpec {
            node_id: "node-1".to_owned(),
            witness: false,
            address: Ipv4Addr::LOCALHOST,
            launcher: Vec::new(),
            cluster_port: 1,
            http_port: 2,
            directory: PathBuf::from("d"),
            binary: PathBuf::from("ha"),
            options: BTreeMap::new(),
            service: Vec::new(),
        }
    }

    #[test]
    fn own_options_win() {
        let mut spec = spec();
        spec.options.insert("CLUSTER_PORT".to_owned(), "9".to_owned());
        assert_eq!(spec.settings()["CLUSTER_PORT"], "9");
    }

    #[test]
    fn only_a_witness_has_a_role() {
        let mut spec = spec();
        assert!(!spec.settings().contains_key("CLUSTER_ROLE"));
        spec.witness = true;
        assert_eq!(spec.settings()["CLUSTER_ROLE"], "witness");
    }

    #[test]
    fn the_preset_follows_the_size() {
        assert_eq!(
            [1, 2, 3, 4, 5, 9].map(preset_for).join(" "),
            "development simple_failover full_ha full_ha distributed distributed"
        );
    }
}
