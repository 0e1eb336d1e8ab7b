use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::store::image;
use crate::txn::{Compare, Operation, Txn};

const NAMES: [&str; 5] = ["a", "a/1", "a/2", "b", "b/1"];
const LOCKS: [&str; 2] = ["l", "m"];

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn command() -> impl Strategy<Value = Command> {
    let value = || prop::sample::select(&["", "x", "yy"][..]);
    let lease = || prop::option::of(prop_oneof![0..3_u128, 9..12_u128]);
    let revision = || prop::option::of((0..6_u64).prop_map(Revision));
    let lock = || prop::sample::select(&LOCKS[..]);
    let operation = prop_oneof![
        (name(), value(), lease()).prop_map(|(n, v, l)| Operation::Put {
            key: key(n),
            value: v.into(),
            lease: l.map(LeaseId)
        }),
        name().prop_map(|n| Operation::Delete { key: key(n) }),
        prop::sample::select(&["a", "b/", ""][..]).prop_map(|p| Operation::DeletePrefix { prefix: p.into() }),
        name().prop_map(|n| Operation::Get { key: key(n) }),
    ];
    let operations = prop::collection::vec(operation, 0..4);
    let txn = (name(), any::<bool>(), operations).prop_map(|(n, exists, then)| {
        let compare = if exists { Compare::exists(n) } else { Compare::absent(n) };
        Command::Txn(Txn { compare: vec![compare.unwrap()], then, or_else: vec![] })
    });
    prop_oneof![
        4 => (name(), value(), lease(), revision()).prop_map(|(n, v, l, r)| put_with(n, v, l, r)),
        3 => (name(), value(), 9..12_u128, revision()).prop_map(|(n, v, l, r)| put_leased(n, v, l, r)),
        2 => (name(), revision()).prop_map(|(n, if_revision)| Command::Delete { key: key(n), if_revision }),
        2 => txn,
        1 => (0..3_u128).prop_map(|l| Command::LeaseGrant { lease: LeaseId(l), ttl_ms: 1000 }),
        1 => prop::collection::vec(0..12_u128, 0..4)
            .prop_map(|l| Command::LeaseRenew { leases: l.into_iter().map(LeaseId).collect() }),
        2 => prop::collection::vec((0..12_u128, 0..2_u64), 1..6).prop_map(|leases| expire(&leases)),
        1 => (0..12_u128).prop_map(|l| Command::LeaseEnd { lease: LeaseId(l) }),
        4 => (lock(), 3..9_u128, 0..2_u32, any::<bool>()).prop_map(|(l, lease, delay, waits)| {
            let Command::LockAcquire(asked) = acquire(l, lease) else { unreachable!() };
            Command::LockAcquire(Acquire { delay_ms: delay * 100, waits, ..asked })
        }),
        2 => (lock(), 3..9_u128, "[a-c]").prop_map(|(l, lease, r)| {
            let Command::LockAcquire(acquire) = acquire(l, lease) else { unreachable!() };
            Command::LockAcquireOnce { request: r.into(), fingerprint: lease as u64, acquire }
        }),
        3 => (lock(), 3..9_u128, 0..2_u64).prop_map(|(l, lease, asker)| acquire_by(l, lease, asker)),
        1 => (3..9_u128).prop_map(|l| Command::LockLeave { lease: LeaseId(l) }),
        2 => (0..9_u128, 0..2_u64, any::<bool>())
            .prop_map(|(l, asker, held)| Command::LockGiveUp { lease: LeaseId(l), asker, held }),
        1 => (0..12_u128).prop_map(|l| Command::KeysLeaseRenew { lease: LeaseId(l) }),
        1 => (0..12_u128).prop_map(|l| Command::KeysLeaseEnd { lease: LeaseId(l) }),
        2 => (lock(), 3..9_u128, 0..40_u64).prop_map(|(l, lease, token)| release(l, lease, token)),
        1 => (lock(), 0..40_u64)
            .prop_map(|(l, t)| Command::LockDelaysOver { locks: vec![(key(l), FencingToken(t))] }),
        1 => (0..40_u64).prop_map(|r| Command::Compact { revision: Revision(r) }),
        1 => (name(), value(), "[a-c]")
            .prop_map(|(n, v, r)| Command::Once { request: r.into(), fingerprint: 7, command: Box::new(put(n, v)) }),
    ]
}

