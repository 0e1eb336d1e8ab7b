use super::*;
use crate::limits::WAITERS_MAX;
use crate::store::image;
use crate::txn::{Compare, Txn};

#[test]
fn waiters_are_served_in_order_and_each_token_is_higher() {
    let mut bench = Bench::default();
    assert_eq!(bench.acquire("l", 1), held(1));
    assert_eq!(bench.acquire("l", 2), WAITS);
    assert_eq!(bench.acquire("l", 3), WAITS);
    assert_eq!(bench.acquire("other", 4), held(4));
    let (reply, told) = bench.apply_noting(release("l", 1, 1));
    assert_eq!(reply, Ok(Done::Plain));
    let granted = LeaseChange::Holds { lease: LeaseId(2), token: FencingToken(5) };
    assert_eq!(told, [LeaseChange::Ended { lease: LeaseId(1) }, granted], "one is told, no herd");
    assert_eq!(bench.lock("l"), Some((Some(2), 5, vec![3])));
    bench.apply(release("l", 2, 5)).unwrap();
    bench.apply(release("l", 3, 6)).unwrap();
    assert_eq!(bench.lock("l"), None, "nobody wants it: nothing is kept");
}

#[test]
fn asking_again_gives_the_same_place() {
    let mut bench = Bench::default();
    assert_eq!(bench.acquire("l", 1), held(1));
    assert_eq!(bench.acquire("l", 1), held(1));
    assert_eq!(bench.acquire("l", 2), WAITS);
    assert_eq!(bench.acquire("l", 2), WAITS);
    bench.apply(release("l", 1, 1)).unwrap();
    assert_eq!(bench.acquire("l", 2), held(5), "the token of its grant");
    assert_eq!(bench.acquire("other", 2), Err(Refusal::LeaseTaken));
}

#[test]
fn asking_again_is_as_good_as_a_renewal() {
    let mut bench = Bench::default();
    bench.acquire("l", 1).unwrap();
    bench.acquire("l", 2).unwrap();
    // Whoever asks again counts its lease from then on: an expiry that was decided before must not end it.
    bench.acquire("l", 1).unwrap();
    bench.acquire("l", 2).unwrap();
    bench.apply(expire(&[(1, 0), (2, 0)])).unwrap();
    assert_eq!(bench.lock("l"), Some((Some(1), 1, vec![2])));
    bench.apply(expire(&[(1, 1), (2, 1)])).unwrap();
    assert_eq!(bench.lock("l"), None);
}

#[test]
fn a_release_under_a_request_name_is_answered_again_and_done_once() {
    let mut bench = Bench::default();
    bench.acquire("l", 1).unwrap();
    let once = |lease, token| Command::Once {
        request: "r".into(),
        fingerprint: token,
        command: Box::new(release("l", lease, token)),
    };
    bench.apply(once(1, 1)).unwrap();
    bench.acquire("l", 2).unwrap();
    assert_eq!(bench.apply(once(1, 1)), Ok(Done::Plain), "as the first time");
    assert_eq!(bench.lock("l"), Some((Some(2), 3, vec![])), "and the next holder keeps it");
    assert_eq!(bench.apply(once(2, 3)), Err(Refusal::RequestKeyReused));
}

fn acquire_once(lock: &str, lease: u128, request: &str) -> Command {
    let Command::LockAcquire(acquire) = acquire(lock, lease) else { unreachable!() };
    Command::LockAcquireOnce { request: request.into(), fingerprint: u64::from(lock.as_bytes()[0]), acquire }
}

#[test]
fn a_request_name_is_given_a_lock_once() {
    let mut bench = Bench::default();
    let first = acquire_once("l", 1, "r");
    assert_eq!(bench.apply(first.clone()), held(1));
    assert_eq!(bench.apply(first.clone()), held(1), "the same grant while it lasts");
    bench.apply(release("l", 1, 1)).unwrap();
    assert_eq!(bench.apply(first.clone()), Err(Refusal::LockOver));
    assert_eq!(bench.lock("l"), None, "and nobody holds it unknowingly");
    let second = acquire_once("l", 2, "s");
    bench.apply(second.clone()).unwrap();
    bench.apply(expire(&[(2, 0)])).unwrap();
    assert_eq!(bench.apply(second), Err(Refusal::LockOver));
}

