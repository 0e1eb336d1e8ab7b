//! Members that were removed for good: they may not come back, with what they have or with nothing.

use std::sync::PoisonError;

use ha_net::NodeId;

use super::{Doorman, Known};
use crate::machine::RemovedMembers;

impl Known {
    /// Whether a node was removed. Of one that is a member by now, with another disk, only what it had is refused.
    pub(super) fn is_removed(&self, peer: &NodeId, disk: Option<u64>) -> bool {
        let member = self.disks.get(peer).copied();
        let Some(disk) = disk.filter(|disk| member != Some(*disk)) else { return false };
        self.recorded.disks_of(peer).any(|had| member.is_none() || had == disk)
    }
}

impl Doorman {
    /// These were removed for good, as the log says. Returns those that were admitted before that was known here.
    pub(crate) fn removed(&self, recorded: RemovedMembers) -> Vec<NodeId> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.recorded = recorded;
        let introduced = known.introduced.iter();
        let admitted = introduced.filter(|(peer, life)| known.is_removed(peer, Some(life.disk)));
        admitted.map(|(peer, _)| peer.clone()).collect()
    }
}
