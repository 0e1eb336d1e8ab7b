//! What peers say of the clusters that they belong to, and whom a node believes.

use ha_net::{ClusterId, NodeId};

use super::{INTRODUCED_MAX, Known};
use crate::lineage::Lineage;

/// What an admitted peer says of the cluster that it belongs to.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) cluster_id: ClusterId,
    pub(super) lineage: Lineage,
    pub(super) disk: Option<u64>,
}

impl Known {
    /// Whether to believe a peer what its cluster became. A node gives everything up that it has for this, so that the
    /// word of just anybody will not do: the peer must be a member, or the recovery be that of one. After this node has
    /// gone on by force itself, it knows the members no more that did the same elsewhere.
    pub(super) fn believes(&self, me: &NodeId, peer: &NodeId, claim: &Claim) -> bool {
        match self.cluster_id {
            None => return true,
            Some(ours) if ours != claim.cluster_id => return false,
            Some(_) => {}
        }
        let is_member = self.disks.get(peer).is_some_and(|joined| Some(*joined) == claim.disk);
        let of_a_member = match claim.lineage.first_beyond(&self.lineage) {
            Some((theirs, Some(ours))) => ours.by == *me || theirs.by == *peer,
            // What this node did itself it would know.
            Some((fork, None)) => fork.by != *me && self.disks.contains_key(&fork.by),
            None => false,
        };
        // Without members there is nothing yet to be given up.
        self.is_read && (self.disks.is_empty() || is_member || of_a_member)
    }

    /// The greatest cluster of this id that somebody belongs to who is believed.
    pub(super) fn believed(&self, me: &NodeId, cluster_id: ClusterId) -> Option<(&NodeId, &Claim)> {
        let of_it = self.claims.iter().filter(|(_, claim)| claim.cluster_id == cluster_id);
        let believed = of_it.filter(|(peer, claim)| self.believes(me, peer, claim));
        believed.max_by(|(_, one), (_, other)| one.lineage.compare(&other.lineage))
    }

    /// Takes note of what a peer says; whether that is believed. Before the log is read, that is not known.
    pub(super) fn hear(&mut self, me: &NodeId, peer: &NodeId, claim: Claim) -> bool {
        self.claims.remove(peer);
        if !claim.lineage.is_sound() {
            return false;
        }
        if self.cluster_id.is_some() && claim.lineage.compare(&self.lineage).is_le() {
            return true;
        }
        let believes = self.believes(me, peer, &claim);
        if believes || !self.is_read {
            self.claims.insert(peer.clone(), claim);
            while self.claims.len() > INTRODUCED_MAX {
                self.claims.pop_first();
            }
        }
        believes
    }
}