/// What must be true of any store, whatever it was asked.
fn check(content: &Content) {
    let cost: u64 = content.keys.listed("", None).map(|found| super::super::keys::cost(&found.key, &found.value)).sum();
    assert_eq!(cost, content.used);
    assert!(content.keys.listed("", None).map(|found| &found.key).is_sorted());
    assert_eq!(content.keys.listed("", None).count(), content.keys.len(), "all that are set are in the order");
    for (id, lease) in &content.leases {
        match &lease.purpose {
            Purpose::Keys { keys, ends_with_last } => {
                let own =
                    content.keys.listed("", None).filter(|found| found.lease == Some(*id)).map(|found| &found.key);
                assert!(own.eq(keys.iter()), "{id} has {keys:?}");
                assert!(!ends_with_last || !keys.is_empty(), "{id} has ended");
            }
            Purpose::Place { lock, place, .. } => {
                let lock = &content.locks[&**lock];
                let holds = matches!(lock.tenure, Tenure::Held { lease, .. } if lease == *id);
                assert_ne!(holds, lock.waiters.get(place) == Some(id), "{id} holds or waits");
            }
        }
    }
    for found in content.keys.listed("", None) {
        let lease = found.lease.map(|id| content.leases.get(&id).map(|lease| &lease.purpose));
        assert!(matches!(lease, None | Some(Some(Purpose::Keys { .. }))), "{found:?}");
        assert!(found.created <= found.modified && found.modified <= content.revision);
    }
    for (name, lock) in &content.locks {
        let held = match lock.tenure {
            Tenure::Held { lease, token } => {
                assert!(lock.waiters.keys().all(|place| place.0 != token.0));
                Some(lease)
            }
            Tenure::Delayed { .. } => None,
        };
        for lease in lock.waiters.values().chain(held.as_ref()) {
            let place = content.leases.get(lease).map(|lease| &lease.purpose);
            assert!(matches!(place, Some(Purpose::Place { lock, .. }) if lock == name), "no orphan: {lease}");
        }
    }
    let revisions: Vec<u64> = content.history.events().iter().map(|event| event.revision().0).collect();
    assert!(revisions.is_sorted() && revisions.first().is_none_or(|first| *first > content.history.compacted().0));
}

