//! What holds for every decision, whatever the facts.

use std::collections::BTreeSet;
use std::time::Duration;

use ha_net::{Incarnation, NodeId};
use proptest::prelude::*;

use super::tests::{SECOND, id, seat};
use super::*;
use crate::{MemberState, Role, Term};

const NODES: usize = 9;

#[derive(Clone, Debug)]
struct Node {
    /// Member, voter, witness, asked to join, asks to leave.
    flags: [bool; 5],
    opinion: Option<(MemberState, u64, u16, bool)>,
    lag: Option<u64>,
}

fn node() -> impl Strategy<Value = Node> {
    let state = prop_oneof![
        6 => Just(MemberState::Alive),
        1 => Just(MemberState::Suspect),
        2 => Just(MemberState::Failed),
        1 => Just(MemberState::Left),
    ];
    let priority = prop_oneof![Just(0_u16), Just(100), Just(100), Just(200)];
    let opinion = proptest::option::weighted(0.9, (state, 1..3_u64, priority, proptest::bool::weighted(0.9)));
    let lag = proptest::option::weighted(0.9, prop_oneof![Just(0_u64), Just(0), 0..600_u64]);
    let often = proptest::bool::weighted;
    let flags = [often(0.8), often(0.7), often(0.2), often(0.2), often(0.1)];
    (flags, opinion, lag).prop_map(|(flags, opinion, lag)| Node { flags, opinion, lag })
}

fn facts() -> impl Strategy<Value = Facts> {
    let nodes = proptest::collection::vec(node(), NODES);
    let flags = [proptest::bool::weighted(0.1), proptest::bool::weighted(0.1), proptest::bool::weighted(0.1)];
    (nodes, flags).prop_map(|(nodes, [joint, busy, paused])| {
        let mut facts = super::tests::facts(0, 0);
        (facts.joint, facts.busy, facts.paused) = (joint, busy.then_some("a test"), paused);
        for (index, node) in nodes.into_iter().enumerate() {
            let [member, voter, witness, joining, leaving] = node.flags;
            let role = if witness { Role::Witness } else { Role::Member };
            if member {
                facts.members.insert(id(index), seat(voter, role));
            } else if joining {
                facts.joining.insert(id(index), seat(false, role));
            }
            if leaving {
                facts.leaving.insert(id(index));
            }
            if let Some((state, incarnation, priority, healthy)) = node.opinion {
                let incarnation = Incarnation(incarnation);
                facts.opinions.insert(id(index), Opinion { state, incarnation, priority, healthy });
            }
            if let Some(lag) = node.lag {
                facts.matched.insert(id(index), facts.last_index - lag);
            }
        }
        let me = id(1);
        facts.members.entry(me.clone()).or_insert(seat(true, Role::Member)).voter = true;
        facts.joining.remove(&me);
        facts
    })
}

/// The voters after an action.
fn voters_after<'a>(facts: &'a Facts, action: &'a Action) -> BTreeSet<&'a NodeId> {
    let mut voters = facts.voters();
    match action {
        Action::Promote(node) => assert!(voters.insert(node), "a voter cannot be promoted"),
        Action::Replace { voter, by } => assert!(voters.remove(voter) && voters.insert(by)),
        Action::Demote(node) => assert!(voters.remove(node)),
        Action::Remove(node) => drop(voters.remove(node)),
        Action::AddLearner(_) | Action::FinishJoint | Action::Transfer(_) => {}
    }
    voters
}

fn check(settings: &Settings, facts: &Facts, decision: &Decision) -> Result<(), TestCaseError> {
    prop_assert!(!decision.sentence.is_empty());
    let Some(action) = &decision.action else {
        prop_assert!(decision.sentence.starts_with("no action: "), "{}", decision.sentence);
        return Ok(());
    };
    prop_assert!(facts.busy.is_none(), "{action:?} although something is on its way");
    prop_assert!(!facts.joint || *action == Action::FinishJoint);
    let (before, after) = (facts.voters(), voters_after(facts, action));
    let (alive_before, alive) = (facts.alive_of(&before), facts.alive_of(&after));
    prop_assert!(alive * 2 > after.len(), "{action:?} leaves {alive} alive of {}", after.len());
    for (role, most) in [(Role::Member, settings.voters_max), (Role::Witness, 1)] {
        let count = |voters: &BTreeSet<&NodeId>| voters.iter().filter(|node| facts.role(node) == Some(role)).count();
        prop_assert!(count(&after) <= most.max(count(&before)), "{action:?} makes too many {role:?} voters");
    }
    if after.len() < before.len() {
        prop_assert!(alive >= settings.quorum_size, "{action:?} goes below the quorum size");
    }
    prop_assert!(matches!(action, Action::Remove(_) | Action::Demote(_)) || alive >= alive_before);
    match action {
        Action::Transfer(to) => {
            prop_assert!(before.contains(to) && facts.role(to) == Some(Role::Member) && facts.priority(to) > 0);
            prop_assert!(facts.alive(to) && facts.caught_up(to) && facts.healthy(to) && *to != facts.me);
            prop_assert!(!facts.leaving.contains(to));
        }
        Action::Promote(node) | Action::Replace { by: node, .. } => {
            prop_assert!(facts.alive(node) && facts.caught_up(node));
        }
        Action::AddLearner(node) => {
            prop_assert!(facts.joining.contains_key(node) && !facts.members.contains_key(node));
        }
        Action::Remove(node) | Action::Demote(node) => prop_assert_ne!(node, &facts.me),
        Action::FinishJoint => {}
    }
    Ok(())
}

