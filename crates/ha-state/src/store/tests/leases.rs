use super::*;
use crate::limits::{LEASES_MAX, TTL_MIN};
use crate::txn::{Operation, Txn};

fn grant(lease: u128) -> Command {
    Command::LeaseGrant { lease: LeaseId(lease), ttl_ms: 1000 }
}

#[test]
fn keys_end_with_their_lease_at_one_revision() {
    let mut bench = Bench::default();
    bench.apply(grant(1)).unwrap();
    bench.apply(put_with("a", "", Some(1), None)).unwrap();
    bench.apply(put_with("b", "", Some(1), None)).unwrap();
    bench.put("c", "").unwrap();
    bench.apply(Command::LeaseEnd { lease: LeaseId(1) }).unwrap();
    assert_eq!((bench.value("a"), bench.value("b")), (None, None));
    assert!(bench.value("c").is_some());
    assert_eq!(bench.content.history.since(bench.revision()).count(), 2);
    assert_eq!(bench.apply(Command::LeaseEnd { lease: LeaseId(1) }), Err(Refusal::NoLease));
    assert_eq!(bench.apply(put_with("a", "", Some(1), None)), Err(Refusal::NoLease));
}

#[test]
fn a_key_that_is_set_anew_leaves_its_lease() {
    let mut bench = Bench::default();
    bench.apply(grant(1)).unwrap();
    bench.apply(grant(2)).unwrap();
    for name in ["stays", "moves", "goes"] {
        bench.apply(put_with(name, "", Some(1), None)).unwrap();
    }
    bench.put("stays", "").unwrap();
    bench.apply(put_with("moves", "", Some(2), None)).unwrap();
    bench.apply(Command::Delete { key: key("goes"), if_revision: None }).unwrap();
    bench.put("goes", "and comes back").unwrap();
    bench.apply(Command::LeaseEnd { lease: LeaseId(1) }).unwrap();
    assert!(bench.value("stays").is_some() && bench.value("moves").is_some() && bench.value("goes").is_some());
    bench.apply(Command::LeaseEnd { lease: LeaseId(2) }).unwrap();
    assert_eq!(bench.value("moves"), None);
}

#[test]
fn a_lease_that_was_renewed_meanwhile_does_not_expire() {
    let mut bench = Bench::default();
    bench.apply(grant(1)).unwrap();
    let renew = Command::LeaseRenew { leases: vec![LeaseId(1), LeaseId(9)] };
    assert_eq!(bench.apply(renew), Ok(Done::Renewed { gone: vec![LeaseId(9)] }));
    bench.apply(expire(&[(1, 0), (9, 0)])).unwrap();
    assert!(bench.content.leases.contains_key(&LeaseId(1)));
    bench.apply(expire(&[(1, 1)])).unwrap();
    assert!(bench.content.leases.is_empty());
}

#[test]
fn the_lease_of_a_lock_is_not_renewed_or_ended_as_one_of_keys() {
    let mut bench = Bench::default();
    bench.apply(grant(1)).unwrap();
    bench.acquire("l", 2).unwrap();
    bench.acquire("l", 3).unwrap();
    let renew = |lease| Command::KeysLeaseRenew { lease: LeaseId(lease) };
    let end = |lease| Command::KeysLeaseEnd { lease: LeaseId(lease) };
    for (lease, refusal) in [(2, Refusal::LeaseTaken), (3, Refusal::LeaseTaken), (9, Refusal::NoLease)] {
        assert_eq!(bench.apply(renew(lease)), Err(refusal.clone()));
        assert_eq!(bench.apply(end(lease)), Err(refusal));
    }
    assert_eq!(bench.lock("l"), Some((Some(2), 2, vec![3])));
    assert_eq!(bench.apply(renew(1)), Ok(Done::Plain));
    bench.apply(expire(&[(1, 0)])).unwrap();
    let once = Command::Once { request: "r".into(), fingerprint: 1, command: Box::new(end(1)) };
    assert_eq!((bench.apply(once.clone()), bench.apply(once)), (Ok(Done::Plain), Ok(Done::Plain)));
    assert!(!bench.content.leases.contains_key(&LeaseId(1)));
}

#[test]
fn a_lease_that_is_begun_twice_is_one() {
    let mut bench = Bench::default();
    bench.apply(grant(1)).unwrap();
    bench.apply(grant(1)).unwrap();
    assert_eq!(bench.content.leases.len(), 1);
    bench.acquire("l", 2).unwrap();
    assert_eq!(bench.apply(grant(2)), Err(Refusal::LeaseTaken));
    assert_eq!(bench.apply(put_with("k", "", Some(2), None)), Err(Refusal::LeaseTaken));
    let short = Command::LeaseGrant { lease: LeaseId(3), ttl_ms: TTL_MIN.as_millis() as u32 - 1 };
    assert_eq!(bench.apply(short), Err(Refusal::Invalid));
}

