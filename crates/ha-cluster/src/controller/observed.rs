//! What only time shows: since when a node is alive, ready, failed, and how often it lost the leadership.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ha_net::{Incarnation, NodeId};

use super::facts::{Facts, MEMBERS_MAX, Settings};
use crate::MemberState;

/// Changes of leadership that are remembered.
const CHANGES_MAX: usize = 64;
/// A penalty doubles the hold at most this often.
const DOUBLINGS_MAX: u32 = 6;
/// A node that loses the leadership within so many holds, and this time, of having got it has flapped.
const FLAP: (u32, Duration) = (5, Duration::from_secs(5 * 60));
/// A penalty halves after its node stayed up for so many holds, and this time.
const FORGIVE: (u32, Duration) = (15, Duration::from_secs(15 * 60));
/// The window of the budget of takeovers.
const BUDGET: (u32, Duration) = (60, Duration::from_secs(60 * 60));

/// The longer of both: what a minute of hold deserves is not shortened by a shorter hold, so that a node which comes
/// and goes moves the leadership rarely, however eager it was configured to be.
fn window((holds, least): (u32, Duration), settings: &Settings) -> Duration {
    (settings.takeover_hold * holds).max(least)
}

/// What was seen of one node. Each instant is the first of an unbroken run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) incarnation: Option<Incarnation>,
    pub(super) alive_since: Option<Duration>,
    /// Alive, healthy and caught up.
    pub(super) ready_since: Option<Duration>,
    /// Alive and caught up.
    pub(super) current_since: Option<Duration>,
    pub(super) failed_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Penalty {
    doublings: u32,
    since: Duration,
}

/// What a controller remembers.
#[derive(Debug, Default)]
pub(super) struct Observed {
    nodes: BTreeMap<NodeId, Seen>,
    /// Who began to lead after somebody else had led, when.
    changes: VecDeque<(Duration, NodeId)>,
    leader: Option<(Duration, NodeId)>,
    penalties: BTreeMap<NodeId, Penalty>,
}

impl Observed {
    /// Takes one look in.
    pub(super) fn look(&mut self, facts: &Facts) {
        self.nodes.retain(|node, _| facts.members.contains_key(node));
        for node in facts.members.keys() {
            let seen = self.nodes.entry(node.clone()).or_default();
            let incarnation = facts.opinions.get(node).map(|opinion| opinion.incarnation);
            if incarnation.is_some() && incarnation != seen.incarnation {
                // Another life begins its runs anew, also when its end was too short to be seen.
                *seen = Seen { incarnation, ..Seen::default() };
            }
            let alive = facts.alive(node);
            if let Some(penalty) = self.penalties.get_mut(node).filter(|_| !alive || seen.alive_since.is_none()) {
                // Only who stays up is forgiven.
                penalty.since = facts.now;
            }
            let current = alive && facts.caught_up(node);
            let run = |goes_on: bool, since: Option<Duration>| goes_on.then(|| since.unwrap_or(facts.now));
            seen.alive_since = run(alive, seen.alive_since);
            seen.current_since = run(current, seen.current_since);
            seen.ready_since = run(current && facts.healthy(node), seen.ready_since);
            let failed = matches!(facts.state(node), MemberState::Failed | MemberState::Left);
            seen.failed_since = run(failed, seen.failed_since);
        }
    }

    /// Forgets the runs: nobody looked while another node led.
    pub(super) fn forget_runs(&mut self) {
        self.nodes.clear();
    }

    /// What was seen of a node.
    pub(super) fn of(&self, node: &NodeId) -> Seen {
        self.nodes.get(node).copied().unwrap_or_default()
    }

    /// Takes a change of the known leader in, on every node, so that whoever leads next knows of it.
    pub(super) fn leader_changed(&mut self, now: Duration, leader: Option<&NodeId>, settings: &Settings) {
        if self.leader.as_ref().map(|(_, node)| node) == leader {
            return;
        }
        // A moment without a known leader ends nobody's leadership: who leads next shows that.
        let Some(leader) = leader else { return };
        let Some((since, before)) = self.leader.replace((now, leader.clone())) else { return };
        if now.saturating_sub(since) < window(FLAP, settings) {
            let doublings = self.doublings(now, &before, settings) + 1;
            self.penalties.insert(before, Penalty { doublings: doublings.min(DOUBLINGS_MAX), since: now });
            let forgiven = |penalty: &Penalty| doublings_left(now, penalty, settings) == 0;
            self.penalties.retain(|_, penalty| !forgiven(penalty));
            while self.penalties.len() > MEMBERS_MAX {
                self.penalties.pop_first();
            }
        }
        self.changes.push_back((now, leader.clone()));
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }

    fn doublings(&self, now: Duration, node: &NodeId, settings: &Settings) -> u32 {
        self.penalties.get(node).map_or(0, |penalty| doublings_left(now, penalty, settings))
    }

    /// How long a node must be ready before it takes over: the hold, doubled for each time it flapped.
    pub(super) fn hold(&self, now: Duration, node: &NodeId, settings: &Settings) -> Duration {
        settings.takeover_hold * (1 << self.doublings(now, node, settings))
    }

    /// How often the leadership came to a node within the window of the budget.
    pub(super) fn times_led(&self, now: Duration, node: &NodeId, settings: &Settings) -> usize {
        let recent = |at: Duration| now.saturating_sub(at) < window(BUDGET, settings);
        self.changes.iter().filter(|(at, leader)| leader == node && recent(*at)).count()
    }
}

fn doublings_left(now: Duration, penalty: &Penalty, settings: &Settings) -> u32 {
    let steps = now.saturating_sub(penalty.since).as_secs() / window(FORGIVE, settings).as_secs().max(1);
    penalty.doublings.saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX))
}