fn perform(facts: &mut Facts, action: &Action) {
    match action {
        Action::AddLearner(node) => {
            let seat = facts.joining.remove(node).unwrap();
            facts.members.insert(node.clone(), seat);
        }
        Action::Promote(node) => facts.members.get_mut(node).unwrap().voter = true,
        Action::Replace { voter, by } => {
            facts.members.get_mut(voter).unwrap().voter = false;
            facts.members.get_mut(by).unwrap().voter = true;
        }
        Action::Demote(node) => facts.members.get_mut(node).unwrap().voter = false,
        Action::Remove(node) => drop(facts.members.remove(node)),
        Action::FinishJoint => facts.joint = false,
        Action::Transfer(to) => {
            facts.me = to.clone();
            facts.leader_since = facts.now;
            facts.term.0 += 1;
        }
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    (1..6_usize, 1..4_usize).prop_map(|(voters_max, quorum_size)| Settings {
        voters_max,
        quorum_size,
        takeover_hold: SECOND * 10,
        node_timeout: SECOND,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_decision_breaks_a_majority_or_moves_leadership_to_who_may_not_lead(
        settings in settings(),
        looks in proptest::collection::vec((facts(), 0..100_u64), 1..6),
    ) {
        let mut controller = Controller::new(settings.clone());
        let mut now = Duration::ZERO;
        for (mut facts, later) in looks {
            now += SECOND * u32::try_from(later).unwrap();
            facts.now = now;
            // Long enough for each run to count.
            for _ in 0..3 {
                check(&settings, &facts, &controller.decide(&facts))?;
                facts.now += SECOND * 61;
            }
            now = facts.now;
        }
    }

    #[test]
    fn what_follows_from_its_decisions_comes_to_rest(settings in settings(), mut facts in facts()) {
        facts.busy = None;
        let mut controller = Controller::new(settings.clone());
        let mut actions = Vec::new();
        for _ in 0..100 {
            let decision = controller.decide(&facts);
            check(&settings, &facts, &decision)?;
            if let Some(action) = decision.action {
                perform(&mut facts, &action);
                if matches!(action, Action::Transfer(_)) {
                    controller.leader_changed(facts.now, Some(&facts.me));
                }
                actions.push(action);
                prop_assert!(actions.len() <= 4 * NODES, "never comes to rest: {actions:?}");
            }
            facts.now += SECOND * 7;
        }
        // A majority that is alive ends up with nothing half-way, and nobody outside who wants in.
        if facts.alive_of(&facts.voters()) * 2 > facts.voters().len() {
            prop_assert!(!facts.joint);
            let gone = |node| matches!(facts.opinions.get(node).map(|o| o.state), Some(MemberState::Failed | MemberState::Left));
            prop_assert!(facts.joining.keys().all(|node| gone(node) || facts.leaving.contains(node)));
        }
    }

    #[test]
    fn a_chosen_target_can_lead(facts in facts(), wanted in 0..NODES, named in any::<bool>()) {
        let wanted = named.then(|| id(wanted));
        if let Ok(to) = choose_target(&facts, wanted.as_ref()) {
            prop_assert!(wanted.is_none_or(|wanted| wanted == to));
            prop_assert!(facts.voters().contains(&to) && facts.role(&to) == Some(Role::Member));
            prop_assert!(facts.priority(&to) > 0 && facts.alive(&to) && facts.caught_up(&to) && to != facts.me);
        }
    }
}

#[test]
fn the_term_of_the_facts_begins_the_runs_anew() {
    let mut facts = super::tests::facts(3, 1);
    let mut controller = Controller::new(super::tests::settings());
    controller.decide(&facts);
    facts.now = SECOND * 100;
    facts.term = Term(2);
    assert_eq!(controller.decide(&facts).action, None, "nobody looked while another led");
}
