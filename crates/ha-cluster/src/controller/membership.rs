//! Who is a member, and who votes.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use ha_net::NodeId;

use super::decide::{Action, Controller, Decision};
use super::facts::{Facts, MEMBERS_MAX, majority};
use crate::{MemberState, Role};

/// A voter is failed for good after this many node timeouts of silence.
const FAILED_FOR_GOOD_TIMEOUTS: u32 = 10;
/// And not before this: a machine needs that long to boot.
const FAILED_FOR_GOOD_MIN: Duration = Duration::from_secs(60);

impl Controller {
    /// Whether a voter has been silent for so long that its place may be given away.
    pub(super) fn failed_for_good(&self, facts: &Facts, node: &NodeId) -> bool {
        let long = (self.settings.node_timeout * FAILED_FOR_GOOD_TIMEOUTS).max(FAILED_FOR_GOOD_MIN);
        self.observed.of(node).failed_since.is_some_and(|since| facts.now.saturating_sub(since) >= long)
    }

    /// Whether a learner could vote: alive and caught up without a break for a node timeout.
    fn fit_to_vote(&self, facts: &Facts, node: &NodeId) -> bool {
        let since = self.observed.of(node).current_since;
        since.is_some_and(|since| facts.now.saturating_sub(since) >= self.settings.node_timeout)
            && !facts.leaving.contains(node)
    }

