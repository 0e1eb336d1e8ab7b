//! Locks through the handle, on a real node.

#![allow(clippy::unwrap_used, reason = "helpers stand outside of the tests that use them")]

mod support;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::future::{Either, select};
use ha_state::{AcquireError, FencedKeysError, HoldError, LockGuard, LockLost, State};
use support::{One, in_time, until};

const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(20);

async fn take(state: &State, name: &str) -> LockGuard {
    in_time(state.lock(name).ttl(LONG).timeout(LONG).acquire()).await.unwrap()
}

#[tokio::test]
async fn one_holds_and_the_next_follows_when_it_is_given_back() {
    let one = One::start().await;
    let first = take(&one.state, "l").await;
    assert!(first.is_held() && first.remaining() > Some(LONG / 2));
    let once = one.state.lock("l").timeout(Duration::ZERO).acquire().await;
    assert_eq!(once.err(), Some(AcquireError::TimedOut));
    let soon = one.state.lock("l").timeout(Duration::from_millis(50)).acquire().await;
    assert_eq!(soon.err(), Some(AcquireError::TimedOut));
    let state = one.state.clone();
    let next = tokio::spawn(async move { take(&state, "l").await });
    until(&one, |state| state.usage().leases == 2).await;
    let info = one.state.lock_info("l").await.unwrap().unwrap();
    assert_eq!((info.waiters_count, info.token), (1, first.fencing_token()));
    assert!(info.holder.unwrap().remaining.is_some());
    let token = first.fencing_token();
    first.release().await.unwrap();
    let next = in_time(next).await.unwrap();
    assert!(next.fencing_token() > token);
    drop(next);
    until(&one, |state| state.usage().leases == 0 && state.usage().locks == 0).await;
}

#[tokio::test]
async fn a_lock_is_renewed_in_the_background_for_as_long_as_its_guard_lives() {
    let one = One::start().await;
    let guard = one.state.lock("l").ttl(SHORT).acquire().await.unwrap();
    let busy = one.state.lock("l").timeout(SHORT * 4).acquire().await;
    assert_eq!(busy.err(), Some(AcquireError::TimedOut));
    assert!(guard.is_held());
    // Nobody renews it any more, and nobody gives it back: as when its node is cut off.
    let id = guard.into_id();
    let next = in_time(one.state.lock("l").ttl(SHORT).timeout(LONG).acquire()).await.unwrap();
    assert!(next.fencing_token() > id.token);
    assert_eq!(one.state.release_lock("l", id).await, Err(HoldError::NotHeld));
    assert_eq!(one.state.renew_lock("l", id).await, Err(HoldError::NotHeld));
    assert!(next.is_held() && next.renew().await.is_ok());
}

#[tokio::test]
async fn a_waiter_lives_longer_than_the_length_of_its_lease() {
    let one = One::start().await;
    let guard = take(&one.state, "l").await;
    let state = one.state.clone();
    let waiter = tokio::spawn(async move { state.lock("l").ttl(SHORT).timeout(LONG).acquire().await });
    until(&one, |state| state.usage().leases == 2).await;
    tokio::time::sleep(SHORT * 4).await;
    guard.release().await.unwrap();
    let next = in_time(waiter).await.unwrap().unwrap();
    assert!(next.remaining() > Some(SHORT / 3));
}

#[tokio::test]
async fn whoever_keeps_its_place_is_before_those_that_came_later() {
    let one = One::start().await;
    let guard = take(&one.state, "l").await;
    let named = || one.state.lock("l").ttl(LONG).request("mine").keep_place();
    let soon = named().timeout(Duration::from_millis(50)).acquire().await;
    assert_eq!(soon.err(), Some(AcquireError::TimedOut));
    let state = one.state.clone();
    let later = tokio::spawn(async move { take(&state, "l").await });
    until(&one, |state| state.usage().leases == 3).await;
    let (mine, ()) = tokio::join!(in_time(named().timeout(LONG).acquire()), async {
        until(&one, |state| state.usage().leases == 3).await;
        guard.release().await.unwrap();
    });
    let mine = mine.unwrap();
    assert!(!later.is_finished());
    mine.release().await.unwrap();
    in_time(later).await.unwrap();
    // Without it nothing stays.
    let guard = take(&one.state, "m").await;
    let soon = one.state.lock("m").request("other").timeout(Duration::from_millis(50)).acquire().await;
    assert_eq!(soon.err(), Some(AcquireError::TimedOut));
    until(&one, |state| state.usage().leases == 1).await;
    drop(guard);
}

