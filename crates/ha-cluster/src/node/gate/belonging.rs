//! Who belongs to which cluster. A node that belongs to none may talk to nodes of several; once it belongs to one, it has
//! nothing to do with the others, and only that one may make it a member.

use std::sync::PoisonError;

use ha_net::{ClusterId, NodeId};

use super::{Doorman, Known, Life};
use crate::lineage::Lineage;

/// A cluster, as what forced recoveries made of it.
pub(crate) type Belonging = (ClusterId, Lineage);

fn is_same(one: &Belonging, other: &Belonging) -> bool {
    one.0 == other.0 && one.1.compare(&other.1).is_eq()
}

impl Known {
    /// The cluster of this node.
    fn belongs_to(&self) -> Option<Belonging> {
        Some((self.cluster_id?, self.lineage.clone()))
    }

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
        let ours = (cluster_id, lineage);
        let is_foreign = |_: &NodeId, life: &mut Life| life.belongs_to.as_ref().is_some_and(|it| !is_same(it, &ours));
        let foreign = known.introduced.extract_if(.., is_foreign).map(|(peer, _)| peer).collect();
        (known.cluster_id, known.lineage) = (Some(ours.0), ours.1);
        foreign
    }

    /// An admitted peer belongs to a cluster now. Returns whether that may be.
    pub(crate) fn belongs(&self, peer: &NodeId, theirs: &Belonging) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.belongs_to().is_some_and(|ours| !is_same(theirs, &ours)) {
            known.introduced.remove(peer);
            return false;
        }
        if let Some(life) = known.introduced.get_mut(peer) {
            life.belongs_to = Some(theirs.clone());
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
        let (Some(life), Some(ours)) = (known.introduced.get(peer), known.belongs_to()) else { return false };
        life.belongs_to.as_ref().is_some_and(|theirs| is_same(theirs, &ours))
            && !known.is_removed(peer, Some(life.disk))
    }
}
