//! Who leads, and when that moves.

use ha_net::Incarnation;

use super::tests::{SECOND, actions, controller, facts, id, settings, watch};
use super::*;
use crate::MemberState;

#[test]
fn equal_priorities_never_move_the_leadership() {
    let mut controller = controller();
    let decisions = watch(&mut controller, &mut facts(3, 0), 7200);
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].action, None);
    assert_eq!(decisions[0].sentence, "no action: node-1 leads and has the highest priority");
    assert_eq!(controller.deadline(), Some(SECOND * 7201));
}

#[test]
fn a_higher_priority_takes_over_after_the_hold_and_says_so_meanwhile() {
    let (mut controller, mut facts) = (controller(), facts(3, 0));
    facts.prefer(2, 200);
    let first = controller.decide(&facts);
    assert_eq!(
        first.sentence,
        "no action: node-2 has the higher priority (200 against 100 of node-1), but must stay ready for 60.0 s more"
    );
    assert_eq!(actions(watch(&mut controller, &mut facts, 59)), []);
    let decision = controller.decide(&facts);
    assert_eq!(decision.action, Some(Action::Transfer(id(2))));
    assert_eq!(decision.sentence, "hands over to node-2: node-2 has the higher priority (200 against 100 of node-1)");
}

#[test]
fn each_interruption_begins_the_hold_anew() {
    type Change = fn(&mut Facts);
    let interruptions: [(&str, Change, Change); 5] = [
        (
            "silence",
            |f| {
                f.kill(2);
            },
            |f| {
                f.revive(2);
            },
        ),
        (
            "suspicion",
            |f| {
                f.set(2, |o| o.state = MemberState::Suspect);
            },
            |f| {
                f.revive(2);
            },
        ),
        (
            "lag",
            |f| {
                f.lags(2, 257);
            },
            |f| {
                f.lags(2, 256);
            },
        ),
        (
            "ill health",
            |f| {
                f.set(2, |o| o.healthy = false);
            },
            |f| {
                f.set(2, |o| o.healthy = true);
            },
        ),
        (
            "a new life",
            |f| {
                f.set(2, |o| o.incarnation = Incarnation(2));
            },
            |_| (),
        ),
    ];
    for (name, begin, end) in interruptions {
        let (mut controller, mut facts) = (controller(), facts(3, 0));
        facts.prefer(2, 200);
        assert_eq!(actions(watch(&mut controller, &mut facts, 50)), [], "{name}");
        begin(&mut facts);
        watch(&mut controller, &mut facts, 0);
        end(&mut facts);
        assert_eq!(actions(watch(&mut controller, &mut facts, 58)), [], "{name}");
        assert_eq!(actions(watch(&mut controller, &mut facts, 2)), [Action::Transfer(id(2))], "{name}");
    }
}

#[test]
fn what_speaks_against_a_takeover_is_said() {
    type Change = fn(&mut Facts);
    let cases: [(Change, &str); 6] = [
        (|f| f.paused = true, "automatic moves are paused"),
        (
            |f| {
                f.kill(3);
            },
            "node-3 is not alive, and nothing is moved while a voter may be failing",
        ),
        (|f| f.leader_since = f.now - SECOND, "node-1 leads only since 1.0 s of 60.0 s"),
        (|f| f.busy = Some("a transfer"), "no action: a transfer is on its way"),
        (
            |f| {
                f.lags(2, 5000);
            },
            "nobody of higher priority is ready: node-2 is not ready to lead: it is 5000 entries behind",
        ),
        (
            |f| {
                f.kill(2);
            },
            "nobody of higher priority is ready: node-2 is not ready to lead: it is silent",
        ),
    ];
    for (change, expected) in cases {
        let (mut controller, mut facts) = (controller(), facts(3, 0));
        facts.prefer(2, 200);
        watch(&mut controller, &mut facts, 59);
        change(&mut facts);
        let decision = controller.decide(&facts);
        assert_eq!(decision.action, None, "{expected}");
        assert!(decision.sentence.contains(expected), "{} against {expected}", decision.sentence);
    }
}

#[test]
fn leadership_never_goes_to_who_may_not_lead() {
    type Change = fn(&mut Facts);
    let cases: [Change; 3] = [
        |f| f.members.get_mut(&id(2)).unwrap().voter = false,
        |f| {
            f.witness(2);
        },
        |f| {
            f.leaving.insert(id(2));
        },
    ];
    for change in cases {
        let (mut controller, mut facts) = (controller(), facts(4, 0));
        facts.prefer(2, 200);
        change(&mut facts);
        let moved = actions(watch(&mut controller, &mut facts, 600));
        assert!(!moved.iter().any(|action| matches!(action, Action::Transfer(_))), "{moved:?}");
    }
}

#[test]
fn the_highest_that_is_ready_takes_over() {
    let (mut controller, mut facts) = (controller(), facts(4, 0));
    facts.prefer(2, 150).prefer(3, 200).prefer(4, 250).lags(4, 9000);
    assert_eq!(actions(watch(&mut controller, &mut facts, 60)), [Action::Transfer(id(3))]);
}

