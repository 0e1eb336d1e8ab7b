//! Each rule by itself.

use std::time::Duration;

use ha_net::{Incarnation, NodeId};

use super::*;
use crate::{MemberState, Role, Term};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn id(index: usize) -> NodeId {
    format!("node-{index}").parse().unwrap()
}

pub(super) fn settings() -> Settings {
    Settings { voters_max: 5, quorum_size: 2, takeover_hold: SECOND * 60, node_timeout: SECOND * 5 }
}

pub(super) fn seat(voter: bool, role: Role) -> Seat {
    Seat { voter, role, priority: 100 }
}

pub(super) fn opinion() -> Opinion {
    Opinion { state: MemberState::Alive, incarnation: Incarnation(1), priority: 100, healthy: true }
}

/// node-1 leads since the instant 0; all voters, then all learners are alive, equal, and have the whole log.
pub(super) fn facts(voters: usize, learners: usize) -> Facts {
    let mut facts = Facts {
        now: Duration::ZERO,
        me: id(1),
        term: Term(1),
        leader_since: Duration::ZERO,
        members: Default::default(),
        joint: false,
        busy: None,
        last_index: 10_000,
        matched: Default::default(),
        opinions: Default::default(),
        joining: Default::default(),
        leaving: Default::default(),
        paused: false,
    };
    for index in 1..=voters + learners {
        facts.members.insert(id(index), seat(index <= voters, Role::Member));
        facts.opinions.insert(id(index), opinion());
        facts.matched.insert(id(index), 10_000);
    }
    facts
}

impl Facts {
    pub(super) fn set(&mut self, index: usize, change: impl FnOnce(&mut Opinion)) -> &mut Self {
        change(self.opinions.get_mut(&id(index)).unwrap());
        self
    }

    pub(super) fn prefer(&mut self, index: usize, priority: u16) -> &mut Self {
        self.set(index, |opinion| opinion.priority = priority)
    }

    pub(super) fn kill(&mut self, index: usize) -> &mut Self {
        self.set(index, |opinion| opinion.state = MemberState::Failed)
    }

    pub(super) fn revive(&mut self, index: usize) -> &mut Self {
        self.set(index, |opinion| opinion.state = MemberState::Alive)
    }

    pub(super) fn witness(&mut self, index: usize) -> &mut Self {
        self.members.get_mut(&id(index)).unwrap().role = Role::Witness;
        self
    }

    pub(super) fn lags(&mut self, index: usize, entries: u64) -> &mut Self {
        self.matched.insert(id(index), self.last_index - entries);
        self
    }
}

pub(super) fn controller() -> Controller {
    Controller::new(settings())
}

/// Looks each second from now on for so long; the decisions that differ from the one before.
pub(super) fn watch(controller: &mut Controller, facts: &mut Facts, seconds: u32) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = Vec::new();
    for _ in 0..=seconds {
        let decision = controller.decide(facts);
        if decisions.last().is_none_or(|last| last.action != decision.action) {
            decisions.push(decision);
        }
        facts.now += SECOND;
    }
    decisions
}

pub(super) fn actions(decisions: Vec<Decision>) -> Vec<Action> {
    decisions.into_iter().filter_map(|decision| decision.action).collect()
}

fn replace(voter: usize, by: usize) -> Action {
    Action::Replace { voter: id(voter), by: id(by) }
}

#[test]
fn who_asks_is_added_as_a_learner_one_at_a_time_unless_it_is_gone() {
    let mut facts = facts(3, 0);
    facts.joining.insert(id(4), seat(false, Role::Member));
    facts.joining.insert(id(5), seat(false, Role::Member));
    assert_eq!(controller().decide(&facts).action, Some(Action::AddLearner(id(4))));
    facts.opinions.insert(id(4), Opinion { state: MemberState::Left, ..opinion() });
    assert_eq!(controller().decide(&facts).action, Some(Action::AddLearner(id(5))));
    facts.members.insert(id(5), seat(false, Role::Member));
    assert_eq!(controller().decide(&facts).action, None);
}

#[test]
fn a_full_table_makes_room_only_by_who_is_gone_for_good() {
    let (mut controller, mut facts) = (controller(), facts(3, 1021));
    facts.joining.insert("newcomer".parse().unwrap(), seat(false, Role::Member));
    controller.settings.voters_max = 3;
    let decision = controller.decide(&facts);
    assert_eq!(decision.sentence, "no action: newcomer cannot join, there are 1024 members already");
    facts.kill(700);
    assert_eq!(actions(watch(&mut controller, &mut facts, 60)), [Action::Remove(id(700))]);
}