#[tokio::test]
async fn a_named_request_that_waits_already_can_be_tried_once() {
    let one = One::start().await;
    let guard = take(&one.state, "l").await;
    let named = |timeout| one.state.lock("l").ttl(LONG).request("mine").timeout(timeout);
    let soon = named(Duration::from_millis(50)).keep_place().acquire().await;
    assert_eq!(soon.err(), Some(AcquireError::TimedOut));
    let began = tokio::time::Instant::now();
    let once = named(Duration::ZERO).keep_place().acquire().await;
    assert_eq!((once.err(), one.state.usage().leases), (Some(AcquireError::TimedOut), 2), "it stays");
    assert_eq!(named(Duration::ZERO).acquire().await.err(), Some(AcquireError::TimedOut));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    until(&one, |state| state.usage().leases == 1).await;
    guard.release().await.unwrap();
    named(Duration::ZERO).acquire().await.unwrap();
}

#[tokio::test]
async fn whoever_hangs_up_and_asks_again_by_its_name_at_once_has_a_place() {
    let one = One::start().await;
    let named = || one.state.lock("l").ttl(LONG).timeout(LONG).request("mine");
    let guard = take(&one.state, "l").await;
    let mut first = Box::pin(named().acquire());
    let placed = until(&one, |state| state.usage().leases == 2);
    assert!(matches!(select(first.as_mut(), pin!(placed)).await, Either::Right(_)));
    // What the first one leaves behind is written after the second one asks.
    drop(first);
    let mut second = pin!(named().acquire());
    let too_soon = tokio::time::timeout(SHORT, second.as_mut()).await;
    assert!(too_soon.is_err(), "it was turned out: {:?}", too_soon.map(|waited| waited.err()));
    guard.release().await.unwrap();
    in_time(second).await.unwrap();
}

#[tokio::test]
async fn whoever_has_all_the_time_there_is_may_wait() {
    let one = One::start().await;
    let first = one.state.lock("l").timeout(Duration::MAX).acquire().await.unwrap();
    let state = one.state.clone();
    let next = tokio::spawn(async move { state.lock("l").timeout(Duration::MAX).acquire().await });
    until(&one, |state| state.usage().leases == 2).await;
    first.release().await.unwrap();
    in_time(next).await.unwrap().unwrap();
}

#[tokio::test]
async fn each_start_of_a_node_has_a_number_of_its_own() {
    let one = One::start().await;
    let first = one.cluster.start_number();
    let again = One::start_in(one.stop().await, |_| {}).await;
    assert_ne!(again.cluster.start_number(), first);
    let fresh = || One::start_in(tempfile::tempdir().unwrap(), |config| config.node_id = Some("n".parse().unwrap()));
    let (one, other) = (fresh().await, fresh().await);
    assert_ne!(one.cluster.start_number(), other.cluster.start_number(), "also of one name");
}

#[tokio::test]
async fn a_holder_that_was_frozen_knows_at_once_that_it_may_have_lost() {
    let one = One::start().await;
    let guard = take(&one.state, "l").await;
    one.clock.jump(LONG);
    assert_eq!(guard.check(), Err(LockLost), "before anything has told it");
    assert_eq!(guard.run(|_| async {}).await, Err(LockLost));
    assert_eq!(guard.renew().await, Err(HoldError::NotHeld));
    in_time(guard.lost()).await;
}

#[tokio::test]
async fn work_under_a_lock_ends_when_it_is_lost() {
    let one = One::start().await;
    let guard = take(&one.state, "l").await;
    assert_eq!(guard.run(|token| async move { token }).await, Ok(guard.fencing_token()));
    let (state, id) = (one.state.clone(), guard.lock_id());
    let taken = async { state.release_lock("l", id).await.unwrap() };
    let (ended, ()) = in_time(futures::future::join(guard.run(|_| std::future::pending::<()>()), taken)).await;
    assert_eq!(ended, Err(LockLost));
    assert!(!guard.is_held());
}

#[tokio::test]
async fn a_named_request_gets_its_grant_again() {
    let one = One::start().await;
    let named = || one.state.lock("l").ttl(LONG).timeout(Duration::ZERO).request("r");
    let id = named().acquire().await.unwrap().into_id();
    assert_eq!(named().acquire().await.unwrap().into_id(), id);
    let other = one.state.lock("l").ttl(LONG).timeout(Duration::ZERO).request("s").acquire().await;
    assert_eq!(other.err(), Some(AcquireError::TimedOut));
    let longer = named().ttl(LONG * 2).acquire().await;
    assert!(matches!(longer.err(), Some(AcquireError::RequestKey(_))));
    let somebody = named().owner("somebody").acquire().await;
    assert!(matches!(somebody.err(), Some(AcquireError::RequestKey(_))));
    let elsewhere = one.state.lock("m").ttl(LONG).request("r").acquire().await;
    assert!(matches!(elsewhere.err(), Some(AcquireError::RequestKey(_))));
    one.state.release_lock("l", id).await.unwrap();
    assert_eq!(named().acquire().await.err(), Some(AcquireError::Over));
    assert_eq!(one.state.usage().locks, 0);
}

