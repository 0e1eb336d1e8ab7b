//! Members that were removed for good, and the disks that they had: what those hold must not come back.

use std::collections::{BTreeMap, VecDeque};

use ha_net::NodeId;
use serde::{Deserialize, Serialize};

/// So many are remembered; the oldest go first.
const REMOVED_MAX: usize = 1024;

/// Members, each with the disk that it joined with.
pub(crate) type Disks = BTreeMap<NodeId, u64>;

/// In the order in which they were removed. The same on every node, for it follows from the memberships in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemovedMembers(VecDeque<(NodeId, u64)>);

impl RemovedMembers {
    /// One membership follows another.
    pub(crate) fn follow(&mut self, before: &Disks, now: &Disks) {
        let is_member = |node: &NodeId, disk: u64| now.get(node) == Some(&disk);
        self.0.retain(|(node, disk)| !is_member(node, *disk));
        let gone = before.iter().filter(|(node, disk)| !is_member(node, **disk));
        self.0.extend(gone.map(|(node, disk)| (node.clone(), *disk)));
        self.0.drain(..self.0.len().saturating_sub(REMOVED_MAX));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a node was removed while it had this disk.
    pub(crate) fn contains(&self, node: &NodeId, disk: u64) -> bool {
        self.0.iter().any(|(removed, had)| removed == node && *had == disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks<const N: usize>(members: [(&str, u64); N]) -> Disks {
        members.into_iter().map(|(node, disk)| (node.parse().unwrap(), disk)).collect()
    }

    fn these(removed: &[(&str, u64)]) -> RemovedMembers {
        RemovedMembers(removed.iter().map(|(node, disk)| (node.parse().unwrap(), *disk)).collect())
    }

    #[test]
    fn who_vanishes_from_the_membership_is_remembered_with_its_disk() {
        let mut removed = RemovedMembers::default();
        removed.follow(&disks([]), &disks([("a", 1), ("b", 2), ("c", 3)]));
        assert!(removed.is_empty());
        removed.follow(&disks([("a", 1), ("b", 2), ("c", 3)]), &disks([("a", 1), ("c", 3)]));
        removed.follow(&disks([("a", 1), ("c", 3)]), &disks([("a", 1), ("b", 9)]));
        assert_eq!(removed, these(&[("b", 2), ("c", 3)]), "the new disk of b is not meant");
        assert!(removed.contains(&"b".parse().unwrap(), 2) && !removed.contains(&"b".parse().unwrap(), 9));
        removed.follow(&disks([("a", 1), ("b", 9)]), &disks([("a", 1), ("c", 3)]));
        assert_eq!(removed, these(&[("b", 2), ("b", 9)]), "a member is not removed");
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut removed = RemovedMembers::default();
        for disk in 0..REMOVED_MAX as u64 + 5 {
            removed.follow(&disks([("a", disk)]), &disks([]));
        }
        assert_eq!((removed.0.len(), removed.0[0].1), (REMOVED_MAX, 5));
    }
}
