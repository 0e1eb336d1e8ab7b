//! Carries one hand-over through, to its end.
//!
//! A transfer that was triggered cannot be taken back: the engine refuses writes until a new leader exists, whoever it
//! is. So nothing is triggered before the target has the log, and what was triggered in vain is triggered again with
//! another voter. When no node that should lead is left, that is a witness or a node of priority 0, which hands over
//! again at once: better than a cluster that takes no writes.

use std::collections::BTreeSet;
use std::time::Duration;

use ha_net::NodeId;

use super::facts::Facts;
use super::target::{TransferRefusal, check_eligible, check_ready, choose_target};
use crate::Term;

/// A target with at most this many entries to go has them before it would be asked to campaign.
const TRIGGER_LAG_ENTRIES: u64 = 16;
/// Whoever asked for just any new leader hears after this many attempts that it does not work; the attempts go on.
const ATTEMPTS_UNTIL_REPORT: u32 = 3;
/// Repeated attempts wait twice as long each, up to two to the power of this.
const DOUBLINGS_MAX: u32 = 3;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until the target has the log; nothing is frozen meanwhile.
    pub(crate) catch_up: Duration,
    /// Until a new leader is known after a trigger: a round trip, two syncs and a vote. Writes stand still meanwhile.
    pub(crate) attempt: Duration,
}

/// What happens to a transfer.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// This is the leader now, or none is known.
    Leader {
        /// Who.
        node: Option<NodeId>,
        /// In which term.
        term: Term,
    },
    /// The facts may have changed, or the deadline passed.
    Look,
}

/// What the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Tell the engine to hand over to this node.
    Trigger {
        /// To whom.
        to: NodeId,
        /// For the log.
        sentence: String,
    },
    /// Answer whoever asked. Comes once.
    Report(Result<NodeId, String>),
    /// The transfer is over, and the engine is free again. Comes last, once.
    Over,
}

#[derive(Clone, Debug)]
enum State {
    CatchingUp {
        until: Duration,
    },
    Triggered {
        at: Duration,
    },
    /// This node leads no more, so nothing is stuck; who leads next is not known yet.
    Waiting {
        until: Duration,
    },
    Over,
}

/// One hand-over.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    patience: Patience,
    /// Whether this very target was asked for.
    named: bool,
    target: NodeId,
    term: Term,
    state: State,
    tried: BTreeSet<NodeId>,
    attempts: u32,
    reported: bool,
}

impl Transfer {
    /// Begins a hand-over, or refuses before anything is frozen. Follow with [`Input::Look`] at once.
    pub(crate) fn new(facts: &Facts, wanted: Option<&NodeId>, patience: Patience) -> Result<Self, TransferRefusal> {
        Ok(Self {
            patience,
            named: wanted.is_some(),
            target: choose_target(facts, wanted)?,
            term: facts.term,
            state: State::CatchingUp { until: facts.now + patience.catch_up },
            tried: BTreeSet::new(),
            attempts: 0,
            reported: false,
        })
    }

