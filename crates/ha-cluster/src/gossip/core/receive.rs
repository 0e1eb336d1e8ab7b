//! Packets: which are taken in, and what of them.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ha_net::{Incarnation, NodeId};

use super::Gossip;
use crate::gossip::packet::{Kind, Packet};
use crate::gossip::profiles;
use crate::gossip::swim::{Effects, Id};
use crate::gossip::table::MEMBERS_MAX;
use crate::gossip::{Output, PacketError};

/// Starts of a node that may have been missed.
const STARTS_MAX: u64 = 1 << 16;

impl Gossip {
    pub(super) fn received(
        &mut self,
        now: Duration,
        from: NodeId,
        bytes: &Bytes,
        effects: &mut Effects,
        out: &mut Vec<Output>,
    ) -> Result<(), PacketError> {
        let (records, swim) = profiles::open(bytes)?;
        let mut packet = Packet::decode(swim)?;
        self.admit(&from, &packet)?;
        if let Some(by) = self.later_life(&packet) {
            self.give_way(by, out);
            return Ok(());
        }
        let cleaned = packet.retain(|id| self.believes(id)).then(|| packet.encode());
        self.make_room(&from, &packet, effects, out)?;
        for (node, record) in records {
            let is_past = self.forgotten.get(&node).is_some_and(|(last, _)| record.incarnation() <= *last);
            if is_past || self.is_absurd(&node, record.incarnation()) {
                continue;
            }
            self.stale |= self.profiles.merge(node, record, |node| self.table.get(node).is_some());
        }
        let known = self.table.get(&from);
        if known.is_some_and(|known| known.incarnation <= packet.from().incarnation) {
            self.health.heard(&from, now);
            if let Kind::Ack(node, number) = packet.kind() {
                self.health.answered(&node, number, now);
            }
        }
        self.stale |= self.table.has_suspects() || !packet.news().is_empty() || known.is_none();
        let swim = cleaned.as_deref().unwrap_or(swim);
        self.swim.receive(swim, effects).map_err(|reason| PacketError::Protocol { reason })
    }

    /// Whether a packet may be looked at.
    fn admit(&self, from: &NodeId, packet: &Packet) -> Result<(), PacketError> {
        let source = packet.from();
        if source.node != *from || source.node == self.me.node {
            return Err(PacketError::Sender { from: from.clone(), claimed: source.node.clone() });
        }
        if self.is_forgotten(source) || packet.third().is_some_and(|third| self.is_forgotten(third)) {
            return Err(PacketError::Forgotten { from: from.clone() });
        }
        let named = [Some(source), packet.third()].into_iter().flatten();
        if let Some(id) = named.into_iter().find(|id| self.is_absurd(&id.node, id.incarnation)) {
            let reason = format!("it names life {} of {}, which cannot be", id.incarnation.0, id.node);
            return Err(PacketError::Protocol { reason });
        }
        if source.address.is_none() || packet.third().is_some_and(|third| third.address.is_none()) {
            return Err(PacketError::Protocol { reason: "it names a node without its address".to_owned() });
        }
        Ok(())
    }

    /// A life of this node's own id that came after this one.
    fn later_life(&self, packet: &Packet) -> Option<Incarnation> {
        let named = packet.news().iter().map(|member| member.id()).chain([packet.to()]).chain(packet.third());
        let own = named.filter(|id| id.node == self.me.node).map(|id| id.incarnation);
        let believed = own.filter(|incarnation| !self.is_absurd(&self.me.node, *incarnation));
        believed.max().filter(|incarnation| *incarnation > self.me.incarnation)
    }

    /// Whether a node that is known cannot have started so often meanwhile: such a life, once believed, would be one that
    /// it can never reach.
    pub(super) fn is_absurd(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        let known = if *node == self.me.node {
            Some(self.me.incarnation)
        } else {
            self.table.get(node).map(|opinion| opinion.incarnation)
        };
        known.is_some_and(|known| incarnation.0 > known.0.saturating_add(STARTS_MAX))
    }

    /// Whether news of this life of a node may be passed to SWIM.
    fn believes(&self, id: &Id) -> bool {
        // An earlier life of this very node has no say any more.
        let outdated = id.node == self.me.node && id != self.swim.me();
        !outdated && id.address.is_some() && !self.is_forgotten(id) && !self.is_absurd(&id.node, id.incarnation)
    }

    pub(super) fn is_forgotten(&self, id: &Id) -> bool {
        self.forgotten.get(&id.node).is_some_and(|(incarnation, _)| id.incarnation <= *incarnation)
    }

    /// Drops those that have been gone for longest, if there are more nodes than are kept.
    fn make_room(
        &mut self,
        from: &NodeId,
        packet: &Packet,
        effects: &mut Effects,
        out: &mut Vec<Output>,
    ) -> Result<(), PacketError> {
        let named = packet.news().iter().map(|member| &member.id().node).chain([from]);
        let new: BTreeSet<_> = named.filter(|node| self.table.get(node).is_none()).collect();
        let too_many = (self.table.all().len() + new.len()).saturating_sub(MEMBERS_MAX);
        if too_many == 0 {
            return Ok(());
        }
        let mut gone: Vec<_> = self.table.gone().map(|(node, since)| (since, node.clone())).collect();
        if gone.len() < too_many {
            return Err(PacketError::Full { from: from.clone(), max: MEMBERS_MAX });
        }
        gone.sort();
        for (_, node) in gone.into_iter().take(too_many) {
            let result = self.swim.forget(&node, effects);
            self.report(result, out);
        }
        self.drop_all_but_known(out);
        Ok(())
    }
}
