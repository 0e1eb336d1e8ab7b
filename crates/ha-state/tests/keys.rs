//! Keys, leases and watches through the handle, on a real node.

mod support;

use std::time::Duration;

use ha_state::{
    Answer, ChangeError, Compare, Event, KeyError, LeaseError, Operation, PutOptions, RequestKeyError, Revision, State,
    Txn, TxnError, WatchError,
};
use support::{One, in_time, until};

fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Put(found) => format!("+{}", found.key),
        Event::Delete { key, .. } => format!("-{key}"),
    };
    events.iter().map(name).collect()
}

#[tokio::test]
async fn a_key_is_set_read_and_removed() {
    let one = One::start().await;
    let state = &one.state;
    let revision = state.put("k", "v").await.unwrap();
    let found = state.get("k").await.unwrap().unwrap();
    assert_eq!((&found.value[..], found.modified), (&b"v"[..], revision));
    assert_eq!(state.get_local("k"), Some(found));
    let refused = state.put_if("k", "w", Revision::ABSENT).await;
    assert_eq!(refused, Err(ChangeError::Condition { current: revision }));
    let next = state.put_if("k", "w", revision).await.unwrap();
    assert!(next > revision);
    assert!(state.delete("k").await.unwrap().is_some());
    assert_eq!(state.delete("k").await.unwrap(), None);
    assert_eq!(state.get("k").await.unwrap(), None);
    assert!(matches!(state.put("", "v").await, Err(ChangeError::Key(_))));
    assert!(matches!(state.put("k", vec![0; 1024 * 1024 + 1]).await, Err(ChangeError::ValueTooLong { .. })));
    one.cluster.stop().await;
}

