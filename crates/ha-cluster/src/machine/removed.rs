//! Members that were removed for good, and the disks that they had. Neither comes back: what the disk holds is past, and
//! an id that begins again on an empty disk would give out a second time what it has given out before.

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
    /// One membership follows another. Returns who is left out by it.
    pub(crate) fn follow(&mut self, before: &Disks, now: &Disks) -> Disks {
        let is_member = |node: &NodeId, disk: u64| now.get(node) == Some(&disk);
        self.0.retain(|(node, disk)| !is_member(node, *disk));
        let mut gone = before.clone();
        gone.retain(|node, disk| !is_member(node, *disk));
        self.0.extend(gone.clone());
        self.0.drain(..self.0.len().saturating_sub(REMOVED_MAX));
        gone
    }

    /// These were lost, not removed: they may join anew. What their disks hold is refused for being of a cluster that is
    /// past.
    pub(super) fn readmit(&mut self, lost: &Disks) {
        self.0.retain(|(node, disk)| lost.get(node) != Some(disk));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The disks that a node had when it was removed.
    pub(crate) fn disks_of(&self, node: &NodeId) -> impl Iterator<Item = u64> {
        self.0.iter().filter(move |(removed, _)| removed == node).map(|(_, disk)| *disk)
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
        let gone = removed.follow(&disks([("a", 1), ("b", 2), ("c", 3)]), &disks([("a", 1), ("c", 3)]));
        assert_eq!(gone, disks([("b", 2)]));
        removed.follow(&disks([("a", 1), ("c", 3)]), &disks([("a", 1), ("b", 9)]));
        assert_eq!(removed, these(&[("b", 2), ("c", 3)]), "the new disk of b is not meant");
        assert!(removed.disks_of(&"b".parse().unwrap()).eq([2]));
        removed.follow(&disks([("a", 1), ("b", 9)]), &disks([("a", 1), ("c", 3)]));
        assert_eq!(removed, these(&[("b", 2), ("b", 9)]), "a member is not removed");
    }

    #[test]
    fn who_was_lost_may_join_anew() {
        let mut removed = RemovedMembers::default();
        removed.follow(&disks([("a", 1), ("b", 2)]), &disks([("a", 1)]));
        removed.follow(&disks([("a", 1), ("b", 9)]), &disks([("a", 1)]));
        removed.readmit(&disks([("b", 9), ("c", 3)]));
        assert_eq!(removed, these(&[("b", 2)]), "only those");
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
