//! A hand-over, to each of its ends.

use std::time::Duration;

use super::tests::{facts, id};
use super::transfer::{Input, Output, Patience, Transfer};
use super::{Facts, TransferRefusal};
use crate::Term;

const PATIENCE: Patience = Patience { catch_up: Duration::from_millis(1000), attempt: Duration::from_millis(100) };

fn begin(facts: &Facts, wanted: Option<usize>) -> (Transfer, Vec<Output>) {
    let mut transfer = Transfer::new(facts, wanted.map(id).as_ref(), PATIENCE).unwrap();
    let mut outputs = Vec::new();
    transfer.step(facts, Input::Look, &mut outputs);
    (transfer, outputs)
}

fn look(transfer: &mut Transfer, facts: &mut Facts, at: u64) -> Vec<Output> {
    facts.now = Duration::from_millis(at);
    let mut outputs = Vec::new();
    transfer.step(facts, Input::Look, &mut outputs);
    outputs
}

fn leader(transfer: &mut Transfer, facts: &Facts, node: Option<usize>, term: u64) -> Vec<Output> {
    let mut outputs = Vec::new();
    transfer.step(facts, Input::Leader { node: node.map(id), term: Term(term) }, &mut outputs);
    outputs
}

fn triggered(outputs: &[Output]) -> Option<String> {
    outputs.iter().find_map(|output| match output {
        Output::Trigger { to, .. } => Some(to.to_string()),
        _ => None,
    })
}

#[test]
fn it_triggers_and_ends_when_the_target_leads() {
    let facts = facts(3, 0);
    let (mut transfer, outputs) = begin(&facts, Some(3));
    assert_eq!(triggered(&outputs).unwrap(), "node-3");
    assert_eq!(leader(&mut transfer, &facts, Some(1), 1), [], "the old term is no news");
    assert_eq!(leader(&mut transfer, &facts, Some(3), 2), [Output::Report(Ok(id(3))), Output::Over]);
    assert_eq!(transfer.deadline(), None);
    assert_eq!(leader(&mut transfer, &facts, Some(2), 3), [], "it is over once");
}

#[test]
fn nothing_is_triggered_before_the_target_has_the_log() {
    let mut facts = facts(3, 0);
    facts.lags(3, 200);
    let (mut transfer, outputs) = begin(&facts, Some(3));
    assert_eq!(outputs, []);
    facts.lags(3, 17);
    assert_eq!(look(&mut transfer, &mut facts, 10), []);
    facts.lags(3, 16);
    assert_eq!(triggered(&look(&mut transfer, &mut facts, 20)).unwrap(), "node-3");
}

#[test]
fn a_target_that_lags_or_dies_before_the_trigger_costs_nothing() {
    let mut facts = facts(3, 0);
    facts.lags(3, 200);
    let (mut transfer, _) = begin(&facts, Some(3));
    assert_eq!(transfer.deadline(), Some(PATIENCE.catch_up));
    let failed = Output::Report(Err("node-3 is still 200 entries behind".to_owned()));
    assert_eq!(look(&mut transfer, &mut facts, 1000), [failed, Output::Over]);

    let (mut transfer, _) = begin(&facts, Some(3));
    facts.kill(3);
    let failed = Output::Report(Err("node-3 is not ready to lead: it is silent".to_owned()));
    assert_eq!(look(&mut transfer, &mut facts, 1001), [failed, Output::Over]);

    facts.revive(3);
    let (mut transfer, _) = begin(&facts, Some(3));
    let failed = Output::Report(Err("this node lost the leadership before the transfer began".to_owned()));
    assert_eq!(leader(&mut transfer, &facts, None, 2), [failed, Output::Over]);
}