#[test]
fn the_lease_of_a_key_ends_with_it() {
    let by_prefix = Txn::new().then(Operation::DeletePrefix { prefix: "k".into() });
    let leaves = [
        ("it is set without one", put("k", "v")),
        ("it has another one", put_with("k", "v", Some(1), None)),
        ("it has another one of its own", put_leased("k", "v", 3, None)),
        ("it is removed", Command::Delete { key: key("k"), if_revision: None }),
        ("it is removed by its prefix", Command::Txn(by_prefix)),
    ];
    for (how, leave) in leaves {
        let mut bench = Bench::default();
        bench.apply(grant(1)).unwrap();
        bench.apply(put_leased("k", "", 2, None)).unwrap();
        assert!(bench.content.leases.contains_key(&LeaseId(2)));
        let (_, told) = bench.apply_noting(leave);
        assert!(told.contains(&LeaseChange::Ended { lease: LeaseId(2) }), "{how}");
        assert!(!bench.content.leases.contains_key(&LeaseId(2)), "{how}");
        assert!(bench.content.leases.contains_key(&LeaseId(1)), "{how}: one that was granted stays");
    }
}

#[test]
fn the_lease_of_a_key_is_kept_and_ended_as_any_lease_of_keys() {
    let mut bench = Bench::default();
    bench.apply(put_leased("k", "", 2, None)).unwrap();
    bench.apply(put_with("k", "again", Some(2), None)).unwrap();
    bench.apply(put_with("l", "", Some(2), None)).unwrap();
    assert_eq!(bench.apply(Command::KeysLeaseRenew { lease: LeaseId(2) }), Ok(Done::Plain));
    bench.apply(expire(&[(2, 0)])).unwrap();
    bench.put("k", "stays").unwrap();
    bench.apply(Command::KeysLeaseEnd { lease: LeaseId(2) }).unwrap();
    assert_eq!((bench.value("k").as_deref(), bench.value("l")), (Some("stays"), None));
    assert!(bench.content.leases.is_empty());
}

#[test]
fn a_transaction_may_pass_the_lease_of_a_key_on() {
    let mut bench = Bench::default();
    bench.apply(put_leased("k", "", 2, None)).unwrap();
    let set = Operation::Put { key: key("l"), value: "".into(), lease: Some(LeaseId(2)) };
    bench.apply(Command::Txn(Txn::new().then_delete("k").unwrap().then(set))).unwrap();
    assert_eq!(bench.content.keys_of(LeaseId(2)), 1);
    bench.apply(expire(&[(2, 0)])).unwrap();
    assert_eq!(bench.value("l"), None);
}

#[test]
fn a_key_and_its_lease_come_together_or_not_at_all() {
    let mut bench = Bench::default();
    bench.put("k", "v").unwrap();
    bench.acquire("l", 1).unwrap();
    bench.apply(Command::SetQuota { bytes: 0 }).unwrap();
    let before = encoded(&bench.content)[9..].to_vec();
    let refused = bench.apply_noting(put_leased("k", "", 2, Some(Revision(7))));
    assert_eq!(refused, (Err(Refusal::Condition { current: Revision(1) }), vec![]));
    let refused = bench.apply_noting(put_leased("new", "", 2, None));
    assert!(matches!(refused, (Err(Refusal::Full { .. }), told) if told.is_empty()));
    assert_eq!(bench.apply(put_leased("k", "", 1, None)), Err(Refusal::LeaseTaken));
    assert_eq!(encoded(&bench.content)[9..], before);

    let once = |lease| {
        let command = Box::new(put_leased("k", "", lease, None));
        Command::Once { request: "r".into(), fingerprint: 1, command }
    };
    let first = bench.apply(once(3));
    assert!(first.is_ok());
    bench.apply(expire(&[(3, 0)])).unwrap();
    assert_eq!(bench.apply(once(4)), first, "also when its time is over");
    assert_eq!((bench.value("k"), bench.content.leases.len()), (None, 1));
}

#[test]
fn where_every_place_is_taken_a_key_with_a_lease_of_its_own_can_be_set_again() {
    let mut bench = Bench::default();
    for lease in 1..LEASES_MAX as u128 {
        bench.apply(grant(lease)).unwrap();
    }
    let last = LEASES_MAX as u128;
    bench.apply(put_leased("k", "", last, None)).unwrap();
    assert_eq!(bench.apply(put_leased("l", "", last + 1, None)), Err(Refusal::TooManyLeases));
    bench.apply(put_leased("k", "again", last + 1, None)).unwrap();
    assert_eq!((bench.content.leases.len(), bench.content.keys_of(LeaseId(last + 1))), (LEASES_MAX, 1));
    bench.apply(put_with("l", "", Some(last + 1), None)).unwrap();
    assert_eq!(bench.apply(put_leased("k", "", last + 2, None)), Err(Refusal::TooManyLeases), "the other one stays");
}
