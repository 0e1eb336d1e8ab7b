//! Members that were removed for good: they may not come back with what they have.

use std::sync::PoisonError;

use ha_net::NodeId;

use super::{Doorman, Known};
use crate::machine::RemovedMembers;

impl Known {
    /// Whether a node was removed while it had this disk. Whoever is a member with it is not.
    pub(super) fn is_removed(&self, peer: &NodeId, disk: Option<u64>) -> bool {
        let Some(disk) = disk.filter(|disk| self.disks.get(peer) != Some(disk)) else { return false };
        self.removed.get(peer) == Some(&disk) || self.recorded.contains(peer, disk)
    }
}

impl Doorman {
    /// Whether a peer has introduced itself that may become a member.
    pub(crate) fn may_join(&self, peer: &NodeId) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.introduced.get(peer).is_some_and(|life| !known.is_removed(peer, Some(life.disk)))
    }

    /// These were removed for good, as the log says. Returns those that were admitted before that was known here.
    pub(crate) fn removed(&self, recorded: RemovedMembers) -> Vec<NodeId> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.recorded = recorded;
        let introduced = known.introduced.iter();
        let admitted = introduced.filter(|(peer, life)| known.is_removed(peer, Some(life.disk)));
        admitted.map(|(peer, _)| peer.clone()).collect()
    }
}
