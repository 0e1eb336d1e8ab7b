//! What discovery knows, for formation, `/health` and the doctor.

use std::collections::{BTreeMap, BTreeSet};

use ha_net::{Address, NodeId};
use serde::Serialize;

/// One seed, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeedReport {
    /// As it is written.
    pub seed: String,
    /// What came of the last attempt, as one sentence.
    pub outcome: String,
    /// How often it was tried.
    pub attempts: u64,
    /// The addresses behind it: itself, or what the name resolves to.
    pub addresses: Vec<AddressReport>,
}

/// One address, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressReport {
    /// The address.
    pub address: String,
    /// What came of the last attempt, as one sentence.
    pub outcome: String,
    /// How often it was tried.
    pub attempts: u64,
    /// Who is there, or was when somebody answered last.
    pub node_id: Option<NodeId>,
}

/// Every address that is listed as a seed, or stands behind a name that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Who is behind each address.
    pub addresses: BTreeMap<Address, Behind>,
    /// Names that never resolved: behind each there may be any number of nodes.
    pub unresolved: usize,
}

impl Listed {
    /// How many nodes are listed as far as one knows: addresses of the same node count once.
    pub fn places(&self) -> usize {
        let unknown = self.addresses.values().filter(|behind| **behind == Behind::Unknown).count();
        let myself = self.addresses.values().any(|behind| *behind == Behind::Myself);
        self.nodes().len() + usize::from(myself) + unknown
    }

    /// The other nodes found behind the addresses.
    pub fn nodes(&self) -> BTreeSet<&NodeId> {
        let node = |behind: &'_ Behind| matches!(behind, Behind::Node { .. });
        self.addresses.values().filter(|behind| node(behind)).filter_map(Behind::node_id).collect()
    }

    /// True when this node is listed itself.
    pub fn has_myself(&self) -> bool {
        self.addresses.values().any(|behind| *behind == Behind::Myself)
    }
}

/// Who is behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nobody has answered there yet, or only one who does not belong here.
    Unknown,
    /// This node itself.
    Myself,
    /// Another node.
    Node {
        /// Which.
        node_id: NodeId,
        /// Whether it answered the last time.
        reachable: bool,
    },
}

impl Behind {
    /// The other node that was found.
    pub fn node_id(&self) -> Option<&NodeId> {
        match self {
            Self::Node { node_id, .. } => Some(node_id),
            Self::Unknown | Self::Myself => None,
        }
    }
}
