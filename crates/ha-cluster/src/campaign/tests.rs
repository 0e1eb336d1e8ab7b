//! Each rule by itself.

use std::time::Duration;

use ha_net::NodeId;

use super::*;
use crate::{Role, Term};

fn id(index: usize) -> NodeId {
    format!("node-{index}").parse().unwrap()
}

fn voter(index: usize, priority: u16, role: Role) -> Voter {
    Voter { node: id(index), priority, role, alive: true }
}

fn hint(term: u64, voters: &[Voter]) -> Input {
    Input::LeaderCrashed(Hint { leader: id(1), term: Term(term), voters: voters.to_vec() })
}

fn campaign(me: usize) -> Campaign {
    Campaign::new(id(me), Pace::for_heartbeat(Duration::from_millis(50)))
}

fn step(campaign: &mut Campaign, at: u64, input: Input) -> Vec<Output> {
    let mut outputs = Vec::new();
    campaign.step(Duration::from_millis(at), input, &mut outputs);
    outputs
}

/// The instants at which it campaigns, in milliseconds, until it rests.
fn run(campaign: &mut Campaign) -> Vec<u64> {
    let mut at = Vec::new();
    while let Some(deadline) = campaign.deadline() {
        let deadline = deadline.as_millis() as u64;
        if step(campaign, deadline, Input::Tick).contains(&Output::Elect) {
            at.push(deadline);
        }
        assert!(at.len() < 100);
    }
    at
}

fn three() -> [Voter; 3] {
    [voter(1, 100, Role::Member), voter(2, 100, Role::Member), voter(3, 100, Role::Member)]
}

#[test]
fn the_own_lease_is_dropped_by_naming_another_node_and_campaigns_follow() {
    let mut first = campaign(2);
    let outputs = step(&mut first, 0, hint(5, &three()));
    assert_eq!(outputs[0], Output::DropOwnLease { leader: id(1), term: Term(5), naming: id(3) });
    let Output::Say(sentence) = &outputs[1] else { panic!("{outputs:?}") };
    assert_eq!(sentence, "node-1 seems to have crashed: campaigns in 2 ms unless somebody leads");
    let at = run(&mut first);
    assert_eq!((at[0], at[1], at.len()), (2, 27, 20));
    assert!(at.iter().all(|at| *at < 500));
    assert_eq!(first.deadline(), None);
}

#[test]
fn voters_take_turns_by_priority_and_who_had_rather_not_lead_comes_last() {
    let voters = [
        voter(1, 255, Role::Member),
        voter(2, 100, Role::Member),
        voter(3, 200, Role::Member),
        voter(4, 0, Role::Member),
        voter(5, 100, Role::Witness),
    ];
    let first = |me: usize| {
        let mut campaign = campaign(me);
        step(&mut campaign, 0, hint(5, &voters));
        run(&mut campaign)[0]
    };
    // The witness shows its default priority; it counts for nothing but order among the reluctant.
    assert_eq!([3, 2, 5, 4].map(first), [2, 32, 252, 282]);
    // Everybody drops the lease, or the others could not win.
    for me in 2..=5 {
        assert!(matches!(step(&mut campaign(me), 0, hint(5, &voters))[0], Output::DropOwnLease { .. }));
    }
}

#[test]
fn the_dead_take_no_turn() {
    let mut voters = three();
    voters[1].alive = false;
    let mut campaign = campaign(3);
    let outputs = step(&mut campaign, 0, hint(5, &voters));
    assert_eq!(outputs[0], Output::DropOwnLease { leader: id(1), term: Term(5), naming: id(1) });
    assert_eq!(run(&mut campaign)[0], 2);
}

