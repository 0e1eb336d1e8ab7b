//! One decision, from the most to the least urgent rule.

use std::time::Duration;

use ha_net::NodeId;

use super::facts::{Facts, Settings, majority};
use super::observed::Observed;
use super::target::choose_target;
use crate::Role;

/// How often to look at least: often enough that no run of a node goes unseen, which gossip could interrupt.
const LOOKS_PER_NODE_TIMEOUT: u32 = 5;
/// Looking more often than this shows nothing new.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(20);
/// Looking less often than this would make people wait.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Begin to replicate to a node that asked for membership.
    AddLearner(NodeId),
    /// Let a learner vote.
    Promote(NodeId),
    /// Let a learner vote in the place of a voter that is failed for good, or leaves; that one becomes a learner.
    Replace {
        /// Who votes no more.
        voter: NodeId,
        /// Who votes instead.
        by: NodeId,
    },
    /// Let a voter vote no more; it becomes a learner.
    Demote(NodeId),
    /// End the membership of a node.
    Remove(NodeId),
    /// Complete a joint configuration that a leader before left behind.
    FinishJoint,
    /// Hand the leadership over.
    Transfer(NodeId),
}

/// An action or none, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What to do, if anything.
    pub(crate) action: Option<Action>,
    /// One sentence for the log and the status.
    pub(crate) sentence: String,
}

impl Decision {
    pub(super) fn act(action: Action, sentence: String) -> Self {
        Self { action: Some(action), sentence }
    }

    pub(super) fn nothing(why: impl std::fmt::Display) -> Self {
        Self { action: None, sentence: format!("no action: {why}") }
    }
}

/// Decides on the leader, remembers on every node.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(super) settings: Settings,
    pub(super) observed: Observed,
    looked: Option<(crate::Term, Duration)>,
}

impl Controller {
    /// One that has seen nothing yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, observed: Observed::default(), looked: None }
    }

    /// Tells which leader is known now; to be called on every node on each change, leading or not.
    pub(crate) fn leader_changed(&mut self, now: Duration, leader: Option<&NodeId>) {
        self.observed.leader_changed(now, leader, &self.settings);
    }

    /// When to decide again although nothing changed; to be asked only on the leader.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let every = (self.settings.node_timeout / LOOKS_PER_NODE_TIMEOUT).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        self.looked.map(|(_, at)| at + every)
    }

    /// Looks, and says what to do now. To be called on the leader only.
    pub(crate) fn decide(&mut self, facts: &Facts) -> Decision {
        if self.looked.is_none_or(|(term, _)| term != facts.term) {
            self.observed.forget_runs();
        }
        self.looked = Some((facts.term, facts.now));
        self.observed.look(facts);

        let voters = facts.voters();
        let (alive, needed) = (facts.alive_of(&voters), majority(voters.len()));
        if let Some(busy) = facts.busy {
            return Decision::nothing(format_args!("{busy} is on its way"));
        }
        if alive < needed {
            let count = voters.len();
            return Decision::nothing(format_args!(
                "{alive} of {count} voters are alive and {needed} are needed to commit a change"
            ));
        }
        if facts.joint {
            let sentence = "finishes a membership change that was left half-way".to_owned();
            return Decision::act(Action::FinishJoint, sentence);
        }
        let rules = [Self::resign, Self::leave, Self::join, Self::replace, Self::demote, Self::promote];
        let mut open = None;
        for rule in rules {
            match rule(self, facts) {
                Some(decision) if decision.action.is_some() => return decision,
                // Why something that should happen cannot says more than that all is well.
                other => open = open.or(other),
            }
        }
        let takeover = self.takeover(facts);
        if takeover.action.is_some() { takeover } else { open.unwrap_or(takeover) }
    }

    /// A witness, a node of priority 0 or one that leaves hands over as soon as somebody else can lead.
    fn resign(&self, facts: &Facts) -> Option<Decision> {
        let me = &facts.me;
        let why = if facts.role(me) == Some(Role::Witness) {
            "is a witness"
        } else if facts.leaving.contains(me) {
            if let Err(why) = self.check_departure(facts, me) {
                return Some(Decision::nothing(format_args!("{me} asked to leave, but {why}")));
            }
            "leaves the cluster"
        } else if facts.priority(me) == 0 {
            "has priority 0"
        } else {
            return None;
        };
        Some(match choose_target(facts, None) {
            Ok(to) => Decision::act(Action::Transfer(to.clone()), format!("hands over to {to}, since {me} {why}")),
            Err(refusal) => Decision::nothing(format_args!("{me} leads although it {why}: {refusal}")),
        })
    }
}