#[test]
fn a_request_name_that_waited_is_given_a_lock_once_too() {
    let mut bench = Bench::default();
    bench.acquire("l", 1).unwrap();
    let named = acquire_once("l", 2, "r");
    assert_eq!(bench.apply(named.clone()), WAITS);
    assert_eq!(bench.apply(named.clone()), WAITS, "one place");
    // All of it is in a snapshot.
    bench.content = image::decode(&encoded(&bench.content)).unwrap();
    bench.apply(release("l", 1, 1)).unwrap();
    assert_eq!(bench.lock("l"), Some((Some(2), 4, vec![])));
    bench.apply(release("l", 2, 4)).unwrap();
    bench.content = image::decode(&encoded(&bench.content)).unwrap();
    assert_eq!(bench.apply(named), Err(Refusal::LockOver));
}

#[test]
fn a_request_name_that_was_given_nothing_may_ask_again() {
    let mut bench = Bench::default();
    bench.acquire("l", 1).unwrap();
    let named = acquire_once("l", 2, "r");
    assert_eq!(bench.apply(named.clone()), WAITS);
    bench.apply(Command::LockLeave { lease: LeaseId(2) }).unwrap();
    assert_eq!(bench.lock("l"), Some((Some(1), 1, vec![])));
    assert_eq!(bench.apply(named.clone()), WAITS);
    bench.apply(release("l", 1, 1)).unwrap();
    assert_eq!(bench.apply(Command::LockLeave { lease: LeaseId(2) }), Err(Refusal::NoLease), "it has the lock");
    assert_eq!(bench.apply(named), held(5));
}

#[test]
fn a_request_name_is_for_one_command() {
    let mut bench = Bench::default();
    let once = |command| Command::Once { request: "r".into(), fingerprint: 7, command: Box::new(command) };
    bench.apply(acquire_once("l", 1, "r")).unwrap();
    assert_eq!(bench.apply(acquire_once("m", 2, "r")), Err(Refusal::RequestKeyReused));
    assert_eq!(bench.apply(once(put("k", "v"))), Err(Refusal::RequestKeyReused));
    assert_eq!((bench.lock("m"), bench.value("k")), (None, None));
    let refused = acquire_once("l", 3, "s");
    let Command::LockAcquireOnce { acquire, .. } = refused.clone() else { panic!() };
    let at_once = Acquire { waits: false, ..acquire };
    let refused = Command::LockAcquireOnce { request: "s".into(), fingerprint: 1, acquire: at_once };
    assert_eq!(bench.apply(refused), Err(Refusal::Taken));
    assert_eq!(bench.apply(acquire_once("m", 4, "s")), Err(Refusal::RequestKeyReused), "also after a refusal");
}

#[test]
fn what_is_no_longer_ones_own_is_neither_renewed_nor_released() {
    let mut bench = Bench::default();
    bench.acquire("l", 1).unwrap();
    bench.acquire("l", 2).unwrap();
    bench.apply(expire(&[(1, 0)])).unwrap();
    assert_eq!(bench.lock("l"), Some((Some(2), 3, vec![])));
    let renew = |lease, token| Command::LockRenew { lock: key("l"), lease: LeaseId(lease), token: FencingToken(token) };
    for (lease, token) in [(1, 1), (1, 3), (2, 1), (9, 9)] {
        assert_eq!(bench.apply(release("l", lease, token)), Err(Refusal::NotHeld));
        assert_eq!(bench.apply(renew(lease, token)), Err(Refusal::NotHeld));
    }
    assert_eq!(bench.lock("l"), Some((Some(2), 3, vec![])));
    bench.apply(renew(2, 3)).unwrap();
    bench.apply(expire(&[(2, 0)])).unwrap();
    assert!(bench.lock("l").is_some(), "it was renewed");
}

