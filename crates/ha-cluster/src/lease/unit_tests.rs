//! Each rule by itself.

use std::time::Duration;

use ha_net::{Incarnation, NodeId};

use super::grant::{self, Grantor};
use super::hold::{self, Holder};
use super::{RenewalId, Terms};
use crate::Term;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn renewal(number: u64) -> RenewalId {
    RenewalId { incarnation: Incarnation(7), number }
}

fn holder() -> Holder {
    Holder::new(Terms::new(ms(1000)), ms(100), Incarnation(7))
}

fn hold(holder: &mut Holder, at: u64, input: hold::Input) -> Vec<hold::Output> {
    let mut outputs = Vec::new();
    holder.step(ms(at), input, &mut outputs);
    outputs
}

#[test]
fn the_holder_stops_before_others_act() {
    let terms = Terms::new(ms(1000));
    assert_eq!((terms.holder(), terms.others(), terms.margin()), (ms(940), ms(1060), ms(50)));
    assert_eq!(terms.renew_every(ms(5000)), ms(1000) / 3);
    assert_eq!(terms.renew_every(ms(50)), ms(50));
    // Also between the slowest and the fastest clock that is allowed.
    assert!(
        terms.holder().as_secs_f64() / 0.99 + terms.margin().as_secs_f64() < terms.others().as_secs_f64() / 1.01 + 1e-9
    );
}

#[test]
fn a_lease_counts_from_the_instant_its_request_left() {
    let mut holder = holder();
    assert_eq!(holder.deadline(), Some(ms(0)));
    assert_eq!(hold(&mut holder, 0, hold::Input::Tick), [hold::Output::Ask(renewal(1))]);
    assert_eq!(hold(&mut holder, 100, hold::Input::Tick), [hold::Output::Ask(renewal(2))]);
    assert!(!holder.held(ms(100)));
    let granted = |number| hold::Input::Granted { renewal: renewal(number), after: 0 };
    let outputs = hold(&mut holder, 150, granted(2));
    assert!(matches!(outputs[..], [hold::Output::Held(_)]), "{outputs:?}");
    assert_eq!(holder.valid_until(), Some(ms(1040)));
    // The answer to an older request comes late and changes nothing; one that was answered is not answered again.
    hold(&mut holder, 160, granted(1));
    hold(&mut holder, 170, granted(2));
    assert_eq!(holder.valid_until(), Some(ms(1040)));
    assert!(holder.held(ms(1039)) && !holder.held(ms(1040)), "the end is exclusive");
}

#[test]
fn a_pause_ends_the_lease_before_anything_is_stepped() {
    let mut holder = holder();
    hold(&mut holder, 0, hold::Input::Tick);
    hold(&mut holder, 1, hold::Input::Granted { renewal: renewal(1), after: 0 });
    hold(&mut holder, 900, hold::Input::Tick);
    assert!(!holder.held(ms(5000)));
    // The answer that waited in the socket is worth nothing, and the end is not passed over.
    let outputs = hold(&mut holder, 5000, hold::Input::Granted { renewal: renewal(2), after: 0 });
    let [hold::Output::Lost(sentence), hold::Output::Ask(_)] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(sentence.ends_with("(noticed 4060 ms after its end)"), "{sentence}");
    assert!(!holder.held(ms(5000)));
}

#[test]
fn a_late_answer_to_a_fresh_request_begins_a_new_lease_after_the_end_of_the_old_one() {
    let mut holder = holder();
    hold(&mut holder, 0, hold::Input::Tick);
    hold(&mut holder, 1, hold::Input::Granted { renewal: renewal(1), after: 0 });
    hold(&mut holder, 900, hold::Input::Tick);
    let outputs = hold(&mut holder, 950, hold::Input::Granted { renewal: renewal(2), after: 0 });
    assert!(matches!(outputs[..], [hold::Output::Lost(_), hold::Output::Held(_)]), "{outputs:?}");
    assert_eq!(holder.valid_until(), Some(ms(1840)));
}

#[test]
fn a_lease_counts_only_once_what_was_taken_before_is_applied() {
    let mut holder = holder();
    hold(&mut holder, 0, hold::Input::Tick);
    assert_eq!(hold(&mut holder, 1, hold::Input::Granted { renewal: renewal(1), after: 12 }), []);
    assert_eq!(hold(&mut holder, 2, hold::Input::Applied(11)), []);
    assert!(!holder.held(ms(2)));
    assert!(matches!(hold(&mut holder, 3, hold::Input::Applied(12))[..], [hold::Output::Held(_)]));
    assert_eq!(holder.valid_until(), Some(ms(940)));
}

