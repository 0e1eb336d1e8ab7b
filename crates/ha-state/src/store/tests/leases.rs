use super::*;
use crate::limits::TTL_MIN;

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
