//! SWIM itself. The only file that names foca: the rest of gossip sees the few words exported here.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use ha_net::{Address, Incarnation, NodeId, Peer};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::config::Pace;
use super::packet::SwimCodec;

pub(super) use foca::{Codec, Header, Member, Message, State};

/// Something foca wants to be reminded of.
pub(super) type Timer = foca::Timer<Id>;

/// Most bytes of one SWIM packet. The lane is TCP, so this need not fit a datagram; a hundred members fit.
pub(super) const SWIM_BYTES_MAX: usize = 6 * 1024;

/// Others asked to probe a node that did not answer, and receivers of news in one round.
const FAN_OUT: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not zero");

/// Packets of a node that carry the same piece of news. Some three times what a thousand nodes need without loss.
const NEWS_REPEATS: NonZeroU8 = NonZeroU8::new(12).expect("12 is not zero");

/// One life of a node, as SWIM knows it.
///
/// Two are equal when they are the same life of the same node, renewed equally often; the address only rides along.
#[derive(Clone, Debug)]
pub(super) struct Id {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    /// How often this life was declared failed, learnt of it, and came back.
    pub(super) renewals: u32,
    /// Left out where the receiver is named, who knows its own.
    pub(super) address: Option<Address>,
}

impl Id {
    fn age(&self) -> (Incarnation, u32) {
        (self.incarnation, self.renewals)
    }

    /// A life that has not been renewed as far as one knows.
    pub(super) fn of(peer: Peer) -> Self {
        Self { node: peer.node_id, incarnation: peer.incarnation, renewals: 0, address: Some(peer.address) }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.age() == other.age()
    }
}

impl Eq for Id {}

impl foca::Identity for Id {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewals: self.renewals.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> NodeId {
        self.node.clone()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.age() > adversary.age()
    }
}

/// Which reminder. A new one of a slot replaces the one before: foca ignores those that it has outdated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Indirect,
    Probe,
    Exchange,
    Spread,
    Outreach,
    Suspicion(NodeId),
    Memory(NodeId),
}

/// The slot of a reminder.
pub(super) fn slot(timer: &Timer) -> Slot {
    match timer {
        Timer::SendIndirectProbe { .. } => Slot::Indirect,
        Timer::ProbeRandomMember(_) => Slot::Probe,
        Timer::PeriodicAnnounce(_) => Slot::Exchange,
        Timer::PeriodicGossip(_) => Slot::Spread,
        Timer::PeriodicAnnounceDown(_) => Slot::Outreach,
        Timer::ChangeSuspectToDown { member_id, .. } => Slot::Suspicion(member_id.node.clone()),
        Timer::RemoveDown(id) => Slot::Memory(id.node.clone()),
    }
}

/// A packet to send.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) to: Id,
    pub(super) bytes: Bytes,
}

/// What foca wants done.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) sendings: Vec<Sending>,
    pub(super) reminders: Vec<(Timer, Duration)>,
    /// Someone came or went.
    pub(super) changed: bool,
    /// This node learnt that it had been declared failed, and came back.
    pub(super) returned: bool,
    token: Option<foca::TimerToken>,
}

impl foca::Runtime<Id> for &mut Effects {
    fn notify(&mut self, notification: foca::Notification<'_, Id>) {
        match notification {
            foca::Notification::Rejoin(_) => self.returned = true,
            _ => self.changed = true,
        }
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.sendings.push(Sending { to, bytes: Bytes::copy_from_slice(data) });
    }

    fn submit_after(&mut self, timer: Timer, after: Duration) {
        if let Timer::ProbeRandomMember(token) = &timer {
            self.token = Some(*token);
        }
        self.reminders.push((timer, after));
    }
}

/// The state of SWIM on this node.
pub(super) struct Swim {
    foca: foca::Foca<Id, SwimCodec, StdRng, foca::NoCustomBroadcast>,
    suspicion: Duration,
    token: foca::TimerToken,
}