#[tokio::test]
async fn pages_follow_one_another() {
    let one = One::start().await;
    for number in 0..7 {
        one.state.put(&format!("a/{number}"), "").await.unwrap();
    }
    one.state.put("b", "").await.unwrap();
    let (mut after, mut found) = (None::<String>, Vec::new());
    loop {
        let page = one.state.list("a/", after.as_deref(), 3).await.unwrap();
        found.extend(page.items.iter().map(|item| item.key.to_string()));
        after = found.last().cloned();
        if !page.more {
            break;
        }
        assert_eq!(page.items.len(), 3);
    }
    assert_eq!(found, (0..7).map(|number| format!("a/{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_named_request_is_done_once() {
    let one = One::start().await;
    let named = |name: &str| PutOptions { request: Some(name.to_owned()), ..PutOptions::default() };
    let first = one.state.put_with("k", "a", named("r")).await.unwrap();
    one.state.put("k", "b").await.unwrap();
    assert_eq!(one.state.put_with("k", "a", named("r")).await, Ok(first));
    assert_eq!(one.state.get("k").await.unwrap().unwrap().value, "b");
    let reused = one.state.put_with("k", "c", named("r")).await;
    assert_eq!(reused, Err(ChangeError::RequestKey(RequestKeyError::Reused)));
    let lease = one.state.grant_lease(Duration::from_secs(9), Some("r".to_owned())).await;
    assert_eq!(lease, Err(LeaseError::RequestKey(RequestKeyError::Reused)));
    let too_long = one.state.put_with("k", "c", named(&"r".repeat(300))).await;
    assert_eq!(too_long, Err(ChangeError::RequestKey(RequestKeyError::Length)));
}

#[tokio::test]
async fn a_watch_brings_every_change_once_and_in_order() {
    let one = One::start().await;
    let state = &one.state;
    let first = state.put("a/1", "x").await.unwrap();
    state.put("b/1", "x").await.unwrap();
    state.delete("a/1").await.unwrap();
    let mut past = state.watch_from("a/", first).unwrap();
    assert_eq!(names(&in_time(past.next()).await.unwrap()), ["+a/1", "-a/1"]);
    let mut new = state.watch("a/").unwrap();
    let both = Txn::new().then_put("a/2", "x").unwrap().then_put("a/3", "x").unwrap().then_put("b/2", "x").unwrap();
    let done = state.txn(both).await.unwrap();
    for watch in [&mut past, &mut new] {
        let events = in_time(watch.next()).await.unwrap();
        assert_eq!(names(&events), ["+a/2", "+a/3"], "one revision comes as a whole");
        assert!(events.iter().all(|event| event.revision() == done.revision));
    }
    let mut future = state.watch_from("", Revision(done.revision.0 + 2)).unwrap();
    state.put("c", "too early").await.unwrap();
    state.put("d", "").await.unwrap();
    assert_eq!(names(&in_time(future.next()).await.unwrap()), ["+d"]);
}

#[tokio::test]
async fn a_watch_of_the_forgotten_past_is_told_from_where_on_it_may_begin() {
    let one = One::start().await;
    let state = &one.state;
    let first = state.put("k", "a").await.unwrap();
    let mut quiet = state.watch("other").unwrap();
    let second = state.put("k", "b").await.unwrap();
    let mut behind = state.watch_from("k", first).unwrap();
    state.compact(second).await.unwrap();
    let compacted = WatchError::Compacted { revision: second };
    assert_eq!(state.watch_from("k", second).err(), Some(compacted.clone()));
    assert_eq!(in_time(behind.next()).await, Err(compacted));
    let mut now = state.watch_from("k", second.next()).unwrap();
    state.put("k", "c").await.unwrap();
    assert_eq!(names(&in_time(now.next()).await.unwrap()), ["+k"]);
    state.put("other", "").await.unwrap();
    assert_eq!(names(&in_time(quiet.next()).await.unwrap()), ["+other"], "it has missed nothing");
}

#[tokio::test]
async fn a_watch_goes_on_after_many_changes_that_do_not_concern_it() {
    let one = One::start().await;
    let start = one.state.put("wanted/1", "").await.unwrap();
    let many = (0..3000).map(|number| {
        let state = one.state.clone();
        async move { state.put(&format!("other/{number}"), "").await.unwrap() }
    });
    futures::future::join_all(many).await;
    one.state.put("wanted/2", "").await.unwrap();
    let mut watch = one.state.watch_from("wanted/", start).unwrap();
    let mut found = Vec::new();
    while found.len() < 2 {
        found.extend(names(&in_time(watch.next()).await.unwrap()));
    }
    assert_eq!(found, ["+wanted/1", "+wanted/2"]);
    let all = one.state.watch_from("", start).unwrap();
    let (mut all, mut count) = (all, 0);
    while count < 3002 {
        let events = in_time(all.next()).await.unwrap();
        assert!(events.len() <= ha_state::limits::WATCH_EVENTS_MAX);
        count += events.len();
    }
    assert_eq!(count, 3002);
}

#[tokio::test]
async fn a_transaction_that_only_reads_is_a_read_and_no_entry_of_the_log() {
    let one = One::start().await;
    let set = one.state.put("a", "x").await.unwrap();
    let look = |key| Txn::new().when(Compare::exists(key).unwrap()).then_get("a").unwrap().else_get("b").unwrap();
    let done = one.state.txn(look("a")).await.unwrap();
    assert_eq!((done.revision, done.succeeded), (set, true));
    assert!(matches!(&done.answers[..], [Answer::Got(Some(found))] if found.value == "x"));
    let done = one.state.txn(look("b")).await.unwrap();
    assert_eq!((done.revision, done.succeeded, done.answers), (set, false, vec![Answer::Got(None)]));
    assert_eq!(one.state.usage().revision, set);
    // Its answer is kept, so this one is on the log.
    let done = one.state.txn_once(look("a"), Some("asked".to_owned())).await.unwrap();
    assert_eq!(done.revision, Revision(set.0 + 1));
}

#[tokio::test]
async fn a_prefix_that_no_key_has_is_refused_before_anything_is_asked() {
    let one = One::start().await;
    let before = one.state.usage().revision;
    let prefix: std::sync::Arc<str> = "p".repeat(1025).into();
    for step in [Operation::DeletePrefix { prefix: prefix.clone() }, Operation::List { prefix, limit: 1 }] {
        for txn in [Txn::new().then(step.clone()), Txn::new().or_else(step)] {
            let refused = one.state.txn(txn).await;
            assert_eq!(refused, Err(ChangeError::Txn(TxnError::Prefix(KeyError::TooLong { bytes: 1025 }))));
        }
    }
    assert_eq!(one.state.usage().revision, before);
}

#[tokio::test]
async fn keys_of_a_lease_live_as_long_as_it_is_kept() {
    let one = One::start().await;
    let state = &one.state;
    let lease = state.lease(Duration::from_millis(300)).await.unwrap();
    let options = PutOptions { lease: Some(lease.id()), ..PutOptions::default() };
    state.put_with("here", "", options).await.unwrap();
    let mut watch = state.watch("here").unwrap();
    // Several lengths of the lease: it is renewed in the background.
    assert!(tokio::time::timeout(Duration::from_secs(1), watch.next()).await.is_err());
    assert!(lease.remaining().is_some());
    drop(lease);
    assert_eq!(names(&in_time(watch.next()).await.unwrap()), ["-here"]);

    let alone = state.grant_lease(Duration::from_millis(200), None).await.unwrap();
    state.put_with("there", "", PutOptions { lease: Some(alone), ..PutOptions::default() }).await.unwrap();
    until(&one, |state| state.get_local("there").is_none()).await;
    assert!(state.renew_lease(alone).await.is_err());
}

#[tokio::test]
async fn a_key_with_a_time_of_its_own_has_one_lease_and_ends_with_it() {
    let one = One::start().await;
    let state = &one.state;
    let with = |ttl: u64, request: Option<&str>| PutOptions {
        ttl: Some(Duration::from_millis(ttl)),
        request: request.map(str::to_owned),
        ..PutOptions::default()
    };
    for _ in 0..10 {
        state.put_with("here", "", with(60_000, None)).await.unwrap();
    }
    assert_eq!(state.usage().leases, 1);
    let lease = state.grant_lease(Duration::from_secs(9), None).await.unwrap();
    let both = PutOptions { lease: Some(lease), ..with(9, None) };
    assert_eq!(state.put_with("here", "", both).await, Err(ChangeError::LeaseAndTtl));
    assert_eq!(state.put_with("here", "", with(1, None)).await, Err(ChangeError::Ttl));
    let first = state.put_with("here", "", with(200, Some("r"))).await.unwrap();
    until(&one, |state| state.get_local("here").is_none()).await;
    assert_eq!(state.put_with("here", "", with(200, Some("r"))).await, Ok(first));
    let reused = state.put_with("here", "", with(300, Some("r"))).await;
    assert_eq!(reused, Err(ChangeError::RequestKey(RequestKeyError::Reused)));
    assert_eq!(state.get_local("here"), None);
}

#[tokio::test]
async fn where_the_room_is_off_nothing_is_followed() {
    let off = State::off("a witness");
    let reason = Some(WatchError::Off { reason: "a witness".to_owned() });
    assert_eq!((off.off_reason(), off.watch("").err()), (Some("a witness"), reason.clone()));
    assert_eq!(off.watch_from("", Revision(1)).err(), reason);
}

#[tokio::test]
async fn all_is_there_after_a_restart() {
    let one = One::start().await;
    let first = one.state.put("k", "a").await.unwrap();
    one.state.put("k", "b").await.unwrap();
    let folder = one.stop().await;
    let one = One::start_in(folder, |_| {}).await;
    assert_eq!(one.state.get("k").await.unwrap().unwrap().value, "b");
    let mut watch = one.state.watch_from("k", first).unwrap();
    assert_eq!(in_time(watch.next()).await.unwrap().len(), 2, "its past, too");
    let swapped = Txn::new().when(Compare::value("k", "b").unwrap()).then_put("k", "c").unwrap();
    assert!(one.state.txn(swapped).await.unwrap().succeeded);
}
