//! The core: feeds SWIM, judges what comes of it, and holds it back where this node may be at fault itself.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ha_net::{Incarnation, NodeId, Peer};

use super::config::Pace;
use super::health::Health;
use super::outreach::Outreach;
use super::packet::{Kind, Packet};
use super::profiles::Profiles;
use super::swim::{Effects, Id, Sending, Slot, State, Swim, Timer, slot};
use super::table::Table;
use super::timers::Timers;
use super::{Config, Counters, Input, Opinion, Output, PacketError, Profile};
use crate::MemberState;

/// Most removed nodes that are remembered as such.
const FORGOTTEN_MAX: usize = 1024;

mod receive;
mod review;

/// Membership in one node's opinion.
pub struct Gossip {
    pace: Pace,
    me: Id,
    swim: Swim,
    timers: Timers,
    suspicions: BTreeMap<NodeId, Suspicion>,
    health: Health,
    profiles: Profiles,
    outreach: Outreach,
    table: Table,
    /// Removed nodes: the last life that is not believed, and when it was removed.
    forgotten: BTreeMap<NodeId, (Incarnation, Duration)>,
    counters: Counters,
    /// How long this node was not running when it should have: its own clock stood still meanwhile, since silence that
    /// nobody listened to proves nothing.
    slept: Duration,
    /// The table may differ from what SWIM says.
    stale: bool,
    silent: bool,
}

/// A node is suspected, and this node will declare it failed.
struct Suspicion {
    timer: Timer,
    raised: Duration,
    /// Its process is very likely gone: the shortest wait will do.
    hinted: bool,
}

impl Gossip {
    /// A node that knows nobody yet. `now` is the time since any fixed instant, the same for all calls.
    pub fn new(config: Config, me: Profile, now: Duration, seed: u64) -> Self {
        let pace = Pace::from(config);
        let Profile { node_id, incarnation, address, traits } = me;
        let profiles = Profiles::new(node_id.clone(), incarnation, traits);
        let me = Id::of(Peer { node_id, incarnation, address });
        let mut gossip = Self {
            pace,
            swim: Swim::new(me.clone(), &pace, seed),
            me,
            timers: Timers::default(),
            suspicions: BTreeMap::new(),
            health: Health::default(),
            profiles,
            outreach: Outreach::new(seed.wrapping_add(1)),
            table: Table::default(),
            forgotten: BTreeMap::new(),
            counters: Counters::default(),
            slept: Duration::ZERO,
            stale: true,
            silent: false,
        };
        gossip.review(now, &mut Vec::new());
        gossip
    }

    /// The opinions of all nodes known, this one included.
    pub fn members(&self) -> &BTreeMap<NodeId, Opinion> {
        self.table.all()
    }

    /// How much has happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// By how much this node stretches its own timers because it doubts itself: 1 (not at all) to 8.
    pub fn stretch(&self) -> u32 {
        self.health.stretch()
    }

