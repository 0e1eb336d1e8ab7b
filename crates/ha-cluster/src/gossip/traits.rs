//! What a node tells all others about itself.

use std::fmt;

use ha_net::{Address, Incarnation, NodeId};
use serde::Serialize;

use crate::Role;

/// Longest [`ProgramVersion`], in bytes.
pub const PROGRAM_VERSION_BYTES_MAX: usize = 32;

/// A node: who it is, where, and what it is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its id.
    pub node_id: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Where it can be dialled.
    pub address: Address,
    /// What may change while it runs.
    pub traits: Traits,
}

/// What a node is like; may change while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Traits {
    /// Higher is likelier to lead; 0 never leads.
    pub priority: u16,
    /// Member or witness.
    pub role: Role,
    /// The program it runs.
    pub version: ProgramVersion,
    /// Whether it votes, as it believes itself.
    pub suffrage: Suffrage,
    /// How well it is, in percent.
    pub health: u8,
}

/// Health in percent from which on a node is fit to lead, and to be counted on.
const FIT_PERCENT: u8 = 50;

impl Traits {
    /// Whether it is fit to lead, and to be counted on.
    pub fn is_fit(&self) -> bool {
        self.health >= FIT_PERCENT
    }
}

/// Whether a node votes. Only a hint: the log decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Suffrage {
    /// It is no member yet.
    #[default]
    None,
    /// It receives the log.
    Learner,
    /// It votes.
    Voter,
}

/// The version of a program, cut to [`PROGRAM_VERSION_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ProgramVersion(String);

impl ProgramVersion {
    /// A version from its text.
    pub fn new(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(PROGRAM_VERSION_BYTES_MAX)].to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProgramVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_version_is_cut_between_characters() {
        assert_eq!(ProgramVersion::new("1.2.3").as_str(), "1.2.3");
        assert_eq!(ProgramVersion::new(&"é".repeat(40)).as_str(), "é".repeat(16));
        assert_eq!(ProgramVersion::new(&format!("x{}", "é".repeat(40))).as_str().len(), 31);
    }
}