#[test]
fn a_learner_votes_once_it_kept_up_for_a_while() {
    let (mut controller, mut facts) = (controller(), facts(3, 2));
    facts.lags(4, 300);
    assert_eq!(actions(watch(&mut controller, &mut facts, 4)), []);
    assert_eq!(actions(watch(&mut controller, &mut facts, 0)), [Action::Promote(id(5))]);
    facts.lags(4, 0);
    controller.settings.voters_max = 3;
    assert_eq!(actions(watch(&mut controller, &mut facts, 60)), [], "never above the cap");
}

#[test]
fn a_learner_that_never_catches_up_changes_nothing() {
    let (mut controller, mut facts) = (controller(), facts(3, 2));
    facts.lags(4, 5000).matched.remove(&id(5));
    assert_eq!(actions(watch(&mut controller, &mut facts, 3600)), []);
}

#[test]
fn a_witness_votes_where_it_makes_the_voters_odd() {
    for (voters, learners, wanted) in [(2, 1, true), (3, 1, false), (4, 1, true), (1, 1, false)] {
        let (mut controller, mut facts) = (controller(), facts(voters, learners));
        controller.settings.quorum_size = 1;
        facts.witness(voters + 1);
        let expected: &[Action] = if wanted { &[Action::Promote(id(voters + 1))] } else { &[] };
        assert_eq!(actions(watch(&mut controller, &mut facts, 10)), expected, "{voters} data voters");
    }
    // Data first, and one witness is enough.
    let (mut controller, mut facts) = (controller(), facts(2, 2));
    facts.witness(3);
    assert_eq!(actions(watch(&mut controller, &mut facts, 10)), [Action::Promote(id(4))]);
    let mut facts = self::facts(3, 1);
    facts.witness(3).witness(4);
    assert_eq!(actions(watch(&mut controller, &mut facts, 10)), []);
}

#[test]
fn a_voter_that_is_failed_for_good_is_replaced_by_a_learner_and_not_otherwise() {
    let (mut controller, mut facts) = (controller(), facts(5, 1));
    facts.kill(3);
    assert_eq!(actions(watch(&mut controller, &mut facts, 59)), []);
    assert_eq!(actions(watch(&mut controller, &mut facts, 0)), [replace(3, 6)]);
    facts.lags(6, 1000);
    let decision = controller.decide(&facts);
    assert_eq!(
        decision.sentence,
        "no action: node-3 is failed for good, and no caught-up learner can vote in its place"
    );
    facts.lags(6, 0).witness(6).now += SECOND;
    assert_eq!(actions(watch(&mut controller, &mut facts, 10)), [], "a witness takes no data voter's place");
    facts.members.insert(id(6), seat(false, Role::Member));
    facts.paused = true;
    assert_eq!(actions(watch(&mut controller, &mut facts, 10)), [], "nothing moves while paused");
}

#[test]
fn a_dead_voter_without_a_replacement_keeps_its_place_however_long() {
    let (mut controller, mut facts) = (controller(), facts(5, 0));
    facts.kill(3).kill(4);
    assert_eq!(actions(watch(&mut controller, &mut facts, 100_000)), [], "five voters stay five");
}

#[test]
fn nothing_is_changed_without_a_majority_that_could_commit_it() {
    let (mut controller, mut facts) = (controller(), facts(3, 2));
    facts.kill(2).kill(3).joint = true;
    facts.leaving.insert(id(5));
    let decisions = watch(&mut controller, &mut facts, 600);
    assert_eq!(decisions[0].sentence, "no action: 1 of 3 voters are alive and 2 are needed to commit a change");
    assert_eq!(actions(decisions), []);
}

#[test]
fn a_joint_configuration_is_finished_first() {
    let mut facts = facts(3, 0);
    facts.joint = true;
    facts.joining.insert(id(4), seat(false, Role::Member));
    assert_eq!(controller().decide(&facts).action, Some(Action::FinishJoint));
    facts.busy = Some("a membership change");
    assert_eq!(controller().decide(&facts).action, None);
}