#[test]
fn a_waiter_whose_lease_ends_leaves_the_queue() {
    let mut bench = Bench::default();
    for lease in 1..=4 {
        bench.acquire("l", lease).unwrap();
    }
    bench.apply(expire(&[(3, 0)])).unwrap();
    bench.apply(Command::LeaseEnd { lease: LeaseId(2) }).unwrap();
    assert_eq!(bench.lock("l"), Some((Some(1), 1, vec![4])));
}

#[test]
fn a_holder_and_waiters_that_expire_together_leave_one_grant() {
    let mut bench = Bench::default();
    for lease in 1..=4 {
        bench.acquire("l", lease).unwrap();
    }
    let (_, told) = bench.apply_noting(expire(&[(1, 0), (2, 0), (3, 0)]));
    assert_eq!(bench.lock("l"), Some((Some(4), 5, vec![])));
    let grants = told.iter().filter(|change| matches!(change, LeaseChange::Holds { .. })).count();
    assert_eq!(grants, 1, "two would have one token");
}

#[test]
fn trying_once_leaves_nothing_behind() {
    let mut bench = Bench::default();
    bench.acquire("l", 1).unwrap();
    let Command::LockAcquire(asked) = acquire("l", 2) else { panic!() };
    let once = Command::LockAcquire(Acquire { waits: false, ..asked });
    assert_eq!(bench.apply(once.clone()), Err(Refusal::Taken));
    assert_eq!((bench.content.leases.len(), bench.lock("l")), (1, Some((Some(1), 1, vec![]))));
    bench.apply(release("l", 1, 1)).unwrap();
    assert_eq!(bench.apply(once), held(4));
}

#[test]
fn after_an_expired_holder_the_lock_may_stay_taken_for_a_while() {
    let mut bench = Bench::default();
    let Command::LockAcquire(asked) = acquire("l", 1) else { panic!() };
    bench.apply(Command::LockAcquire(Acquire { delay_ms: 500, ..asked })).unwrap();
    bench.acquire("l", 2).unwrap();
    let (_, told) = bench.apply_noting(expire(&[(1, 0)]));
    let began = LeaseChange::DelayBegan { lock: key("l"), token: FencingToken(1), delay_ms: 500 };
    assert!(told.contains(&began), "{told:?}");
    assert_eq!(bench.lock("l"), Some((None, 1, vec![2])));
    assert_eq!(bench.acquire("l", 3), WAITS);
    let over = |token| Command::LockDelaysOver { locks: vec![(key("l"), FencingToken(token))] };
    bench.apply(over(9)).unwrap();
    assert_eq!(bench.lock("l"), Some((None, 1, vec![2, 3])), "the delay of another holder");
    bench.apply(over(1)).unwrap();
    assert_eq!(bench.lock("l"), Some((Some(2), 6, vec![3])));
    bench.apply(over(1)).unwrap();
    assert_eq!(bench.lock("l"), Some((Some(2), 6, vec![3])), "it is over already");
}

#[test]
fn a_transaction_can_depend_on_a_lock() {
    let mut bench = Bench::default();
    bench.acquire("l", 1).unwrap();
    bench.acquire("l", 2).unwrap();
    let guarded = |token| {
        let txn = Txn::new().when(Compare::held("l", FencingToken(token)).unwrap());
        Command::Txn(txn.then_put("k", format!("by {token}")).unwrap())
    };
    bench.apply(guarded(1)).unwrap();
    assert_eq!(bench.value("k").as_deref(), Some("by 1"));
    bench.apply(expire(&[(1, 0)])).unwrap();
    bench.apply(guarded(4)).unwrap();
    bench.apply(guarded(1)).unwrap();
    assert_eq!(bench.value("k").as_deref(), Some("by 4"), "a holder that wakes up late changes nothing");
}

#[test]
fn the_queue_is_bounded() {
    let mut bench = Bench::default();
    for lease in 0..=WAITERS_MAX as u128 {
        bench.acquire("l", lease).unwrap();
    }
    assert_eq!(bench.acquire("l", u128::MAX), Err(Refusal::TooManyWaiters));
    assert_eq!(bench.acquire("other", u128::MAX), held(bench.revision().0));
}
