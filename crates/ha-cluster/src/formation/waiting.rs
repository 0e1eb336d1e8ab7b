//! What a person should know while no cluster is formed.

use std::collections::BTreeSet;

use ha_net::NodeId;

use super::founding::{Formation, Phase};

impl Formation {
    /// What this node waits for, as one sentence; `None` once it knows of a cluster.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        match &self.phase {
            Phase::Formed | Phase::Joining => None,
            Phase::Proposing(attempt) => {
                let (what, nodes) = match attempt.charter {
                    Some(_) => ("accepted", self.named(attempt.accepted.iter())),
                    None => ("promised", self.named(attempt.promises.keys())),
                };
                Some(format!("waits for the founding nodes to agree: {nodes} {what} attempt {} so far", attempt.ballot))
            }
            Phase::Waiting => Some(self.missing().unwrap_or_else(|| {
                format!("waits for the founding nodes to agree: found {}", self.named(self.found().into_iter()))
            })),
        }
    }

    fn found(&self) -> BTreeSet<&NodeId> {
        let mut found = self.discovery.peers(&self.config.node_id);
        found.insert(&self.config.node_id);
        found
    }

    fn named<'a>(&self, nodes: impl Iterator<Item = &'a NodeId>) -> String {
        let name =
            |node: &NodeId| if *node == self.config.node_id { format!("{node} (self)") } else { node.to_string() };
        let names: Vec<String> = nodes.map(name).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    }

    /// Why the nodes that were found are not enough; `None` when they are.
    pub(super) fn missing(&self) -> Option<String> {
        let (found, min_nodes) = (self.found(), self.config.min_nodes);
        let names = self.named(found.iter().copied());
        if !self.discovery.may_propose(min_nodes) {
            return Some(format!(
                "waits to be found, since no seeds are listed here: found {names}; HA_MIN_NODES is {min_nodes}"
            ));
        }
        if found.len() < min_nodes {
            let more = min_nodes - found.len();
            let nodes = if more == 1 { "node" } else { "nodes" };
            return Some(format!("waits for {more} more {nodes}: found {names}; HA_MIN_NODES is {min_nodes}"));
        }
        let (taken, needed) = (self.discovery.seats_taken(&found), self.discovery.seats_needed());
        (taken < needed).then(|| {
            let listed = self.named(self.discovery.listed_nodes().into_iter());
            let count = self.discovery.listed;
            let more = needed - taken;
            format!("waits for {more} more of {count} listed seeds: {needed} are needed, found {listed} behind them")
        })
    }
}