#[test]
fn who_leaves_is_removed_unless_too_few_would_be_left() {
    let mut learner = facts(3, 1);
    learner.leaving.insert(id(4));
    assert_eq!(controller().decide(&learner).action, Some(Action::Remove(id(4))));

    let mut voter = facts(3, 0);
    voter.leaving.insert(id(3));
    assert_eq!(controller().decide(&voter).action, Some(Action::Remove(id(3))));
    voter.kill(2);
    let refused = controller().decide(&voter);
    assert_eq!(
        refused.sentence,
        "no action: node-3 asked to leave, but only 1 of the 2 voters left would be alive, 2 are needed"
    );
    assert!(controller().check_removal(&voter, &id(3)).is_err());

    let mut pair = facts(2, 0);
    pair.leaving.insert(id(2));
    let refused = controller().decide(&pair);
    assert_eq!(
        refused.sentence,
        "no action: node-2 asked to leave, but only 1 live voters would be left, and the quorum size is 2"
    );

    // Somebody can take its place.
    let (mut controller, mut replaced) = (controller(), facts(2, 1));
    controller.settings.voters_max = 2;
    watch(&mut controller, &mut replaced, 5);
    replaced.leaving.insert(id(2));
    assert_eq!(controller.decide(&replaced).action, Some(replace(2, 3)));
}

#[test]
fn a_leader_that_leaves_hands_over_first_but_not_in_vain() {
    let mut three = facts(3, 0);
    three.leaving.insert(id(1));
    let decision = controller().decide(&three);
    assert_eq!(decision.sentence, "hands over to node-2, since node-1 leaves the cluster");
    let mut pair = facts(2, 0);
    pair.leaving.insert(id(1));
    assert_eq!(controller().decide(&pair).action, None);
}

#[test]
fn too_many_voters_become_fewer_the_silent_first() {
    let (mut controller, mut facts) = (controller(), facts(5, 0));
    controller.settings.voters_max = 3;
    facts.prefer(2, 50).kill(4);
    assert_eq!(controller.decide(&facts).action, Some(Action::Demote(id(4))));
    facts.revive(4);
    assert_eq!(controller.decide(&facts).action, Some(Action::Demote(id(2))));
    facts.prefer(2, 100);
    assert_eq!(controller.decide(&facts).action, Some(Action::Demote(id(5))));
    facts.paused = true;
    assert_eq!(controller.decide(&facts).action, None);
}

#[test]
fn a_target_is_refused_before_anything_is_frozen() {
    let mut facts = facts(4, 1);
    facts.witness(2).prefer(3, 0).lags(4, 257);
    let refused = |facts: &Facts, wanted: usize| choose_target(facts, Some(&id(wanted))).unwrap_err().to_string();
    assert_eq!(refused(&facts, 9), "node-9 is not a member of this cluster");
    assert_eq!(refused(&facts, 1), "node-1 leads already");
    assert_eq!(refused(&facts, 2), "node-2 may not lead: it is a witness");
    assert_eq!(refused(&facts, 3), "node-3 may not lead: its priority is 0");
    assert_eq!(refused(&facts, 4), "node-4 is not ready to lead: it is 257 entries behind");
    assert_eq!(refused(&facts, 5), "node-5 may not lead: it is a learner, which does not vote");
    facts.lags(4, 256);
    assert_eq!(choose_target(&facts, Some(&id(4))), Ok(id(4)));
    assert_eq!(choose_target(&facts, None), Ok(id(4)));
    facts.leaving.insert(id(4));
    assert_eq!(refused(&facts, 4), "node-4 may not lead: it leaves the cluster");
    facts.joint = true;
    assert_eq!(refused(&facts, 4), "a membership change is on its way");
}

#[test]
fn the_best_target_has_the_highest_priority_then_the_most_of_the_log() {
    let mut facts = facts(5, 0);
    facts.lags(2, 5).lags(3, 1).lags(4, 1);
    assert_eq!(choose_target(&facts, None), Ok(id(5)));
    facts.lags(5, 200);
    assert_eq!(choose_target(&facts, None), Ok(id(3)));
    facts.prefer(5, 101);
    assert_eq!(choose_target(&facts, None), Ok(id(5)));
    facts.set(5, |o| o.healthy = false);
    assert_eq!(choose_target(&facts, None), Ok(id(3)));
}