#[tokio::test]
async fn a_named_request_that_was_cancelled_gets_its_lock_when_it_asks_again() {
    let one = One::start().await;
    for polls in 0..8 {
        let name = format!("r{polls}");
        let named = || one.state.lock("l").ttl(LONG).timeout(LONG).request(&*name);
        match cancelled_after(polls, named().acquire()).await {
            // As a caller that was not told.
            Some(guard) => drop(guard.unwrap().into_id()),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        in_time(named().acquire()).await.unwrap().release().await.unwrap();
    }
}

#[tokio::test]
async fn a_named_request_that_was_told_that_it_waited_in_vain_leaves_nothing() {
    let one = One::start().await;
    for round in 0..24 {
        let guard = take(&one.state, "l").await;
        let wait = Duration::from_millis(20);
        let waiter = one.state.lock("l").ttl(LONG).timeout(wait).request(format!("r{round}"));
        // The lock is given back when the wait ends, a little before or after.
        let giving = async {
            tokio::time::sleep(wait + Duration::from_micros(250 * round) - Duration::from_millis(3)).await;
            guard.release().await.unwrap();
        };
        let (waited, ()) = in_time(futures::future::join(waiter.acquire(), giving)).await;
        if let Ok(guard) = waited {
            guard.release().await.unwrap();
        }
        in_time(one.state.lock("l").ttl(LONG).timeout(LONG).acquire()).await.unwrap().release().await.unwrap();
    }
}

#[tokio::test]
async fn a_lock_delay_keeps_a_lock_after_its_holder_expired() {
    let one = One::start().await;
    let delay = Duration::from_millis(600);
    let guard = one.state.lock("l").ttl(SHORT).lock_delay(delay).acquire().await.unwrap();
    guard.into_id();
    until(&one, |state| state.usage().leases == 0).await;
    let expired = tokio::time::Instant::now();
    assert_eq!(one.state.usage().locks, 1);
    take(&one.state, "l").await;
    assert!(expired.elapsed() >= delay, "{:?}", expired.elapsed());
}

/// A future that is polled a few times, and dropped if it is not ready then.
async fn cancelled_after<F: Future>(polls: usize, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut polled = 0;
    poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

#[tokio::test]
async fn whoever_gives_up_at_any_await_leaves_nothing_behind() {
    let one = One::start().await;
    for contended in [false, true] {
        for polls in 0..8 {
            let holder = if contended { Some(take(&one.state, "l").await) } else { None };
            let acquire = one.state.lock("l").ttl(LONG).timeout(Duration::from_millis(300)).acquire();
            let outcome = cancelled_after(polls, acquire).await;
            if let Some(Ok(guard)) = outcome {
                let release = cancelled_after(polls % 3, guard.release()).await;
                assert!(release.is_none_or(|released| released.is_ok()));
            }
            drop(holder);
            // The lock can be had at once: far before any lease ends.
            drop(take(&one.state, "l").await);
            until(&one, |state| state.usage().leases == 0 && state.usage().locks == 0).await;
        }
    }
}

#[tokio::test]
async fn a_fence_of_keys_turns_a_late_holder_away() {
    let one = One::start().await;
    let first = take(&one.state, "l").await;
    let keys = one.state.fenced("fences/l").unwrap();
    let early = first.fencing_token();
    keys.put(early, "k", "first").await.unwrap();
    keys.put(early, "k", "first again").await.unwrap();
    first.release().await.unwrap();
    let second = take(&one.state, "l").await;
    keys.put(second.fencing_token(), "k", "second").await.unwrap();
    let late = keys.put(early, "k", "late").await;
    let Err(FencedKeysError::Stale(stale)) = late else { panic!("{late:?}") };
    assert_eq!((stale.token, stale.highest), (early, second.fencing_token()));
    assert_eq!(one.state.get("k").await.unwrap().unwrap().value, "second");
}

#[tokio::test]
async fn a_crowd_of_waiters_is_served_in_order() {
    let one = One::start().await;
    let guard = take(&one.state, "l").await;
    let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..200 {
        let (state, served) = (one.state.clone(), served.clone());
        tokio::spawn(async move {
            let guard = state.lock("l").ttl(LONG).timeout(LONG).acquire().await.unwrap();
            served.send((number, guard.fencing_token())).unwrap();
            guard.release().await.unwrap();
        });
        until(&one, |state| state.usage().leases == number + 2).await;
    }
    guard.release().await.unwrap();
    let mut last = None;
    for expected in 0..200 {
        let (number, token) = in_time(order.recv()).await.unwrap();
        assert_eq!(number, expected);
        assert!(Some(token) > last);
        last = Some(token);
    }
}
