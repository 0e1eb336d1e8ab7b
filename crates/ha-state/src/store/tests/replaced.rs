//! A state that a person saved takes the place of the one that is there.

use std::time::Duration;

use ha_cluster::Epoch;

use super::*;
use crate::ticket::Standing;

fn apply(store: &mut Store, epoch: u64, command: Command) {
    store.apply(Applied { epoch: Epoch(epoch), index: epoch }, command).unwrap();
}

/// Holds the lock `old` by lease 1 and `new` by lease 2; what is returned was saved between.
fn store_and_saved(store: &mut Store) -> Vec<u8> {
    apply(store, 1, put("a", "1"));
    apply(store, 2, acquire("old", 1));
    let saved: Vec<u8> = store.capture().flatten().collect();
    apply(store, 3, acquire("new", 2));
    apply(store, 4, put("a", "2"));
    saved
}

#[test]
fn every_watch_is_told_that_it_cannot_go_on_and_every_lost_lock_that_it_is_lost() {
    let mut store = Store::new();
    let tickets = [1, 2].map(|lease| store.hub().register(LeaseId(lease), Duration::from_secs(9), 0).0);
    let saved = store_and_saved(&mut store);
    let wake = store.hub().watch("", None).unwrap();
    let from = store.content().revision.next();
    assert!(tickets.iter().all(|ticket| matches!(ticket.standing(), Standing::Holder(_))));

    store.replace(Epoch(100), &saved).unwrap();
    let compacted = store.content().history.compacted();
    assert_eq!((store.content().revision, wake.pending()), (compacted, Some(compacted)));
    assert!(
        from <= compacted && compacted == Revision(100),
        "a watch from {from:?} would pass over what the replacement undid"
    );
    assert!(matches!(tickets[0].standing(), Standing::Holder(_)));
    assert_eq!(tickets[1].standing(), Standing::Gone);
}

#[test]
fn a_later_state_than_the_one_that_is_there_ends_watches_too() {
    let saved = {
        let mut store = Store::new();
        store_and_saved(&mut store);
        store.capture().flatten().collect::<Vec<u8>>()
    };
    let mut store = Store::new();
    apply(&mut store, 1, put("b", "1"));
    store.replace(Epoch(100), &saved).unwrap();
    let compacted = store.content().history.compacted();
    assert_eq!((store.content().revision, compacted), (Revision(100), Revision(100)), "also one of the saved cluster");
}

#[test]
fn no_watch_goes_on_from_what_a_forced_recovery_may_have_undone() {
    let mut store = Store::new();
    store_and_saved(&mut store);
    let ticket = store.hub().register(LeaseId(1), Duration::from_secs(9), 0).0;
    let wake = store.hub().watch("", None).unwrap();
    store.recovered(Applied { epoch: Epoch(100), index: 5 });
    assert_eq!((store.content().revision, store.content().history.compacted()), (Revision(100), Revision(100)));
    assert_eq!(wake.pending(), Some(Revision(100)));
    assert!(matches!(ticket.standing(), Standing::Holder(_)), "locks stay");
    let kept = store.content().keys.get("a").map(|found| found.value.clone());
    assert_eq!(kept.as_deref(), Some(&b"2"[..]), "and so do keys");
}