#[test]
fn a_node_that_flaps_every_twenty_seconds_takes_over_at_most_once_an_hour() {
    for hold in [10, 60] {
        let mut controller = Controller::new(Settings { takeover_hold: SECOND * hold, ..settings() });
        let mut facts = facts(3, 0);
        facts.prefer(2, 200);
        let (mut takeovers, mut led_by_me) = (0, true);
        controller.leader_changed(SECOND, Some(&id(1)));
        for second in 1..3600 {
            facts.now = SECOND * second;
            if second % 40 == 20 {
                facts.kill(2);
                if !std::mem::replace(&mut led_by_me, true) {
                    facts.leader_since = facts.now;
                    facts.term.0 += 2;
                    controller.leader_changed(facts.now, Some(&id(1)));
                }
            } else if second % 40 == 0 {
                facts.revive(2);
            }
            if led_by_me && let Some(action) = controller.decide(&facts).action {
                assert_eq!(action, Action::Transfer(id(2)));
                takeovers += 1;
                led_by_me = false;
                controller.leader_changed(facts.now, Some(&id(2)));
            }
        }
        assert!(takeovers <= 1, "{takeovers} takeovers with a hold of {hold} s");
        assert_eq!(takeovers, u32::from(hold == 10), "the shorter hold lets it through once");
    }
}

#[test]
fn losing_the_leadership_soon_doubles_the_hold_and_patience_forgives() {
    let mut controller = controller();
    let minutes = |n: u32| SECOND * 60 * n;
    let hold = |c: &Controller, at| c.observed.hold(at, &id(2), &c.settings);
    controller.leader_changed(minutes(0), Some(&id(2)));
    controller.leader_changed(minutes(1), None);
    controller.leader_changed(minutes(1), Some(&id(2)));
    assert_eq!(hold(&controller, minutes(1)), minutes(1), "it never lost it");
    controller.leader_changed(minutes(2), Some(&id(1)));
    assert_eq!(hold(&controller, minutes(2)), minutes(2));
    controller.leader_changed(minutes(3), Some(&id(2)));
    controller.leader_changed(minutes(4), Some(&id(1)));
    assert_eq!(hold(&controller, minutes(4)), minutes(4));
    assert_eq!(hold(&controller, minutes(19)), minutes(2));
    assert_eq!(hold(&controller, minutes(34)), minutes(1));
}

#[test]
fn only_who_stays_up_is_forgiven() {
    let (mut controller, mut facts) = (controller(), facts(3, 0));
    let minutes = |n: u32| SECOND * 60 * n;
    controller.leader_changed(minutes(0), Some(&id(2)));
    controller.leader_changed(minutes(1), Some(&id(1)));
    facts.now = minutes(10);
    controller.decide(facts.kill(2));
    facts.now = minutes(20);
    controller.decide(facts.revive(2));
    assert_eq!(controller.observed.hold(minutes(34), &id(2), &controller.settings), minutes(2));
    assert_eq!(controller.observed.hold(minutes(35), &id(2), &controller.settings), minutes(1));
}

#[test]
fn leadership_comes_to_a_node_twice_an_hour_at_most() {
    let (mut controller, mut facts) = (controller(), facts(3, 0));
    let minutes = |n: u32| SECOND * 60 * n;
    for (minute, leader) in [(0, 1), (1, 2), (10, 1), (11, 2), (20, 1)] {
        controller.leader_changed(minutes(minute), Some(&id(leader)));
    }
    facts.prefer(2, 200).now = minutes(20);
    assert_eq!(actions(watch(&mut controller, &mut facts, 40 * 60)), []);
    assert!(controller.decide(&facts).sentence.ends_with("led 2 times lately, which is as often as it may"));
    assert_eq!(actions(watch(&mut controller, &mut facts, 60)), [Action::Transfer(id(2))]);
}

#[test]
fn a_witness_or_a_node_of_priority_zero_hands_over_at_once() {
    let mut as_witness = facts(3, 0);
    as_witness.witness(1);
    let decision = controller().decide(&as_witness);
    assert_eq!(decision.action, Some(Action::Transfer(id(2))));
    assert_eq!(decision.sentence, "hands over to node-2, since node-1 is a witness");

    let mut reluctant = facts(3, 0);
    reluctant.prefer(1, 0).prefer(3, 150).paused = true;
    assert_eq!(controller().decide(&reluctant).action, Some(Action::Transfer(id(3))));

    let mut alone = facts(3, 0);
    alone.witness(1).lags(2, 400).kill(3);
    assert_eq!(
        controller().decide(&alone).sentence,
        "no action: node-1 leads although it is a witness: no other node can lead now: \
         node-2 is not ready to lead: it is 400 entries behind; node-3 is not ready to lead: it is silent"
    );
}
