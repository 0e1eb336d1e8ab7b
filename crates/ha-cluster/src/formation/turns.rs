//! Who tries when. Nothing in here matters for safety.

use std::time::Duration;

use ha_net::NodeId;
use rand::RngExt;

use super::founding::{Formation, Phase};
use super::proposer::Attempt;

/// An attempt that got no quorum by this many exchanges is given up.
const ATTEMPT_EXCHANGES: u32 = 3;
/// Waits double on each failed attempt, up to two to the power of this: slow disks and links get the time they need.
const DOUBLINGS_MAX: u32 = 4;
/// Proposers beyond this rank all wait as long as this one.
const RANK_MAX: usize = 8;

impl Formation {
    /// When [`super::Input::Tick`] is due at the latest; `None` when nothing is to be done without an input.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Waiting => match (&self.ledger.chosen, self.next_attempt()) {
                (Some(_), _) => Some(Duration::ZERO),
                (None, Some(at)) => Some(at),
                (None, None) => (!self.discovery.peers(&self.config.node_id).is_empty()).then_some(self.ask_at),
            },
            Phase::Proposing(attempt) => {
                let gathered = attempt.promised_at.filter(|_| attempt.charter.is_none()).map(|at| at + self.gather());
                Some(gathered.map_or(self.give_up_at(attempt), |at| at.min(self.give_up_at(attempt))))
            }
            Phase::Formed | Phase::Joining => None,
        }
    }

    /// When this node proposes next, if the nodes that were found are enough. The smallest listed node goes first,
    /// as soon as nobody is missing or a moment for the missing ones has passed.
    pub(super) fn next_attempt(&self) -> Option<Duration> {
        let settled = self.enough_since? + self.config.exchange;
        let ready = self.complete_since.map_or(settled, |complete| complete.min(settled));
        Some((ready + self.config.exchange * self.rank()).max(self.not_before))
    }

    /// This node's place among those that may propose: listed ones first, then by id.
    fn rank(&self) -> u32 {
        let listed = self.discovery.listed_nodes();
        let key = |node: &NodeId| (!listed.contains(node), node.clone());
        let mine = key(&self.config.node_id);
        let before = self.discovery.peers(&self.config.node_id).into_iter().filter(|peer| key(peer) < mine).count();
        u32::try_from(before.min(RANK_MAX)).unwrap_or(u32::MAX)
    }

    /// Waits at least until then, and a jittered while longer, so that two proposers do not meet again.
    pub(super) fn postpone(&mut self, until: Duration) {
        let ranked = f64::from(self.rank()) + self.random.random_range(0.0..1.0);
        let wait = self.scaled(self.config.exchange).mul_f64(0.5 + ranked);
        self.not_before = self.not_before.max(until + wait);
    }

    fn scaled(&self, length: Duration) -> Duration {
        length * (1 << self.failures.min(DOUBLINGS_MAX))
    }

    pub(super) fn attempt_length(&self) -> Duration {
        self.scaled(self.config.exchange * ATTEMPT_EXCHANGES)
    }

    pub(super) fn give_up_at(&self, attempt: &Attempt) -> Duration {
        attempt.started + self.attempt_length()
    }

    pub(super) fn gather(&self) -> Duration {
        self.config.exchange / 2
    }
}
