//! The stable name of a node.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// Longest node id, in bytes.
pub const NODE_ID_BYTES_MAX: usize = 64;

/// The stable name of a node: 1 to 64 characters of `a-z A-Z 0-9 . _ -`.
///
/// Cloning is cheap. Node ids are ordered as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        if text.is_empty() {
            return Err(NodeIdError::Empty);
        }
        if text.len() > NODE_ID_BYTES_MAX {
            return Err(NodeIdError::TooLong { bytes: text.len() });
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(found) => Err(NodeIdError::Character { found }),
            None => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;

    fn try_from(text: String) -> Result<Self, NodeIdError> {
        text.parse()
    }
}

/// Numbered nodes, for suites that know nodes by number.
#[cfg(any(test, feature = "testing"))]
impl From<u64> for NodeId {
    fn from(number: u64) -> Self {
        Self(format!("node-{number}").into())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a node id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeIdError {
    /// Nothing was given.
    #[error("a node id must not be empty")]
    Empty,
    /// More than [`NODE_ID_BYTES_MAX`] bytes.
    #[error("a node id has at most {NODE_ID_BYTES_MAX} characters, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character outside the allowed set.
    #[error("a node id is made of letters, digits, '.', '_' and '-'; found {found:?}")]
    Character {
        /// The first one found.
        found: char,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_ids() {
        for text in ["a", "node-1.eu_west", &"x".repeat(NODE_ID_BYTES_MAX)] {
            assert_eq!(text.parse::<NodeId>().unwrap().as_str(), text);
        }
        assert_eq!("".parse::<NodeId>(), Err(NodeIdError::Empty));
        assert_eq!("a b".parse::<NodeId>(), Err(NodeIdError::Character { found: ' ' }));
        assert_eq!("ä".parse::<NodeId>(), Err(NodeIdError::Character { found: 'ä' }));
        let long = "x".repeat(NODE_ID_BYTES_MAX + 1);
        assert_eq!(long.parse::<NodeId>(), Err(NodeIdError::TooLong { bytes: NODE_ID_BYTES_MAX + 1 }));
    }

    #[test]
    fn ids_are_ordered_as_text() {
        let id = |text: &str| text.parse::<NodeId>().unwrap();
        assert!(id("a") < id("b") && id("a-10") < id("a-9"));
        assert_eq!(format!("{:>4}|{:?}", id("n1"), id("n1")), "  n1|n1");
    }
}