#[test]
fn a_new_life_inherits_nothing() {
    let mut holder = Holder::new(Terms::new(ms(1000)), ms(100), Incarnation(8));
    hold(&mut holder, 0, hold::Input::Tick);
    hold(&mut holder, 1, hold::Input::Granted { renewal: renewal(1), after: 0 });
    assert_eq!(holder.valid_until(), None);
}

#[test]
fn who_gave_up_holds_nothing_and_asks_no_more() {
    let mut holder = holder();
    hold(&mut holder, 0, hold::Input::Tick);
    hold(&mut holder, 1, hold::Input::Granted { renewal: renewal(1), after: 0 });
    hold(&mut holder, 100, hold::Input::Tick);
    let outputs = hold(&mut holder, 110, hold::Input::GiveUp { why: "the disk failed".to_owned() });
    assert_eq!(outputs, [hold::Output::Lost("gave up its node lease: the disk failed".to_owned())]);
    assert_eq!(hold(&mut holder, 500, hold::Input::Granted { renewal: renewal(2), after: 0 }), []);
    assert!(!holder.held(ms(110)) && holder.deadline().is_none());
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn step(grantor: &mut Grantor, at: u64, input: grant::Input) -> Vec<grant::Output> {
    let mut outputs = Vec::new();
    grantor.step(ms(at), input, &mut outputs);
    outputs
}

fn ask(name: &str, number: u64) -> grant::Input {
    grant::Input::Renewal { node: node(name), renewal: renewal(number) }
}

fn granted(name: &str, number: u64, after: u64) -> grant::Output {
    grant::Output::Grant { node: node(name), renewal: renewal(number), after }
}

/// Leads since the instant 0; its first entry, of index 9, is applied at 10.
fn leader() -> Grantor {
    let mut grantor = Grantor::new(Terms::new(ms(1000)), ms(100));
    step(&mut grantor, 0, grant::Input::Nodes([node("a"), node("b")].into()));
    step(&mut grantor, 0, grant::Input::Lead { term: Term(3) });
    step(&mut grantor, 10, grant::Input::FirstEntryApplied { index: 9 });
    grantor
}

/// Steps as often as it wants to be, up to and including this instant.
fn run(grantor: &mut Grantor, until: u64) -> Vec<grant::Output> {
    let mut outputs = Vec::new();
    while let Some(deadline) = grantor.deadline().filter(|deadline| *deadline <= ms(until)) {
        grantor.step(deadline, grant::Input::Tick, &mut outputs);
        if !outputs.is_empty() {
            break;
        }
    }
    outputs
}

#[test]
fn many_renewals_share_a_round_that_began_after_they_arrived() {
    let mut grantor = leader();
    assert_eq!(step(&mut grantor, 20, ask("a", 1)), [grant::Output::ConfirmQuorum { round: 1 }]);
    assert_eq!(step(&mut grantor, 21, ask("b", 1)), [], "it waits for the next round");
    let outputs = step(&mut grantor, 25, grant::Input::Confirmed { round: 1 });
    assert_eq!(outputs, [granted("a", 1, 9), grant::Output::ConfirmQuorum { round: 2 }]);
    assert_eq!(step(&mut grantor, 26, grant::Input::Confirmed { round: 1 }), [], "a round ends once");
    assert_eq!(step(&mut grantor, 27, grant::Input::Confirmed { round: 2 }), [granted("b", 1, 9)]);
    assert_eq!(grantor.lapses_at(&node("a")), Some(ms(20 + 1060)));
}

#[test]
fn nothing_is_granted_without_leadership_a_first_entry_or_a_quorum() {
    let refused = |outputs: &[grant::Output]| matches!(outputs, [grant::Output::Refuse { .. }, ..]);
    let mut grantor = Grantor::new(Terms::new(ms(1000)), ms(100));
    step(&mut grantor, 0, grant::Input::Nodes([node("a")].into()));
    assert!(refused(&step(&mut grantor, 0, ask("a", 1))));
    step(&mut grantor, 0, grant::Input::Lead { term: Term(3) });
    assert_eq!(step(&mut grantor, 1, ask("a", 2)), []);
    assert_eq!(grantor.deadline(), None);
    let outputs = step(&mut grantor, 5, grant::Input::FirstEntryApplied { index: 4 });
    assert_eq!(outputs, [grant::Output::ConfirmQuorum { round: 1 }]);
    assert!(refused(&step(&mut grantor, 6, grant::Input::Unconfirmed { round: 1 })));
    assert_eq!(step(&mut grantor, 7, ask("a", 3)), [], "not at once again");
    assert_eq!(grantor.deadline(), Some(ms(106)));
    assert_eq!(step(&mut grantor, 106, grant::Input::Tick), [grant::Output::ConfirmQuorum { round: 2 }]);
    // A round without an end is given up, and its late end means nothing.
    assert_eq!(grantor.deadline(), Some(ms(106) + ms(1000) / 3));
    assert!(refused(&step(&mut grantor, 440, grant::Input::Tick)));
    assert_eq!(step(&mut grantor, 441, grant::Input::Confirmed { round: 2 }), []);
    step(&mut grantor, 442, ask("a", 4));
    assert!(refused(&step(&mut grantor, 443, grant::Input::StepDown)));
    assert!(refused(&step(&mut grantor, 444, ask("stranger", 1))));
}

#[test]
fn a_silent_node_expires_only_after_a_quorum_confirmed_this_leader_again() {
    let mut grantor = leader();
    step(&mut grantor, 100, ask("a", 1));
    step(&mut grantor, 101, grant::Input::Confirmed { round: 1 });
    // Node b never asked: it counts from the begin of the leadership.
    assert_eq!(grantor.lapses_at(&node("b")), Some(ms(1060)));
    assert_eq!(run(&mut grantor, 1059), []);
    assert_eq!(run(&mut grantor, 1060), [grant::Output::ConfirmQuorum { round: 2 }]);
    let outputs = step(&mut grantor, 1070, grant::Input::Confirmed { round: 2 });
    let [grant::Output::Expire { node: who, renewals: 0, term: Term(3), sentence }] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(
        (who.as_str(), sentence.as_str()),
        ("b", "b did not renew its lease for 1070 ms: proposes that it is over")
    );
}

#[test]
fn who_asks_at_the_last_moment_is_kept() {
    let mut grantor = leader();
    run(&mut grantor, 1059);
    let outputs = run(&mut grantor, 1060);
    assert_eq!(outputs, [grant::Output::ConfirmQuorum { round: 1 }]);
    step(&mut grantor, 1061, ask("b", 1));
    let outputs = step(&mut grantor, 1062, grant::Input::Confirmed { round: 1 });
    let expired: Vec<_> = outputs.iter().filter(|o| matches!(o, grant::Output::Expire { .. })).collect();
    assert!(matches!(expired[..], [grant::Output::Expire { node, .. }] if node.as_str() == "a"), "{outputs:?}");
    assert_eq!(step(&mut grantor, 1063, grant::Input::Confirmed { round: 2 }), [granted("b", 1, 9)]);
}

/// A leader that has proposed the expiry of b's lease at 1070.
fn expiring() -> Grantor {
    let mut grantor = leader();
    step(&mut grantor, 100, ask("a", 1));
    step(&mut grantor, 101, grant::Input::Confirmed { round: 1 });
    run(&mut grantor, 1060);
    let outputs = step(&mut grantor, 1070, grant::Input::Confirmed { round: 2 });
    assert!(matches!(outputs[..], [grant::Output::Expire { .. }]), "{outputs:?}");
    grantor
}

#[test]
fn no_renewal_is_granted_while_an_expiry_is_on_its_way() {
    let mut grantor = expiring();
    step(&mut grantor, 1080, ask("b", 1));
    let outputs = step(&mut grantor, 1081, grant::Input::Confirmed { round: 3 });
    assert!(matches!(outputs[..], [grant::Output::Refuse { .. }]), "{outputs:?}");
    step(&mut grantor, 1090, grant::Input::ExpirySettled { node: node("b"), applied: Some(40) });
    assert_eq!(grantor.lapses_at(&node("b")), None);
    assert!(!run(&mut grantor, 1150).iter().any(|o| matches!(o, grant::Output::Expire { .. })), "once is enough");
    step(&mut grantor, 1151, ask("b", 2));
    let outputs = step(&mut grantor, 1152, grant::Input::Confirmed { round: 4 });
    // The new lease counts only for a node that knows what it lost.
    assert!(outputs.contains(&granted("b", 2, 40)), "{outputs:?}");
    assert_eq!(grantor.lapses_at(&node("b")), Some(ms(1151 + 1060)));
}

#[test]
fn an_expiry_that_failed_is_tried_again() {
    let mut grantor = expiring();
    step(&mut grantor, 1080, grant::Input::ExpirySettled { node: node("b"), applied: None });
    // Answers that nobody asked for settle nothing.
    step(&mut grantor, 1080, grant::Input::ExpirySettled { node: node("b"), applied: Some(99) });
    step(&mut grantor, 1080, grant::Input::Settled { node: node("b"), applied: None });
    let mut again = Vec::new();
    for at in 1081..1200 {
        for output in step(&mut grantor, at, grant::Input::Tick) {
            if let grant::Output::ConfirmQuorum { round } = output {
                again.extend(step(&mut grantor, at, grant::Input::Confirmed { round }));
            }
        }
    }
    assert!(matches!(&again[..], [grant::Output::Expire { .. }, ..]), "{again:?}");
}

#[test]
fn no_renewal_is_granted_while_a_role_is_being_taken() {
    let mut grantor = leader();
    step(&mut grantor, 20, ask("a", 1));
    step(&mut grantor, 21, grant::Input::Proposed { node: node("a") });
    let outputs = step(&mut grantor, 22, grant::Input::Confirmed { round: 1 });
    assert!(matches!(outputs[..], [grant::Output::Refuse { .. }]), "also when it arrived before: {outputs:?}");
    step(&mut grantor, 30, grant::Input::Settled { node: node("a"), applied: Some(33) });
    step(&mut grantor, 31, ask("a", 2));
    assert_eq!(step(&mut grantor, 32, grant::Input::Confirmed { round: 2 }), [granted("a", 2, 33)]);
}

#[test]
fn a_new_leader_begins_every_lease_anew() {
    // The leadership changes at the very moment at which the old leader would have proposed an expiry.
    let mut grantor = leader();
    run(&mut grantor, 1060);
    step(&mut grantor, 1060, grant::Input::StepDown);
    assert_eq!(step(&mut grantor, 1061, grant::Input::Confirmed { round: 1 }), []);
    step(&mut grantor, 1062, grant::Input::Lead { term: Term(4) });
    step(&mut grantor, 1063, grant::Input::FirstEntryApplied { index: 50 });
    assert_eq!(grantor.lapses_at(&node("a")), Some(ms(1062 + 1060)));
    assert_eq!(run(&mut grantor, 1062 + 1059), []);
}

#[test]
fn time_in_which_the_leader_did_not_run_counts_against_nobody() {
    let mut grantor = leader();
    step(&mut grantor, 100, ask("b", 1));
    step(&mut grantor, 101, grant::Input::Confirmed { round: 1 });
    assert_eq!(run(&mut grantor, 500), []);
    // It wakes thirty seconds later, before the renewals that wait in its sockets are read.
    assert_eq!(step(&mut grantor, 30_500, grant::Input::Tick), []);
    let lapses = grantor.lapses_at(&node("b")).unwrap();
    assert!(lapses > ms(31_000) && lapses <= ms(30_500 + 1060), "{lapses:?}");
}

#[test]
fn a_node_that_left_is_not_renewed_and_is_remembered_until_its_lease_is_over() {
    let mut grantor = leader();
    step(&mut grantor, 20, ask("b", 1));
    step(&mut grantor, 21, grant::Input::Confirmed { round: 1 });
    step(&mut grantor, 22, grant::Input::Nodes([node("a")].into()));
    let outputs = step(&mut grantor, 23, ask("b", 2));
    assert!(matches!(outputs[..], [grant::Output::Refuse { why: "no longer a member", .. }]), "{outputs:?}");
    let mut expired = Vec::new();
    for at in (30..1200).step_by(10) {
        let inputs = std::iter::once(ask("a", at));
        for output in inputs.flat_map(|input| step(&mut grantor, at, input)).collect::<Vec<_>>() {
            if let grant::Output::ConfirmQuorum { round } = output {
                expired.extend(step(&mut grantor, at, grant::Input::Confirmed { round }));
            }
        }
    }
    expired.retain(|output| matches!(output, grant::Output::Expire { .. }));
    assert!(matches!(&expired[..], [grant::Output::Expire { node, .. }] if node.as_str() == "b"), "{expired:?}");
    step(&mut grantor, 1200, grant::Input::ExpirySettled { node: node("b"), applied: Some(70) });
    let outputs = step(&mut grantor, 1201, ask("b", 3));
    assert!(matches!(outputs[..], [grant::Output::Refuse { why: "not a member", .. }]), "{outputs:?}");
}

#[test]
fn a_node_must_be_left_alone_for_as_long_as_any_leader_may_have_granted() {
    let mut grantor = Grantor::new(Terms::new(ms(1000)), ms(100));
    step(&mut grantor, 0, grant::Input::Nodes([node("a"), node("b")].into()));
    step(&mut grantor, 10, grant::Input::Lead { term: Term(3) });
    assert_eq!(grantor.held_for(ms(10), Term(3), &node("a")), None, "what leaders before decided is not applied yet");
    step(&mut grantor, 11, grant::Input::FirstEntryApplied { index: 9 });
    assert_eq!(grantor.held(), Some((Term(3), [node("a"), node("b")].into())));
    step(&mut grantor, 20, ask("a", 1));
    step(&mut grantor, 21, grant::Input::Confirmed { round: 1 });
    assert_eq!(grantor.held_for(ms(100), Term(3), &node("a")), Some(ms(20 + 1060 - 100)));
    assert_eq!(grantor.held_for(ms(100), Term(2), &node("a")), None, "another leadership");
    // Neither is one free of whom this leader knows nothing: the one before may have renewed it.
    assert_eq!(grantor.held_for(ms(100), Term(3), &node("gone")), Some(ms(10 + 1060 - 100)));
    assert_eq!(grantor.held_for(ms(1070), Term(3), &node("gone")), Some(ms(0)));
    step(&mut grantor, 1080, grant::Input::StepDown);
    assert_eq!((grantor.held(), grantor.held_for(ms(1080), Term(3), &node("a"))), (None, None));
}

#[test]
fn who_is_silent_is_so_while_a_quorum_confirms_the_leader() {
    let mut grantor = leader();
    let silent = |grantor: &Grantor, at| -> Vec<String> {
        grantor.silent(ms(at)).into_iter().map(|node| node.to_string()).collect()
    };
    let nobody = Vec::<String>::new();
    assert_eq!(silent(&grantor, 900), nobody, "no quorum has confirmed this leader yet");
    for (number, at) in (1..).zip([100, 400, 700]) {
        run(&mut grantor, at - 1);
        step(&mut grantor, at, ask("a", number));
        step(&mut grantor, at + 1, grant::Input::Confirmed { round: number });
    }
    assert_eq!(silent(&grantor, 599), nobody);
    assert_eq!(silent(&grantor, 600), ["b"], "it never asked");
    // Without a quorum nobody could renew, nor can for a moment after it is back.
    step(&mut grantor, 800, ask("a", 4));
    step(&mut grantor, 801, grant::Input::Unconfirmed { round: 4 });
    assert_eq!(silent(&grantor, 1300), nobody);
    step(&mut grantor, 2000, ask("a", 5));
    step(&mut grantor, 2001, grant::Input::Confirmed { round: 5 });
    assert_eq!(silent(&grantor, 2499), nobody);
    assert_eq!(silent(&grantor, 2500), ["a", "b"]);
}

#[test]
fn an_older_life_is_refused_and_only_the_newest_request_waits() {
    let mut grantor = leader();
    step(&mut grantor, 20, ask("a", 1));
    assert_eq!(step(&mut grantor, 21, ask("a", 2)), []);
    let outputs = step(&mut grantor, 22, ask("a", 3));
    assert!(matches!(outputs[..], [grant::Output::Refuse { why: "a later request came", .. }]), "{outputs:?}");
    step(&mut grantor, 23, grant::Input::Confirmed { round: 1 });
    let older = RenewalId { incarnation: Incarnation(6), number: 9 };
    let outputs = step(&mut grantor, 24, grant::Input::Renewal { node: node("a"), renewal: older });
    assert!(matches!(outputs[..], [grant::Output::Refuse { why: "a later life of this node is known", .. }]));
}