    /// When [`Input::Look`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::CatchingUp { until } | State::Waiting { until } => Some(until),
            State::Triggered { at } => Some(at + self.attempt_length()),
            State::Over => None,
        }
    }

    /// Takes one input in. The facts are those of this moment; who is the leader in them does not matter.
    pub(crate) fn step(&mut self, facts: &Facts, input: Input, outputs: &mut Vec<Output>) {
        match (&self.state, input) {
            (State::Over, _) => {}
            (_, Input::Leader { node: Some(leader), term }) if term > self.term => {
                let reached = leader == self.target || (!self.named && leader != facts.me);
                let elsewhere = format!("{leader} leads instead of {}", self.target);
                self.report(if reached { Ok(leader) } else { Err(elsewhere) }, outputs);
                self.end(outputs);
            }
            (State::CatchingUp { .. }, Input::Leader { node: None, term }) if term > self.term => {
                self.report(Err("this node lost the leadership before the transfer began".to_owned()), outputs);
                self.end(outputs);
            }
            (State::Triggered { .. }, Input::Leader { node: None, term }) if term > self.term => {
                // Nothing is frozen here any more, so there is time to learn who leads.
                self.state = State::Waiting { until: facts.now + self.patience.catch_up };
            }
            (State::CatchingUp { until }, _) => {
                let until = *until;
                self.catch_up(facts, until, outputs);
            }
            (State::Triggered { at }, _) if *at + self.attempt_length() <= facts.now || self.is_lost(facts) => {
                self.next_attempt(facts, outputs);
            }
            (State::Waiting { until }, _) if *until <= facts.now => {
                self.report(Err("this node leads no more, and no new leader is known yet".to_owned()), outputs);
                self.end(outputs);
            }
            (State::Triggered { .. } | State::Waiting { .. }, _) => {}
        }
    }

    fn catch_up(&mut self, facts: &Facts, until: Duration, outputs: &mut Vec<Output>) {
        let target = &self.target;
        if let Err(refusal) = check_eligible(facts, target).and_then(|()| check_ready(facts, target)) {
            self.report(Err(refusal.to_string()), outputs);
            self.end(outputs);
        } else if facts.lag(target) <= TRIGGER_LAG_ENTRIES {
            let sentence = format!("hands over to {target}, which has the log");
            self.trigger(facts.now, sentence, outputs);
        } else if until <= facts.now {
            let behind = format!("{target} is still {} entries behind", facts.lag(target));
            self.report(Err(behind), outputs);
            self.end(outputs);
        }
    }

    /// Whether the target is gone while somebody else could take over: waiting longer only prolongs the stand-still.
    fn is_lost(&self, facts: &Facts) -> bool {
        let could = |node: &&NodeId| {
            **node != facts.me && !self.tried.contains(*node) && facts.alive(node) && facts.caught_up(node)
        };
        !facts.alive(&self.target) && facts.voters().iter().any(could)
    }

    fn next_attempt(&mut self, facts: &Facts, outputs: &mut Vec<Output>) {
        let failed = format!("{} did not take over in time", self.target);
        self.attempts = self.attempts.saturating_add(1);
        if self.named || self.attempts >= ATTEMPTS_UNTIL_REPORT {
            self.report(Err(failed.clone()), outputs);
        }
        let Some(next) = self.another(facts) else {
            // Nobody is in reach. The same one is as good as any, and a new term from anywhere ends this too.
            self.trigger(facts.now, format!("{failed}, and nobody else is in reach: tries it again"), outputs);
            return;
        };
        self.target = next;
        let sentence = format!("{failed}: hands over to {} instead, since writes stand still", self.target);
        self.trigger(facts.now, sentence, outputs);
    }

    /// The best voter in reach that was not tried yet; once all were, the best of all but the last.
    fn another(&mut self, facts: &Facts) -> Option<NodeId> {
        let voters = facts.voters();
        let in_reach = |node: &&NodeId| **node != facts.me && facts.alive(node) && facts.caught_up(node);
        let in_reach: Vec<_> = voters.into_iter().filter(in_reach).collect();
        if in_reach.iter().all(|node| self.tried.contains(*node)) {
            self.tried = BTreeSet::from([self.target.clone()]);
        }
        let untried = in_reach.into_iter().filter(|node| !self.tried.contains(*node));
        let unwilling = |node: &NodeId| check_eligible(facts, node).and_then(|()| check_ready(facts, node)).is_err();
        let priority = |node: &NodeId| std::cmp::Reverse(facts.priority(node));
        untried.min_by_key(|node| (unwilling(node), facts.lag(node), priority(node), *node)).cloned()
    }

    fn trigger(&mut self, now: Duration, sentence: String, outputs: &mut Vec<Output>) {
        self.tried.insert(self.target.clone());
        self.state = State::Triggered { at: now };
        outputs.push(Output::Trigger { to: self.target.clone(), sentence });
    }

    fn attempt_length(&self) -> Duration {
        self.patience.attempt * (1 << self.attempts.min(DOUBLINGS_MAX))
    }

    fn report(&mut self, result: Result<NodeId, String>, outputs: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.reported, true) {
            outputs.push(Output::Report(result));
        }
    }

    fn end(&mut self, outputs: &mut Vec<Output>) {
        self.state = State::Over;
        outputs.push(Output::Over);
    }
}