impl Swim {
    pub(super) fn new(me: Id, pace: &Pace, seed: u64) -> Self {
        let every = |frequency, num_members| Some(foca::PeriodicParams { frequency, num_members });
        let config = foca::Config {
            probe_period: pace.probe_period,
            probe_rtt: pace.probe_rtt,
            num_indirect_probes: FAN_OUT,
            max_transmissions: NEWS_REPEATS,
            suspect_to_down_after: pace.suspicion_max,
            remove_down_after: Some(pace.memory),
            max_packet_size: NonZeroUsize::new(SWIM_BYTES_MAX).unwrap_or(NonZeroUsize::MAX),
            notify_down_members: true,
            periodic_announce: every(pace.exchange, NonZeroUsize::MIN),
            // Done by our outreach, which also works while no other node is alive.
            periodic_announce_to_down_members: None,
            periodic_gossip: every(pace.spread, FAN_OUT),
        };
        let foca = foca::Foca::new(me, config, StdRng::seed_from_u64(seed), SwimCodec);
        Self { foca, suspicion: pace.suspicion_max, token: 0 }
    }

    pub(super) fn me(&self) -> &Id {
        self.foca.identity()
    }

    /// How many others are believed alive.
    pub(super) fn active(&self) -> usize {
        self.foca.num_members()
    }

    /// All others, failed ones included.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member<Id>> {
        self.foca.iter_membership_state().filter(|member| member.id().node != self.me().node)
    }

    pub(super) fn find(&self, node: &NodeId) -> Option<&Member<Id>> {
        self.foca.iter_membership_state().find(|member| member.id().node == *node)
    }

    pub(super) fn receive(&mut self, packet: &[u8], effects: &mut Effects) -> Result<(), String> {
        self.act(effects, |foca, effects| foca.handle_data(packet, effects))
    }

    pub(super) fn remind(&mut self, timer: Timer, effects: &mut Effects) -> Result<(), String> {
        self.act(effects, |foca, effects| foca.handle_timer(timer, effects))
    }

    pub(super) fn announce(&mut self, to: Id, effects: &mut Effects) -> Result<(), String> {
        self.act(effects, |foca, effects| foca.announce(to, effects))
    }

    /// Suspects a node without a probe; false when it is not believed alive now.
    pub(super) fn suspect(&mut self, node: &NodeId, effects: &mut Effects) -> Result<bool, String> {
        let Some(member) = self.find(node).filter(|member| member.state() == State::Alive) else {
            return Ok(false);
        };
        let (member_id, incarnation) = (member.id().clone(), member.incarnation());
        let suspect = Member::new(member_id.clone(), incarnation, State::Suspect);
        self.act(effects, |foca, effects| foca.apply_many(std::iter::once(suspect), true, effects))?;
        let timer = Timer::ChangeSuspectToDown { member_id, incarnation, token: self.token };
        effects.reminders.push((timer, self.suspicion));
        effects.changed = true;
        Ok(true)
    }

    /// Loses all memory of a node, without a word to others.
    pub(super) fn forget(&mut self, node: &NodeId, effects: &mut Effects) -> Result<(), String> {
        let Some(id) = self.find(node).map(|member| member.id().clone()) else {
            return Ok(());
        };
        let down = Member::down(id.clone());
        self.act(effects, |foca, effects| foca.apply_many(std::iter::once(down), false, effects))?;
        self.remind(Timer::RemoveDown(id), effects)?;
        effects.reminders.retain(|(timer, _)| slot(timer) != Slot::Memory(node.clone()));
        effects.changed = true;
        Ok(())
    }

    /// Says goodbye, in as many rounds as it takes to reach a few nodes even if some packets are lost.
    pub(super) fn leave(&mut self, effects: &mut Effects) -> Result<(), String> {
        const ROUNDS_MORE: usize = 2;
        self.act(effects, |foca, effects| foca.leave_cluster(effects))?;
        for _ in 0..ROUNDS_MORE {
            self.act(effects, |foca, effects| foca.gossip(effects))?;
        }
        Ok(())
    }

    fn act(
        &mut self,
        effects: &mut Effects,
        act: impl FnOnce(
            &mut foca::Foca<Id, SwimCodec, StdRng, foca::NoCustomBroadcast>,
            &mut Effects,
        ) -> Result<(), foca::Error>,
    ) -> Result<(), String> {
        let result = act(&mut self.foca, effects);
        // Reminders carry the token of the last time that foca connected; it is needed to make one ourselves.
        self.token = effects.token.take().unwrap_or(self.token);
        result.map_err(|error| error.to_string())
    }
}
