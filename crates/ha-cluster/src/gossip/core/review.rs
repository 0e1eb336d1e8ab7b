//! The table follows what SWIM says, and everything else follows the table.

use std::time::Duration;

use super::Gossip;
use crate::MemberState;
use crate::gossip::packet::{Kind, Packet};
use crate::gossip::swim::{Id, Member, Slot, State};
use crate::gossip::{Opinion, Output};

impl Gossip {
    /// Compares the table with what SWIM says.
    pub(super) fn review(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.stale = false;
        let own_state = if self.silent { MemberState::Left } else { MemberState::Alive };
        let others = self.swim.members().map(|member| (member.id(), self.state_of(member)));
        let all = std::iter::once((&self.me, own_state)).chain(others);
        let mut count = 0;
        let changed: Vec<_> = all
            .inspect(|_| count += 1)
            .filter(|(id, state)| self.differs(id, *state))
            .map(|(id, state)| (id.clone(), state))
            .collect();
        for (id, state) in &changed {
            self.judge(now, id, *state, out);
        }
        if self.table.all().len() > count {
            self.drop_all_but_known(out);
        }
    }

    fn state_of(&self, member: &Member<Id>) -> MemberState {
        match member.state() {
            State::Alive => MemberState::Alive,
            State::Suspect => MemberState::Suspect,
            State::Down if self.profiles.has_left(&member.id().node, member.id().incarnation) => MemberState::Left,
            State::Down => MemberState::Failed,
        }
    }

    fn differs(&self, id: &Id, state: MemberState) -> bool {
        self.table.get(&id.node).is_none_or(|known| {
            known.state != state
                || known.incarnation != id.incarnation
                || id.address.as_ref().is_some_and(|address| known.address != *address)
                || known.traits.as_ref() != self.profiles.traits(&id.node, id.incarnation)
        })
    }

    fn judge(&mut self, now: Duration, id: &Id, state: MemberState, out: &mut Vec<Output>) {
        let Some(address) = id.address.clone() else { return };
        let traits = self.profiles.traits(&id.node, id.incarnation).cloned();
        let opinion = Opinion { state, since: now, incarnation: id.incarnation, address, traits };
        let is_new = self.table.get(&id.node).is_none_or(|known| known.incarnation < id.incarnation);
        let Some((opinion, sentence)) = self.table.judge(&id.node, opinion) else { return };
        if id.node != self.me.node {
            // The first packet may be lost while a connection to it is made: better this one than a ping.
            if is_new && state == MemberState::Alive {
                let greeting = Packet::greeting(self.swim.me(), id).encode();
                self.put(id, &Kind::Greeting, &greeting, out);
            }
            if state != MemberState::Suspect && self.suspicions.remove(&id.node).is_some() {
                self.timers.cancel(&Slot::Suspicion(id.node.clone()));
            }
            match state {
                MemberState::Alive | MemberState::Suspect => self.outreach.alive(id),
                MemberState::Failed => self.outreach.failed(id, now.saturating_sub(self.slept), &self.pace),
                MemberState::Left => self.outreach.forget(&id.node),
            }
            if matches!(state, MemberState::Failed | MemberState::Left) {
                self.health.forget(&id.node);
            }
            out.extend(sentence.map(Output::Say));
        }
        out.push(Output::Changed { node_id: id.node.clone(), opinion });
    }

    pub(super) fn drop_all_but_known(&mut self, out: &mut Vec<Output>) {
        let known = self.swim.members().map(|member| &member.id().node).chain([&self.me.node]).collect();
        for node in self.table.keep(&known) {
            self.profiles.forget(&node);
            self.health.forget(&node);
            self.outreach.forget(&node);
            if self.suspicions.remove(&node).is_some() {
                self.timers.cancel(&Slot::Suspicion(node.clone()));
            }
            self.timers.cancel(&Slot::Memory(node.clone()));
            out.push(Output::Dropped { node_id: node });
        }
    }
}