#[test]
fn a_silent_target_is_replaced_by_another_and_the_caller_is_told() {
    let mut facts = facts(3, 0);
    let (mut transfer, _) = begin(&facts, Some(3));
    assert_eq!(transfer.deadline(), Some(PATIENCE.attempt));
    assert_eq!(look(&mut transfer, &mut facts, 99), []);
    let outputs = look(&mut transfer, &mut facts, 100);
    assert_eq!(outputs[0], Output::Report(Err("node-3 did not take over in time".to_owned())));
    assert_eq!(triggered(&outputs).unwrap(), "node-2", "writes must not stand still");
    assert_eq!(leader(&mut transfer, &facts, Some(2), 2), [Output::Over], "it was reported already");
}

#[test]
fn any_new_leader_will_do_when_none_was_named_but_not_this_one_again() {
    let mut facts = facts(3, 0);
    let (mut transfer, outputs) = begin(&facts, None);
    assert_eq!(triggered(&outputs).unwrap(), "node-2");
    assert_eq!(triggered(&look(&mut transfer, &mut facts, 100)).unwrap(), "node-3");
    assert_eq!(leader(&mut transfer.clone(), &facts, Some(2), 2), [Output::Report(Ok(id(2))), Output::Over]);
    let again = Output::Report(Err("node-1 leads instead of node-3".to_owned()));
    assert_eq!(leader(&mut transfer, &facts, Some(1), 2), [again, Output::Over]);
}

#[test]
fn attempts_go_round_ever_more_slowly_until_a_new_term_ends_them() {
    let mut facts = facts(3, 0);
    facts.witness(3);
    let (mut transfer, outputs) = begin(&facts, None);
    let mut targets = vec![triggered(&outputs).unwrap()];
    let (mut reports, mut at) = (0, Vec::new());
    for _ in 0..5 {
        at.push(transfer.deadline().unwrap().as_millis() as u64);
        let outputs = look(&mut transfer, &mut facts, *at.last().unwrap());
        reports += outputs.iter().filter(|o| matches!(o, Output::Report(Err(_)))).count();
        targets.extend(triggered(&outputs));
    }
    // The witness is the last resort, and it would hand over at once.
    assert_eq!(targets, ["node-2", "node-3", "node-2", "node-3", "node-2", "node-3"]);
    assert_eq!(at, [100, 300, 700, 1500, 2300]);
    assert_eq!(reports, 1);
    assert_eq!(leader(&mut transfer, &facts, Some(3), 2), [Output::Over]);
}

#[test]
fn with_nobody_else_in_reach_the_same_is_tried_again() {
    let mut facts = facts(3, 0);
    let (mut transfer, _) = begin(&facts, Some(3));
    facts.kill(2);
    assert_eq!(triggered(&look(&mut transfer, &mut facts, 100)).unwrap(), "node-3");
    facts.kill(3);
    assert_eq!(triggered(&look(&mut transfer, &mut facts, 300)).unwrap(), "node-3");
}

#[test]
fn a_leadership_that_is_gone_needs_no_more_attempts() {
    let mut facts = facts(3, 0);
    let (mut transfer, _) = begin(&facts, None);
    assert_eq!(leader(&mut transfer, &facts, None, 2), []);
    let mut late = transfer.clone();
    assert_eq!(leader(&mut transfer, &facts, Some(2), 2), [Output::Report(Ok(id(2))), Output::Over]);
    let unknown = Output::Report(Err("this node leads no more, and no new leader is known yet".to_owned()));
    assert_eq!(look(&mut late, &mut facts, 60_000), [unknown, Output::Over]);
}

#[test]
fn an_ineligible_target_is_refused_at_once() {
    let mut facts = facts(3, 0);
    facts.witness(2);
    let refusal = Transfer::new(&facts, Some(&id(2)), PATIENCE).unwrap_err();
    assert!(matches!(refusal, TransferRefusal::NotEligible { .. }), "{refusal}");
    facts.busy = Some("a transfer");
    assert!(matches!(Transfer::new(&facts, None, PATIENCE), Err(TransferRefusal::Busy { .. })));
}
