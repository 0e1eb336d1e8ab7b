//! How many nodes it takes, and which.

use std::collections::{BTreeMap, BTreeSet};

use ha_net::{Address, NodeId};

/// What discovery knows. An address stays where it was found, also while its node is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discovery {
    /// Listed seed addresses, a name that was never resolved counting as one.
    pub(crate) listed: usize,
    /// Which node was found behind which listed address; this node too, where it found itself.
    pub(crate) behind: BTreeMap<Address, NodeId>,
    /// Nodes of this cluster name that were found otherwise.
    pub(crate) others: BTreeSet<NodeId>,
}

impl Discovery {
    /// The nodes behind listed seeds.
    pub(crate) fn listed_nodes(&self) -> BTreeSet<&NodeId> {
        self.behind.values().collect()
    }

    /// Every node that was found, except this one.
    pub(crate) fn peers<'a>(&'a self, me: &'a NodeId) -> BTreeSet<&'a NodeId> {
        self.behind.values().chain(&self.others).filter(|node| *node != me).collect()
    }

    /// Distinct nodes that the list can stand for: two addresses of one node count once. All observers of the same
    /// list keep majorities that intersect, since this is never below the number of nodes that there really are.
    pub(crate) fn seats(&self) -> usize {
        let unknown = self.listed.saturating_sub(self.behind.len());
        unknown + self.listed_nodes().len()
    }

    /// Nodes behind listed seeds that a quorum needs.
    pub(crate) fn seats_needed(&self) -> usize {
        if self.listed == 0 { 0 } else { self.seats() / 2 + 1 }
    }

    /// How many of these nodes are behind listed seeds.
    pub(crate) fn seats_taken(&self, nodes: &BTreeSet<&NodeId>) -> usize {
        self.listed_nodes().intersection(nodes).count()
    }

    /// Whether these nodes together may decide.
    pub(crate) fn is_quorum(&self, nodes: &BTreeSet<&NodeId>, min_nodes: usize) -> bool {
        nodes.len() >= min_nodes.max(1) && self.seats_taken(nodes) >= self.seats_needed()
    }

    /// Whether a node with this list may propose: without a list it knows no majority, so only for itself.
    pub(crate) fn may_propose(&self, min_nodes: usize) -> bool {
        self.listed > 0 || min_nodes <= 1
    }

    /// Whether nobody is left to be found.
    pub(crate) fn is_complete(&self) -> bool {
        self.behind.len() >= self.listed
    }
}