    /// Learners that could vote, the best first.
    fn fit_learners<'a>(&self, facts: &'a Facts, role: Role) -> Vec<&'a NodeId> {
        let mut fit: Vec<_> = facts.learners().into_iter().collect();
        fit.retain(|node| facts.role(node) == Some(role) && self.fit_to_vote(facts, node));
        fit.sort_by_key(|node| (Reverse(facts.priority(node)), *node));
        fit
    }

    /// Whether these voters instead of the present ones could still commit, with the fewest that may.
    fn check_voters(&self, facts: &Facts, after: &BTreeSet<&NodeId>) -> Result<(), String> {
        let (alive, before) = (facts.alive_of(after), facts.alive_of(&facts.voters()));
        let needed = majority(after.len());
        if after.is_empty() || alive < needed {
            return Err(format!("only {alive} of the {} voters left would be alive, {needed} are needed", after.len()));
        }
        // A change that brings a live voter is never refused for being not enough.
        let quorum = self.settings.quorum_size;
        if alive < quorum && alive <= before {
            return Err(format!("only {alive} live voters would be left, and the quorum size is {quorum}"));
        }
        Ok(())
    }

    /// Whether a node may give up its membership, or why not.
    pub(crate) fn check_removal(&self, facts: &Facts, node: &NodeId) -> Result<(), String> {
        let mut after = facts.voters();
        if !after.remove(node) {
            return Ok(());
        }
        self.check_voters(facts, &after)
    }

    /// The same for one whose place somebody could take first.
    pub(super) fn check_departure(&self, facts: &Facts, node: &NodeId) -> Result<(), String> {
        let removal = self.check_removal(facts, node);
        if self.replacement(facts, node, "").is_some() { Ok(()) } else { removal }
    }

    /// Removes who asked for it. A voter is replaced first when somebody can take its place.
    pub(super) fn leave(&self, facts: &Facts) -> Option<Decision> {
        let node = facts.leaving.iter().find(|node| facts.members.contains_key(node) && **node != facts.me)?;
        let asked = format!("{node} asked to leave");
        let voter = facts.members.get(node).is_some_and(|seat| seat.voter);
        if voter && let Some(decision) = self.replacement(facts, node, &asked) {
            return Some(decision);
        }
        Some(match self.check_removal(facts, node) {
            Ok(()) => Decision::act(Action::Remove(node.clone()), format!("removes {node}: {asked}")),
            Err(why) => Decision::nothing(format_args!("{asked}, but {why}")),
        })
    }

    fn replacement(&self, facts: &Facts, voter: &NodeId, why: &str) -> Option<Decision> {
        let by = *self.fit_learners(facts, facts.role(voter)?).first()?;
        let mut after = facts.voters();
        after.remove(voter);
        after.insert(by);
        self.check_voters(facts, &after).ok()?;
        let action = Action::Replace { voter: voter.clone(), by: by.clone() };
        Some(Decision::act(action, format!("lets {by} vote in the place of {voter}: {why}")))
    }

    /// Admits who asked for membership.
    pub(super) fn join(&self, facts: &Facts) -> Option<Decision> {
        let wants = |node: &NodeId| {
            // Somebody who asked is there, unless gossip knows better.
            let opinion = facts.opinions.get(node).map(|opinion| opinion.state);
            let gone = matches!(opinion, Some(MemberState::Failed | MemberState::Left));
            !facts.members.contains_key(node) && !facts.leaving.contains(node) && !gone
        };
        let node = facts.joining.keys().find(|node| wants(node))?;
        if facts.members.len() < MEMBERS_MAX {
            let sentence = format!("adds {node} as a learner: it asked for membership");
            return Some(Decision::act(Action::AddLearner(node.clone()), sentence));
        }
        let gone = facts.learners().into_iter().filter(|learner| self.failed_for_good(facts, learner));
        Some(match gone.min_by_key(|learner| (self.observed.of(learner).failed_since, *learner)) {
            Some(gone) => {
                let sentence = format!("removes {gone}, which is failed for good, to make room for {node}");
                Decision::act(Action::Remove(gone.clone()), sentence)
            }
            None => Decision::nothing(format_args!("{node} cannot join, there are {MEMBERS_MAX} members already")),
        })
    }

    /// Gives away the place of a voter that is failed for good.
    pub(super) fn replace(&self, facts: &Facts) -> Option<Decision> {
        let voters = facts.voters();
        let gone: Vec<_> = voters.into_iter().filter(|voter| self.failed_for_good(facts, voter)).collect();
        let first = gone.first()?;
        if facts.paused {
            return Some(Decision::nothing(format_args!("{first} is failed for good, but automatic moves are paused")));
        }
        let replaced = gone.iter().find_map(|voter| self.replacement(facts, voter, "it is failed for good"));
        let nobody = format!("{first} is failed for good, and no caught-up learner can vote in its place");
        Some(replaced.unwrap_or_else(|| Decision::nothing(nobody)))
    }

    /// Lets learners vote up to the cap, and a witness where it makes the number of voters odd: with two nodes that
    /// keep data it is what lets one of them fail.
    pub(super) fn promote(&self, facts: &Facts) -> Option<Decision> {
        let data_voters = facts.voters_of(Role::Member).len();
        let data = self.fit_learners(facts, Role::Member).into_iter().next();
        let data = data.filter(|_| data_voters < self.settings.voters_max);
        let witness_wanted = data_voters.is_multiple_of(2) && facts.voters_of(Role::Witness).is_empty();
        let witness = self.fit_learners(facts, Role::Witness).into_iter().next().filter(|_| witness_wanted);
        let node = data.or(witness)?;
        let mut after = facts.voters();
        after.insert(node);
        Some(match self.check_voters(facts, &after) {
            Ok(()) => {
                let sentence = format!("lets {node} vote: it is alive and caught up, as voter {}", after.len());
                Decision::act(Action::Promote(node.clone()), sentence)
            }
            Err(why) => Decision::nothing(format_args!("{node} could vote, but {why}")),
        })
    }

    /// Takes the vote of whoever is above the cap: the silent first, then the lowest priority.
    pub(super) fn demote(&self, facts: &Facts) -> Option<Decision> {
        let data_voters = facts.voters_of(Role::Member);
        let (count, cap) = (data_voters.len(), self.settings.voters_max);
        if count <= cap || facts.paused {
            return None;
        }
        let others = data_voters.into_iter().filter(|node| **node != facts.me);
        let node = others.min_by_key(|node| (facts.alive(node), facts.priority(node), Reverse(*node)))?;
        let mut after = facts.voters();
        after.remove(node);
        Some(match self.check_voters(facts, &after) {
            Ok(()) => {
                let sentence = format!("takes the vote of {node}: {count} nodes that keep data vote, {cap} should");
                Decision::act(Action::Demote(node.clone()), sentence)
            }
            Err(why) => Decision::nothing(format_args!("{count} nodes vote where {cap} should, but {why}")),
        })
    }
}