proptest! {
    #[test]
    fn nothing_is_left_over_and_an_image_holds_everything(commands in prop::collection::vec(command(), 0..60)) {
        let mut bench = Bench::default();
        let (mut tokens, mut counted) = (BTreeMap::new(), BTreeMap::new());
        for command in commands {
            let before = bench.clone();
            let (reply, told) = bench.apply_noting(command);
            check(&bench.content);
            if reply.is_err() {
                prop_assert_eq!(&bench.content.keys, &before.content.keys);
                prop_assert_eq!(&bench.content.locks, &before.content.locks);
                prop_assert_eq!(&bench.content.leases, &before.content.leases);
                prop_assert!(told.is_empty());
            }
            for change in told {
                match change {
                    LeaseChange::Granted { lease, renewals, .. } | LeaseChange::Renewed { lease, renewals } => {
                        counted.insert(lease, renewals);
                    }
                    LeaseChange::Ended { lease } => drop(counted.remove(&lease)),
                    _ => {}
                }
            }
            let there = bench.content.leases.iter().map(|(id, lease)| (id, &lease.renewals));
            prop_assert!(there.eq(&counted), "whoever counts leases is told of all: {:?}", counted);
            for (name, lock) in &bench.content.locks {
                if let Tenure::Held { lease, token } = lock.tenure {
                    let last = tokens.insert(name.clone(), (token, lease));
                    let goes_on = last.is_none_or(|last| last == (token, lease) || last.0 < token);
                    prop_assert!(goes_on, "{:?} after {:?}", token, last);
                }
            }
        }
        let bytes = encoded(&bench.content);
        let restored = image::decode(&bytes).unwrap();
        check(&restored);
        prop_assert_eq!(format!("{:?}", restored), format!("{:?}", bench.content));
        for end in 0..bytes.len() {
            prop_assert!(image::decode(&bytes[..end]).is_err(), "cut at {}", end);
        }
    }

    #[test]
    fn random_bytes_are_no_image_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = image::decode(&bytes);
    }

    /// A copy that was taken for a snapshot stays as it was, whatever is written meanwhile.
    #[test]
    fn a_copy_does_not_change(before in prop::collection::vec(command(), 0..30),
                              after in prop::collection::vec(command(), 0..30)) {
        let mut bench = Bench::default();
        before.into_iter().for_each(|command| drop(bench.apply(command)));
        let copy = bench.content.clone();
        let image = encoded(&copy);
        after.into_iter().for_each(|command| drop(bench.apply(command)));
        prop_assert_eq!(encoded(&copy), image);
    }
}

/// Snapshots of old versions must stay readable: this layout may gain a sibling, and never changes.
#[test]
fn golden_bytes() {
    let mut bench = Bench::default();
    bench.apply(Command::LeaseGrant { lease: LeaseId(2), ttl_ms: 500 }).unwrap();
    bench.apply(put_with("k", "v", Some(2), None)).unwrap();
    bench.acquire("l", 3).unwrap();
    let bytes = encoded(&bench.content);
    let parts: [&[u8]; 6] = [
        &[1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 244, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 232, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[1, 0, 0, 0, b'l', 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0],
        b"somebody",
    ];
    let head: Vec<u8> = parts.concat();
    assert_eq!(bytes[..head.len()], head);
    let key = [
        &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'k', 1, 0, 0, 0, b'v'][..],
        &[2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(bytes[head.len()..head.len() + key.len()], key);
}

/// A lease that ends with the last of its keys has a kind of its own.
#[test]
fn golden_bytes_of_a_lease_that_ends_with_its_key() {
    let mut bench = Bench::default();
    bench.apply(put_leased("k", "v", 2, None)).unwrap();
    let lease = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 232, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
    assert_eq!(encoded(&bench.content)[25..25 + lease.len()], lease);
}

/// A place that was asked for under a request key has a kind of its own.
#[test]
fn golden_bytes_of_a_named_place() {
    let mut bench = Bench::default();
    let Command::LockAcquire(acquire) = acquire("l", 3) else { panic!() };
    bench.apply(Command::LockAcquireOnce { request: "key".into(), fingerprint: 7, acquire }).unwrap();
    let bytes = encoded(&bench.content);
    let parts: [&[u8]; 6] = [
        &[1, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 232, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        &[1, 0, 0, 0, b'l', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0],
        b"somebody",
        &[3, 0, 0, 0],
        b"key",
    ];
    let leases = parts.concat();
    assert_eq!(bytes[25..25 + leases.len()], leases);
}

/// A place of a known asker has one, too.
#[test]
fn golden_bytes_of_a_place_of_a_known_asker() {
    let mut bench = Bench::default();
    bench.apply(acquire_by("l", 3, 258)).unwrap();
    let bytes = encoded(&bench.content);
    let parts: [&[u8]; 6] = [
        &[1, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 232, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4],
        &[1, 0, 0, 0, b'l', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0],
        b"somebody",
        &[2, 0, 0, 0, b'l', b'3'],
        &[2, 1, 0, 0, 0, 0, 0, 0],
    ];
    let leases = parts.concat();
    assert_eq!(bytes[25..25 + leases.len()], leases);
}
