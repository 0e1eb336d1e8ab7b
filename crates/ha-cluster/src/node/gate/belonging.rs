//! Who belongs to which cluster. A node that belongs to none may talk to nodes of several; once it belongs to one, it has
//! nothing to do with the others, and only that one may make it a member.

use std::sync::PoisonError;

use ha_net::{ClusterId, NodeId};

use super::{Doorman, Known};
use crate::lineage::Lineage;

impl Known {
    /// Forgets that a node has introduced itself with this disk.
    pub(super) fn leave_out(&mut self, peer: &NodeId, disk: Option<u64>) {
        if self.introduced.get(peer).is_some_and(|life| Some(life.disk) == disk) {
            self.introduced.remove(peer);
        }
    }
}

impl Doorman {
    /// This node belongs to a cluster now. Returns those who were admitted before, and belong to another.
    pub(crate) fn belong(&self, cluster_id: ClusterId, lineage: Lineage) -> Vec<NodeId> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.cluster_id = Some(cluster_id);
        known.lineage = lineage;
        let is_foreign =
            |_: &NodeId, life: &mut super::Life| life.cluster_id.is_some_and(|theirs| theirs != cluster_id);
        known.introduced.extract_if(.., is_foreign).map(|(peer, _)| peer).collect()
    }

    /// An admitted peer belongs to a cluster now. Returns whether that may be.
    pub(crate) fn belongs(&self, peer: &NodeId, cluster_id: ClusterId) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.cluster_id.is_some_and(|ours| ours != cluster_id) {
            known.introduced.remove(peer);
            return false;
        }
        if let Some(life) = known.introduced.get_mut(peer) {
            life.cluster_id = Some(cluster_id);
        }
        true
    }

    /// Those who were admitted.
    pub(crate) fn introduced(&self) -> Vec<NodeId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.introduced.keys().cloned().collect()
    }

    /// Whether a peer has introduced itself that may become a member: it belongs to this cluster, and was not removed.
    pub(crate) fn may_join(&self, peer: &NodeId) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.introduced.get(peer).is_some_and(|life| {
            life.cluster_id.is_some() && life.cluster_id == known.cluster_id && !known.is_removed(peer, Some(life.disk))
        })
    }
}