    /// When to call [`Self::step`] at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        let deadlines = [self.timers.next(), self.outreach.deadline()];
        deadlines.into_iter().flatten().min().filter(|_| !self.silent).map(|at| at + self.slept)
    }

    /// Takes an input in, and does all that is due. An error says why a received packet was refused.
    pub fn step(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) -> Result<(), PacketError> {
        if self.silent {
            return Ok(());
        }
        let awake = self.wake(now);
        let mut effects = Effects::default();
        let result = self.take(awake, input, &mut effects, out);
        self.perform(awake, effects, out);
        self.fire(awake, out);
        self.reach_out(awake, out);
        if self.stale {
            self.review(now, out);
        }
        result
    }

    /// This node's own time: it stood still while the node should have run and did not.
    fn wake(&mut self, now: Duration) -> Duration {
        let awake = now.saturating_sub(self.slept);
        match self.deadline() {
            Some(deadline) if deadline + self.pace.late < now => {
                self.slept += now - deadline;
                self.counters.late += 1;
                self.health.was_late();
                now.saturating_sub(self.slept)
            }
            _ => awake,
        }
    }

    fn take(
        &mut self,
        now: Duration,
        input: Input,
        effects: &mut Effects,
        out: &mut Vec<Output>,
    ) -> Result<(), PacketError> {
        match input {
            Input::Timer => {}
            Input::Received { from, bytes } => {
                self.counters.packets_received += 1;
                self.counters.bytes_received += bytes.len() as u64;
                return self.received(now, from, &bytes, effects, out).inspect_err(|_| {
                    self.counters.packets_refused += 1;
                });
            }
            Input::Learn(peer) => self.learn(now, peer, out),
            Input::Forget(node) => self.forget(now, &node, effects, out),
            Input::Update(traits) => self.stale |= self.profiles.update(traits),
            Input::Leave => {
                self.profiles.leave();
                let result = self.swim.leave(effects);
                self.report(result, out);
                self.perform(now, std::mem::take(effects), out);
                out.push(Output::Say("this node says goodbye to the others".to_owned()));
                (self.stale, self.silent) = (true, true);
            }
            Input::NodeSeen(node) if self.table.get(&node).is_some() => self.health.seen(&node, now),
            Input::NodeSeen(_) => {}
            Input::TransportDown(node) => self.hint(now, &node, effects, out),
        }
        Ok(())
    }

    fn give_way(&mut self, by: Incarnation, out: &mut Vec<Output>) {
        let Id { node, incarnation, .. } = &self.me;
        out.push(Output::Say(format!(
            "life {} of {node} is known to others; this one, {}, falls silent: either another process uses this node \
             id, or the data directory is an old copy",
            by.0, incarnation.0
        )));
        out.push(Output::Superseded { by });
        self.silent = true;
    }

    fn learn(&mut self, now: Duration, peer: Peer, out: &mut Vec<Output>) {
        let id = Id::of(peer);
        if id.node == self.me.node {
            if id.incarnation > self.me.incarnation && !self.is_absurd(&id.node, id.incarnation) {
                self.give_way(id.incarnation, out);
            }
        } else if !self.is_forgotten(&id) && !self.is_absurd(&id.node, id.incarnation) {
            let known = self.table.get(&id.node);
            let alive = known.filter(|known| matches!(known.state, MemberState::Alive | MemberState::Suspect));
            if alive.is_none_or(|known| known.incarnation < id.incarnation) {
                self.outreach.learn(id, now);
            }
        }
    }

    fn forget(&mut self, now: Duration, node: &NodeId, effects: &mut Effects, out: &mut Vec<Output>) {
        if *node == self.me.node {
            return;
        }
        let known = self.table.get(node).map_or(Incarnation(0), |opinion| opinion.incarnation);
        if self.forgotten.len() >= FORGOTTEN_MAX && !self.forgotten.contains_key(node) {
            let first = self.forgotten.iter().min_by_key(|(_, (_, at))| *at).map(|(node, _)| node.clone());
            first.map(|node| self.forgotten.remove(&node));
        }
        let before = self.forgotten.get(node).map_or(Incarnation(0), |(incarnation, _)| *incarnation);
        self.forgotten.insert(node.clone(), (before.max(known), now));
        let result = self.swim.forget(node, effects);
        self.report(result, out);
        self.outreach.forget(node);
        self.stale = true;
        out.push(Output::Say(format!("{node} was removed from the cluster and is forgotten")));
    }

    fn hint(&mut self, now: Duration, node: &NodeId, effects: &mut Effects, out: &mut Vec<Output>) {
        match self.swim.suspect(node, effects) {
            Ok(false) if !self.suspicions.contains_key(node) => return,
            Ok(_) => {}
            Err(error) => return self.report(Err(error), out),
        }
        self.perform(now, std::mem::take(effects), out);
        if let Some(suspicion) = self.suspicions.get_mut(node) {
            suspicion.hinted = true;
            let timer = suspicion.timer.clone();
            self.timers.set(self.failure_due(node), timer);
        }
        self.stale = true;
    }

    /// Does what SWIM wants done.
    fn perform(&mut self, now: Duration, effects: Effects, out: &mut Vec<Output>) {
        let Effects { sendings, reminders, changed, returned, .. } = effects;
        self.stale |= changed;
        if returned {
            self.counters.returns += 1;
            self.stale = true;
            out.push(Output::Say("others had declared this node failed; it has come back".to_owned()));
        }
        for (timer, after) in reminders {
            match slot(&timer) {
                Slot::Probe | Slot::Indirect => self.timers.set(now + after * self.health.stretch(), timer),
                Slot::Suspicion(node) => self.suspect(now, node, timer),
                _ => self.timers.set(now + after, timer),
            }
        }
        for sending in sendings {
            self.send(sending, out);
        }
    }

    fn suspect(&mut self, now: Duration, node: NodeId, timer: Timer) {
        if self.suspicions.get(&node).is_none_or(|suspicion| suspicion.timer != timer) {
            self.suspicions.insert(node.clone(), Suspicion { timer: timer.clone(), raised: now, hinted: false });
            self.timers.set(self.failure_due(&node), timer);
        }
    }

    /// When a suspected node will have been silent for long enough.
    fn failure_due(&self, node: &NodeId) -> Duration {
        let Some(Suspicion { raised, hinted, .. }) = self.suspicions.get(node) else {
            return Duration::MAX;
        };
        let (least, most) = (*raised + self.pace.suspicion_min, *raised + self.pace.suspicion_max);
        let silent_since = self.health.last(node).unwrap_or(*raised);
        let due = if *hinted { least } else { (silent_since + self.pace.silence).clamp(least, most) };
        *raised + (due - *raised) * self.health.stretch()
    }

    /// Does what is due by now.
    fn fire(&mut self, now: Duration, out: &mut Vec<Output>) {
        while let Some(timer) = self.timers.pop(now) {
            if let Slot::Suspicion(node) = slot(&timer)
                && self.postpones_failure(now, &node)
            {
                continue;
            }
            let mut effects = Effects::default();
            let result = self.swim.remind(timer, &mut effects);
            self.report(result, out);
            self.stale = true;
            self.perform(now, effects, out);
        }
    }

    /// The wait for a suspected node is over, unless it has answered since, or this node has begun to doubt itself.
    fn postpones_failure(&mut self, now: Duration, node: &NodeId) -> bool {
        let answer = self.health.last_answer(node);
        let Some(suspicion) = self.suspicions.get_mut(node) else {
            return false;
        };
        if let Some(answer) = answer.filter(|answer| *answer > suspicion.raised) {
            (suspicion.raised, suspicion.hinted) = (answer, false);
        }
        let timer = suspicion.timer.clone();
        let due = self.failure_due(node);
        if due > now {
            self.timers.set(due, timer);
        } else {
            self.suspicions.remove(node);
        }
        due > now
    }

    fn reach_out(&mut self, now: Duration, out: &mut Vec<Output>) {
        for id in self.outreach.round(now, self.swim.active() == 0, &self.pace) {
            let mut effects = Effects::default();
            let result = self.swim.announce(id, &mut effects);
            self.report(result, out);
            self.perform(now, effects, out);
        }
    }

    fn send(&mut self, sending: Sending, out: &mut Vec<Output>) {
        let Sending { to, bytes } = sending;
        if to.node == self.me.node || self.is_forgotten(&to) {
            return;
        }
        let kind = Packet::kind_of(&bytes);
        if let Kind::Ping(number) = kind {
            self.health.probed(&to.node, number);
            // Lifeguard's buddy system: whoever is probed while suspected is told so, and can refute it.
            if let Some(suspect) = self.swim.find(&to.node).filter(|member| member.state() == State::Suspect) {
                let warning = Packet::warning(self.swim.me(), suspect).encode();
                self.put(&to, &Kind::Other, &warning, out);
            }
        }
        self.put(&to, &kind, &bytes, out);
    }

    fn put(&mut self, to: &Id, kind: &Kind, swim: &[u8], out: &mut Vec<Output>) {
        let address = to.address.clone().or_else(|| self.table.get(&to.node).map(|known| known.address.clone()));
        let Some(address) = address else { return };
        let bytes = Bytes::from(self.profiles.seal(kind, swim));
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += bytes.len() as u64;
        out.push(Output::Send { to: to.node.clone(), address, bytes });
    }

    /// SWIM's own complaints are about a driver that breaks its rules; they never come, and would be visible.
    fn report(&self, result: Result<(), String>, out: &mut Vec<Output>) {
        out.extend(result.err().map(|error| Output::Say(format!("gossip is out of step: {error}"))));
    }
}