#[test]
fn it_stops_when_somebody_leads_or_the_hint_was_false() {
    let heard = |leader: usize, term: u64| Input::LeaderHeard { leader: id(leader), term: Term(term) };
    let cases = [
        (heard(3, 6), "node-3 leads after the crash of node-1"),
        (heard(1, 5), "node-1 lives: the crash hint was false"),
    ];
    for (input, sentence) in cases {
        let mut campaign = campaign(2);
        step(&mut campaign, 0, hint(5, &three()));
        step(&mut campaign, 2, Input::Tick);
        assert_eq!(step(&mut campaign, 3, input), [Output::Say(sentence.to_owned())]);
        assert_eq!(campaign.deadline(), None);
        assert_eq!(step(&mut campaign, 27, Input::Tick), []);
    }
    let mut campaign = campaign(2);
    step(&mut campaign, 0, hint(5, &three()));
    assert_eq!(step(&mut campaign, 1, heard(3, 4)), [], "an older leader is no news");
    assert!(campaign.deadline().is_some());
}

#[test]
fn an_election_that_has_begun_is_left_alone_for_a_while() {
    let mut campaign = campaign(2);
    step(&mut campaign, 0, hint(5, &three()));
    assert_eq!(step(&mut campaign, 2, Input::Tick), [Output::Elect]);
    step(&mut campaign, 4, Input::Term(Term(6)));
    assert_eq!(step(&mut campaign, 27, Input::Tick), []);
    assert_eq!(step(&mut campaign, 103, Input::Tick), []);
    assert_eq!(step(&mut campaign, 104, Input::Tick), [Output::Elect], "it came to nothing");
    step(&mut campaign, 105, Input::Term(Term(6)));
    assert_eq!(step(&mut campaign, 129, Input::Tick), [Output::Elect], "the same term is no news");
}

#[test]
fn hints_that_do_not_concern_this_node_or_come_again_change_nothing() {
    assert_eq!(step(&mut campaign(1), 0, hint(5, &three())), [], "it led itself");
    assert_eq!(step(&mut campaign(9), 0, hint(5, &three())), [], "a learner has no vote");
    let mut flapping = campaign(2);
    step(&mut flapping, 0, hint(5, &three()));
    assert_eq!(step(&mut flapping, 1, hint(5, &three())), []);
    step(&mut flapping, 2, Input::LeaderHeard { leader: id(1), term: Term(5) });
    assert_eq!(step(&mut flapping, 3, hint(5, &three())), [], "at most one campaign per window");
    assert_ne!(step(&mut flapping, 3, hint(6, &three())), [], "another term is another matter");
    let mut later = campaign(2);
    step(&mut later, 0, hint(5, &three()));
    run(&mut later);
    assert_ne!(step(&mut later, 501, hint(5, &three())), []);
}

#[test]
fn the_pace_follows_the_heartbeat_and_each_of_many_voters_gets_a_turn() {
    let every = |heartbeat| Pace::for_heartbeat(Duration::from_millis(heartbeat));
    assert_eq!(every(50), every(1));
    assert_eq!(every(5000), every(500));
    let voters: Vec<Voter> = (1..=60).map(|index| voter(index, 100, Role::Member)).collect();
    let mut last = campaign(9);
    step(&mut last, 0, hint(5, &voters));
    assert_eq!(run(&mut last), [475]);
}

#[test]
fn a_reluctant_node_campaigns_only_after_three_timeouts_without_a_leader() {
    let second = Duration::from_secs(1);
    let mut witness = Reluctant::new(second, second, 1);
    assert_eq!(witness.deadline(), Some(second * 4));
    assert!(!witness.step(second * 4 - Duration::from_millis(1), false));
    assert!(witness.step(second * 4, false));
    let again = witness.deadline().unwrap();
    assert!(again >= second * 5 && again < second * 6);
    assert!(!witness.step(second * 4, false));
    assert!(witness.step(again, false));
    assert!(!witness.step(again, true));
    assert_eq!(witness.deadline(), None);
    assert!(!witness.step(second * 60, false), "the silence begins now");
    assert_eq!(witness.deadline(), Some(second * 63));
}
