use bytes::Bytes;

use super::*;
use crate::Event;
use crate::limits::{KEPT_ANSWERS_MAX, KEY_OVERHEAD_BYTES, PREFIX_DELETES_MAX, TXN_READ_BYTES_MAX, VALUE_BYTES_MAX};
use crate::txn::{Answer, Compare, Is, Operation, Txn};

#[test]
fn a_key_counts_its_versions_until_it_is_removed() {
    let mut bench = Bench::default();
    assert_eq!(bench.put("k", "a"), Ok(Done::Put { revision: Revision(1) }));
    bench.put("other", "x").unwrap();
    bench.put("k", "b").unwrap();
    let found = bench.content.keys.get("k").unwrap();
    assert_eq!((found.created, found.modified, found.version), (Revision(1), Revision(3), 2));
    let delete = Command::Delete { key: key("k"), if_revision: None };
    assert_eq!(bench.apply(delete.clone()), Ok(Done::Deleted { revision: Revision(4), existed: true }));
    assert_eq!(bench.apply(delete), Ok(Done::Deleted { revision: Revision(5), existed: false }));
    bench.put("k", "c").unwrap();
    let found = bench.content.keys.get("k").unwrap();
    assert_eq!((found.created, found.modified, found.version), (Revision(6), Revision(6), 1));
}

#[test]
fn a_condition_is_compared_with_the_last_change() {
    let mut bench = Bench::default();
    let mut try_at = |revision: u64, value: &str| bench.apply(put_with("k", value, None, Some(Revision(revision))));
    assert_eq!(try_at(7, "a"), Err(Refusal::Condition { current: Revision::ABSENT }));
    assert_eq!(try_at(0, "b"), Ok(Done::Put { revision: Revision(2) }));
    assert_eq!(try_at(0, "c"), Err(Refusal::Condition { current: Revision(2) }));
    assert_eq!(try_at(2, "d"), Ok(Done::Put { revision: Revision(4) }));
    let delete = |revision| Command::Delete { key: key("k"), if_revision: Some(Revision(revision)) };
    assert_eq!(bench.apply(delete(2)), Err(Refusal::Condition { current: Revision(4) }));
    assert_eq!(bench.apply(delete(4)), Ok(Done::Deleted { revision: Revision(6), existed: true }));
}

#[test]
fn a_transaction_takes_one_branch_and_reads_its_own_writes() {
    let mut bench = Bench::default();
    bench.put("a", "1").unwrap();
    let swap = |expected: &'static str| {
        Txn::new()
            .when(Compare::value("a", expected).unwrap())
            .when(Compare::absent("b").unwrap())
            .then_put("b", "2")
            .unwrap()
            .then_delete("a")
            .unwrap()
            .then_get("b")
            .unwrap()
            .else_get("a")
            .unwrap()
    };
    let Ok(Done::Txn { succeeded: false, answers, .. }) = bench.apply(Command::Txn(swap("9"))) else { panic!() };
    assert!(matches!(&answers[..], [Answer::Got(Some(found))] if found.value == "1"));
    let Ok(Done::Txn { succeeded: true, answers, revision }) = bench.apply(Command::Txn(swap("1"))) else { panic!() };
    assert_eq!(answers[..2], [Answer::Put, Answer::Deleted(1)]);
    assert!(matches!(&answers[2], Answer::Got(Some(found)) if found.value == "2" && found.modified == revision));
    let changed: Vec<_> = bench.content.history.since(revision).map(|event| event.key().as_str()).collect();
    assert_eq!(changed, ["b", "a"], "both at one revision");
}

#[test]
fn numbers_are_compared_in_every_way() {
    let mut bench = Bench::default();
    bench.put("k", "v").unwrap();
    for (is, of_one) in [
        (Is::Equal, [false, true, false]),
        (Is::NotEqual, [true, false, true]),
        (Is::Less, [false, false, true]),
        (Is::Greater, [true, false, false]),
    ] {
        for (other, holds) in (0_u64..).zip(of_one) {
            let compare = Compare::Version(key("k"), is, other);
            let Ok(Done::Txn { succeeded, .. }) = bench.apply(Command::Txn(Txn::new().when(compare))) else { panic!() };
            assert_eq!(succeeded, holds, "1 {is:?} {other}");
        }
    }
}

#[test]
fn a_transaction_that_reads_or_removes_too_much_does_nothing_at_all() {
    let mut bench = Bench::default();
    bench.put("big", &"x".repeat(TXN_READ_BYTES_MAX)).unwrap();
    let before = bench.content.used;
    let reads = Txn::new().then_put("k", "v").unwrap().then_get("big").unwrap();
    let (reply, _) = bench.apply_noting(Command::Txn(reads));
    assert_eq!((reply, bench.value("k"), bench.content.used), (Err(Refusal::TooMuchRead), None, before));
    for number in 0..=PREFIX_DELETES_MAX {
        bench.put(&format!("many/{number}"), "").unwrap();
    }
    let all = || Operation::DeletePrefix { prefix: "many/".into() };
    let removes = Txn::new().then_put("k", "v").unwrap().then(all());
    assert_eq!(bench.apply(Command::Txn(removes.clone())), Err(Refusal::TooManyKeys));
    assert_eq!(bench.value("k"), None);
    bench.apply(Command::Delete { key: key("many/0"), if_revision: None }).unwrap();
    let Ok(Done::Txn { answers, .. }) = bench.apply(Command::Txn(removes)) else { panic!() };
    assert_eq!(answers[1], Answer::Deleted(PREFIX_DELETES_MAX as u64));
    for number in 0..=PREFIX_DELETES_MAX {
        bench.put(&format!("{}/{number}", number % 2), "").unwrap();
    }
    let apart = Txn::new().then(Operation::DeletePrefix { prefix: "0/".into() });
    let apart = apart.then(Operation::DeletePrefix { prefix: "1/".into() });
    assert_eq!(bench.apply(Command::Txn(apart)), Err(Refusal::TooManyKeys), "of all prefixes together");
    assert!(bench.value("0/0").is_some());
}

