//! Who may give a place up that several have asked for by one name.

use super::*;
use crate::store::image;

/// The lock is somebody else's, and place 2 is asked for by these, one after the other.
fn asked_by(askers: &[u64]) -> Bench {
    let mut bench = Bench::default();
    bench.acquire("l", 1).unwrap();
    for asker in askers {
        assert_eq!(bench.apply(acquire_by("l", 2, *asker)), WAITS);
    }
    bench
}

fn give_up(asker: u64, held: bool) -> Command {
    Command::LockGiveUp { lease: LeaseId(2), asker, held }
}

#[test]
fn the_one_that_gives_up_first_leaves_the_place_to_the_one_that_asked_since() {
    let mut bench = asked_by(&[7, 8]);
    for held in [false, true] {
        assert_eq!(bench.apply_noting(give_up(7, held)), (Err(Refusal::NoLease), vec![]));
    }
    assert_eq!(bench.lock("l"), Some((Some(1), 1, vec![2])));
    bench.apply(give_up(8, false)).unwrap();
    assert_eq!(bench.lock("l"), Some((Some(1), 1, vec![])));
}

#[test]
fn a_late_end_of_one_takes_no_lock_away_from_another() {
    let mut bench = asked_by(&[7, 8]);
    bench.apply(release("l", 1, 1)).unwrap();
    assert_eq!(bench.lock("l"), Some((Some(2), 4, vec![])));
    // Who asked last is in a snapshot, too.
    bench.content = image::decode(&encoded(&bench.content)).unwrap();
    assert_eq!(bench.apply(give_up(7, true)), Err(Refusal::NoLease));
    assert_eq!(bench.apply(acquire_by("l", 2, 8)), held(4));
}

#[test]
fn the_end_of_a_call_does_not_meet_the_next_one_of_the_same_name() {
    let mut bench = asked_by(&[7]);
    bench.apply(give_up(7, false)).unwrap();
    assert_eq!(bench.apply(acquire_by("l", 2, 8)), WAITS);
    assert_eq!(bench.apply(give_up(7, true)), Err(Refusal::NoLease), "it was there before");
    assert_eq!(bench.lock("l"), Some((Some(1), 1, vec![2])));
}

#[test]
fn a_lock_that_came_too_late_is_taken_back_if_its_caller_was_told_so() {
    let mut bench = asked_by(&[7, 7]);
    bench.apply(release("l", 1, 1)).unwrap();
    assert_eq!(bench.apply(give_up(7, false)), Err(Refusal::NoLease), "it may ask again");
    bench.apply(give_up(7, true)).unwrap();
    assert_eq!(bench.lock("l"), None);
    assert_eq!(bench.apply(acquire_by("l", 2, 8)), Err(Refusal::LockOver));
}

#[test]
fn a_place_of_an_unknown_asker_is_nobodys_to_give_up() {
    let mut bench = asked_by(&[7]);
    let Command::LockAcquireBy { request, fingerprint, acquire, .. } = acquire_by("l", 2, 7) else { panic!() };
    bench.apply(Command::LockAcquireOnce { request, fingerprint, acquire }).unwrap();
    assert_eq!(bench.apply(give_up(7, true)), Err(Refusal::NoLease));
    bench.apply(Command::LeaseGrant { lease: LeaseId(3), ttl_ms: 1000 }).unwrap();
    assert_eq!(bench.apply(Command::LockGiveUp { lease: LeaseId(3), asker: 0, held: true }), Err(Refusal::NoLease));
}
