//! Who is to be spoken to again and again although not a live member: those just found, and those that failed.
//!
//! Two halves of a divided cluster take each other for failed and would stay apart after the division heals; so would a
//! node whose first word was lost.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use ha_net::NodeId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::config::Pace;
use super::swim::Id;

/// Most nodes to remember as found.
const CONTACTS_MAX: usize = 256;
/// Words to a found node that does not become a member, while there are other members.
const ATTEMPTS_MAX: u8 = 10;
/// Nodes spoken to in one round.
const ROUND_MAX: usize = 4;

/// Who is to be spoken to.
pub(super) struct Outreach {
    found: BTreeMap<NodeId, (Id, u8)>,
    failed: BTreeMap<NodeId, Id>,
    next: Duration,
    turn: Option<NodeId>,
    random: StdRng,
}

impl Outreach {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            found: BTreeMap::new(),
            failed: BTreeMap::new(),
            next: Duration::ZERO,
            turn: None,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Someone was found: spoken to at once.
    pub(super) fn learn(&mut self, id: Id, now: Duration) {
        if self.found.len() < CONTACTS_MAX || self.found.contains_key(&id.node) {
            self.found.insert(id.node.clone(), (id, ATTEMPTS_MAX));
            self.next = self.next.min(now);
        }
    }

    /// A node is alive.
    pub(super) fn alive(&mut self, id: &Id) {
        self.failed.remove(&id.node);
        if self.found.get(&id.node).is_some_and(|(found, _)| found.incarnation <= id.incarnation) {
            self.found.remove(&id.node);
        }
    }

    /// A node failed.
    pub(super) fn failed(&mut self, id: &Id, now: Duration, pace: &Pace) {
        if self.found.is_empty() && self.failed.is_empty() {
            self.next = now + pace.outreach;
        }
        self.failed.insert(id.node.clone(), id.clone());
    }

    /// Nobody wants to speak to a node any more.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.found.remove(node);
        self.failed.remove(node);
    }

    /// When the next round is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (!self.found.is_empty() || !self.failed.is_empty()).then_some(self.next)
    }

    /// The nodes to speak to now.
    pub(super) fn round(&mut self, now: Duration, alone: bool, pace: &Pace) -> Vec<Id> {
        if self.deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let pause = if alone || !self.found.is_empty() { pace.outreach_alone } else { pace.outreach };
        // Spread over 3/4 to 5/4, so that nodes that start together do not speak together.
        self.next = now + pause.mul_f64(self.random.random_range(0.75..1.25));
        let mut round = Vec::new();
        for _ in 0..ROUND_MAX.min(self.found.len() + self.failed.len()) {
            let Some(id) = self.next_in_turn() else { break };
            if round.contains(&id) {
                break;
            }
            if let Some((_, attempts)) = self.found.get_mut(&id.node)
                && !alone
            {
                *attempts -= 1;
                if *attempts == 0 {
                    self.found.remove(&id.node);
                }
            }
            round.push(id);
        }
        round
    }

    fn next_in_turn(&mut self) -> Option<Id> {
        let after = |turn: Bound<NodeId>| {
            let found = self.found.range((turn.clone(), Bound::Unbounded)).next().map(|(_, (id, _))| id);
            let failed = self.failed.range((turn, Bound::Unbounded)).next().map(|(_, id)| id);
            // A node in both was found in a later life than the one that failed.
            match (found, failed) {
                (Some(found), Some(failed)) if failed.node < found.node => Some(failed),
                (found, failed) => found.or(failed),
            }
        };
        let next = match &self.turn {
            Some(turn) => after(Bound::Excluded(turn.clone())).or_else(|| after(Bound::Unbounded)),
            None => after(Bound::Unbounded),
        };
        let next = next.cloned()?;
        self.turn = Some(next.node.clone());
        Some(next)
    }
}