#[test]
fn a_full_store_refuses_what_makes_it_larger_and_nothing_else() {
    let mut bench = Bench::default();
    let room_for_two = 2 * (KEY_OVERHEAD_BYTES + 1 + 10);
    bench.apply(Command::SetQuota { bytes: room_for_two }).unwrap();
    bench.put("a", "0123456789").unwrap();
    bench.put("b", "0123456789").unwrap();
    let full = Err(Refusal::Full { used: room_for_two, quota: room_for_two });
    assert_eq!(bench.put("c", ""), full);
    assert_eq!(bench.put("b", "0123456789x"), full);
    bench.put("b", "0123").unwrap();
    bench.put("b", "0123456789").unwrap();
    assert_eq!(bench.apply(Command::Txn(Txn::new().then_put("c", "").unwrap())), full);
    let too_little = Txn::new().then_put("b", "0123456789x").unwrap().then_put("c", "0123456789").unwrap();
    assert_eq!(bench.apply(Command::Txn(too_little.clone().then_delete("a").unwrap())), full);
    assert_eq!((bench.value("a"), bench.value("c")), (Some("0123456789".into()), None), "nothing of it has happened");
    for (removed, set) in [("a", "c"), ("c", "a")] {
        let prefix = Operation::DeletePrefix { prefix: removed.into() };
        let makes_room = Txn::new().then(prefix).then_put(set, "0123456789").unwrap();
        bench.apply(Command::Txn(makes_room)).unwrap();
    }
    let at_the_end = Txn::new().then_put("c", "0123456789").unwrap().then_delete("a").unwrap();
    bench.apply(Command::Txn(at_the_end)).unwrap();
    bench.apply(Command::Txn(Txn::new().then_put("a", "0123456789").unwrap().then_delete("c").unwrap())).unwrap();
    let exchange = Txn::new().then_delete("a").unwrap();
    bench.apply(Command::Txn(exchange)).unwrap();
    bench.put("c", "0123456789").unwrap();
    bench.apply(Command::SetQuota { bytes: 0 }).unwrap();
    bench.put("c", "012345678").unwrap();
    for name in ["b", "c"] {
        bench.apply(Command::Delete { key: key(name), if_revision: None }).unwrap();
    }
    assert_eq!(bench.content.used, 0);
}

#[test]
fn a_value_that_is_too_long_is_refused_also_by_the_store() {
    let mut bench = Bench::default();
    let value = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    let put = Put { key: key("k"), value, lease: None, if_revision: None };
    assert_eq!(bench.apply(Command::Put(put)), Err(Refusal::Invalid));
}

#[test]
fn a_request_is_done_once_and_answered_again() {
    let mut bench = Bench::default();
    let once = |command, fingerprint| Command::Once { request: "r".into(), fingerprint, command: Box::new(command) };
    assert_eq!(bench.apply(once(put("k", "a"), 1)), Ok(Done::Put { revision: Revision(1) }));
    bench.put("k", "b").unwrap();
    assert_eq!(bench.apply(once(put("k", "a"), 1)), Ok(Done::Put { revision: Revision(1) }));
    assert_eq!(bench.value("k").as_deref(), Some("b"));
    assert_eq!(bench.apply(once(put("k", "z"), 2)), Err(Refusal::RequestKeyReused));
    assert_eq!(bench.apply(once(acquire("l", 1), 3)), Err(Refusal::Invalid), "a lock has its own way");
    for number in 0..KEPT_ANSWERS_MAX {
        let (request, command) = (format!("n{number}").into(), Box::new(put("other", "x")));
        bench.apply(Command::Once { request, fingerprint: 0, command }).unwrap();
    }
    bench.apply(once(put("k", "a"), 1)).unwrap();
    assert_eq!(bench.value("k").as_deref(), Some("a"), "it was forgotten");
}

#[test]
fn keys_are_listed_in_order_behind_a_given_one() {
    let mut bench = Bench::default();
    for name in ["b", "a/2", "a/1", "a/", "a", "a0", "c"] {
        bench.put(name, "").unwrap();
    }
    let listed = |prefix: &str, after: Option<&str>| -> Vec<String> {
        bench.content.keys.listed(prefix, after).map(|found| found.key.to_string()).collect()
    };
    assert_eq!(listed("a/", None), ["a/", "a/1", "a/2"]);
    assert_eq!(listed("a/", Some("a/1")), ["a/2"]);
    assert_eq!(listed("a/", Some("a/11")), ["a/2"], "whether it exists or not");
    assert_eq!(listed("a/", Some("0")), ["a/", "a/1", "a/2"], "before all of them");
    assert_eq!(listed("", Some("a0")), ["b", "c"]);
}

#[test]
fn the_past_can_be_forgotten() {
    let mut bench = Bench::default();
    bench.put("k", "a").unwrap();
    bench.put("k", "b").unwrap();
    bench.apply(Command::Compact { revision: Revision(1) }).unwrap();
    let known: Vec<_> = bench.content.history.since(Revision(0)).map(Event::revision).collect();
    assert_eq!((known, bench.content.history.compacted()), (vec![Revision(2)], Revision(1)));
    bench.apply(Command::Compact { revision: Revision(u64::MAX) }).unwrap();
    assert_eq!(bench.content.history.compacted(), bench.revision(), "not the future");
}
