//! The names of what can move between nodes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name of a group, in bytes.
pub const GROUP_BYTES_MAX: usize = 64;
/// Into how many parts a group is cut that is active on every node.
pub const SHARDS: u16 = 16;
/// The group of a cluster that runs one service.
pub const DEFAULT_GROUP: &str = "default";

/// A service that runs on one node at a time: 1 to 64 characters of `a-z A-Z 0-9 . _ -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for GroupId {
    /// [`DEFAULT_GROUP`].
    fn default() -> Self {
        Self(DEFAULT_GROUP.into())
    }
}

impl FromStr for GroupId {
    type Err = NotAGroup;

    fn from_str(text: &str) -> Result<Self, NotAGroup> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > GROUP_BYTES_MAX || !text.chars().all(fits) {
            return Err(NotAGroup { text: text.chars().take(GROUP_BYTES_MAX).collect() });
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for GroupId {
    type Error = NotAGroup;

    fn try_from(text: String) -> Result<Self, NotAGroup> {
        text.parse()
    }
}

impl From<GroupId> for String {
    fn from(id: GroupId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that names no group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no group: 1 to {GROUP_BYTES_MAX} characters of a-z A-Z 0-9 . _ -")]
pub struct NotAGroup {
    /// Its beginning.
    pub text: String,
}

/// What one node at a time may hold: a group, or one shard of it. As text `group`, or `group/shard`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleId {
    /// The group.
    pub group: GroupId,
    /// Which part of it, from 0; `None` for the whole.
    pub shard: Option<u16>,
}

impl RoleId {
    /// All shards of a group.
    pub fn shards(group: &GroupId) -> impl Iterator<Item = Self> + use<'_> {
        (0..SHARDS).map(|shard| Self { group: group.clone(), shard: Some(shard) })
    }
}

impl From<GroupId> for RoleId {
    /// The whole group.
    fn from(group: GroupId) -> Self {
        Self { group, shard: None }
    }
}

impl FromStr for RoleId {
    type Err = NotAGroup;

    fn from_str(text: &str) -> Result<Self, NotAGroup> {
        let Some((group, shard)) = text.split_once('/') else { return Ok(text.parse::<GroupId>()?.into()) };
        let shard = shard.parse().map_err(|_| NotAGroup { text: text.chars().take(GROUP_BYTES_MAX).collect() })?;
        Ok(Self { group: group.parse()?, shard: Some(shard) })
    }
}

impl TryFrom<String> for RoleId {
    type Error = NotAGroup;

    fn try_from(text: String) -> Result<Self, NotAGroup> {
        text.parse()
    }
}

impl From<RoleId> for String {
    fn from(id: RoleId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard {
            Some(shard) => write!(f, "{}/{shard}", self.group),
            None => self.group.fmt(f),
        }
    }
}

impl fmt::Debug for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_survives_its_text() {
        for text in ["default", "orders-2.eu/15"] {
            let role: RoleId = text.parse().unwrap();
            assert_eq!(role.to_string(), text);
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("{text:?}"));
        }
        for text in ["", "a b", "a/b", "a/70000", "/1", &"x".repeat(65)] {
            assert!(text.parse::<RoleId>().is_err(), "{text}");
        }
    }
}
