//! `ha lock` when its node does not answer.

#![allow(clippy::unwrap_used, reason = "a helper builds what the tests use")]

mod support;

use std::time::Duration;

use support::Running;
use support::fake::{Answer, Fake};
use tokio::time::Instant;

/// Far more than any of these takes, and far less than a change of anything else may take.
const SOON: Duration = Duration::from_secs(20);

fn granted() -> Answer {
    Answer::new(200, r#"{"lock_id": "7-1", "fencing_token": 7}"#)
}

fn not_given_back(fake: &Fake, ttl: &str) -> String {
    let reason = format!("{} did not answer within 2 seconds", fake.url);
    format!("ha: the lock l was not given back, and ends by its TTL of {ttl} seconds: {reason}\n")
}

#[test]
fn a_node_that_is_frozen_is_waited_for_no_longer_than_asked() {
    let fake = Fake::new(Vec::new());
    let began = Instant::now();
    let ended = Running::start(fake.command(&["lock", "l", "--timeout", "1", "--", "true"])).end();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let expected = format!("ha: {} did not answer within 4 seconds\n", fake.url);
    assert_eq!((ended.code, ended.err), (Some(1), expected));
    assert_eq!(fake.asked(), ["POST /v1/locks/l"]);
}

#[test]
fn a_node_that_knows_nothing_when_the_time_is_over_is_not_asked_again() {
    let unknown = || Answer {
        after: Duration::from_secs(1),
        ..Answer::new(504, r#"{"error": {"code": "outcome_unknown", "message": "no answer in time"}}"#)
    };
    let fake = Fake::new(vec![unknown(), unknown(), unknown()]);
    let ended = Running::start(fake.command(&["lock", "l", "--timeout", "1", "--", "true"])).end();
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), "ha: no answer in time\n"));
    assert_eq!(fake.asked(), ["POST /v1/locks/l"]);
}

#[test]
fn a_conflict_that_stays_is_not_asked_again() {
    let off = || Answer::new(409, r#"{"error": {"code": "state_off", "message": "shared state is off"}}"#);
    let fake = Fake::new(vec![off(), granted()]);
    let ended = Running::start(fake.command(&["lock", "l", "--timeout", "10", "--", "true"])).end();
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), "ha: shared state is off\n"));
    assert_eq!(fake.asked(), ["POST /v1/locks/l"]);
}

#[test]
fn a_node_that_does_not_let_wait_is_asked_with_pauses() {
    let code = ["place_lost", "not_acquired"].into_iter().cycle();
    let body = code.map(|code| format!(r#"{{"error": {{"code": "{code}", "message": "in vain"}}}}"#));
    let fake = Fake::new(body.take(100).map(|body| Answer::new(409, &body)).collect());
    let ended = Running::start(fake.command(&["lock", "l", "--timeout", "1", "--", "true"])).end();
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), "ha: in vain\n"));
    assert!((2..=20).contains(&fake.asked().len()), "{:?}", fake.asked());
}

#[test]
fn a_lock_that_is_lost_for_want_of_answers_is_not_given_back() {
    let fake = Fake::new(vec![granted()]);
    let began = Instant::now();
    let ended = Running::start(fake.command(&["lock", "l", "--ttl", "1.5", "--", "sleep", "1000"])).end();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let expected = "ha: the lock l was lost, and the command was stopped\n";
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), expected));
    let asked = fake.asked();
    assert!(asked.len() > 1 && asked[1..].iter().all(|asked| asked == "POST /v1/locks/l/7-1/renew"), "{asked:?}");
}

#[test]
fn what_a_frozen_node_is_not_given_back_is_said() {
    let fake = Fake::new(vec![granted()]);
    let began = Instant::now();
    let ended = Running::start(fake.command(&["lock", "l", "--", "sh", "-c", "exit 7"])).end();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!((ended.code, ended.err), (Some(7), not_given_back(&fake, "30")));
    assert_eq!(fake.asked().last().unwrap(), "DELETE /v1/locks/l/7-1");
}

#[test]
fn a_signal_ends_a_command_also_when_the_node_is_frozen() {
    for signal in support::ending_signals() {
        let fake = Fake::new(vec![granted()]);
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("started");
        let script = format!("trap 'exit 9' TERM; touch {}; while :; do sleep 0.05; done", marker.display());
        let running = Running::start(fake.command(&["lock", "l", "--ttl", "60.5", "--", "sh", "-c", &script]));
        fake.wait_until(|| marker.exists());
        let began = Instant::now();
        running.signal(signal);
        let ended = running.end();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!((ended.code, ended.err), (Some(9), not_given_back(&fake, "60.5")));
    }
}
