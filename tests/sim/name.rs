//! The names of simulated hosts.

use std::fmt;

use ha_net::{Address, NodeId};

/// The port on which every simulated node listens.
pub const PORT: u16 = 7946;

/// A host of the simulation: a node, counted from 1, or the stranger that only sends bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub u8);

impl Name {
    /// A host that runs no node: it dials nodes and sends what a scene tells it to.
    pub const STRANGER: Self = Self(0);

    /// The id of the node on this host.
    ///
    /// # Panics
    ///
    /// Never: the text is a valid id.
    pub fn node_id(self) -> NodeId {
        self.to_string().parse().expect("letters, a dash and digits")
    }

    /// Where it can be dialled.
    ///
    /// # Panics
    ///
    /// Never: the text is a valid host.
    pub fn address(self) -> Address {
        Address::new(self.to_string(), PORT).expect("letters, a dash and digits")
    }

    /// The host of this name.
    pub fn parse(host: &str) -> Option<Self> {
        if host == "stranger" {
            return Some(Self::STRANGER);
        }
        host.strip_prefix("node-")?.parse().ok().filter(|number| *number > 0).map(Self)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::STRANGER { f.pad("stranger") } else { f.pad(&format!("node-{}", self.0)) }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
