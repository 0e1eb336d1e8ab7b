//! Records and messages of consensus, to be fed with anything.

use super::*;
use crate::Role;
use crate::fuzzing::{Target, address, node};

pub(crate) fn targets() -> Vec<Target> {
    vec![("append", appends(), append), ("raft-record", records(), record), ("log-entry", entries(), entry)]
}

fn vote() -> Vote {
    Vote::new_committed(3, node("n1"))
}

fn id(index: u64) -> LogId {
    LogId::new_term_index(2, index)
}

fn membership() -> Membership {
    let record = PeerRecord { address: address(), priority: 100, role: Role::Member, disk: 7 };
    let nodes = BTreeMap::from([(node("n1"), record.clone()), (node("n2"), record)]);
    let voters = BTreeSet::from([node("n1"), node("n2")]);
    Membership::new(vec![voters], nodes).unwrap_or_else(|_| unreachable!("a membership"))
}

fn payloads() -> [EntryPayload<Payload, NodeId, PeerRecord>; 3] {
    [
        EntryPayload::Blank,
        EntryPayload::Normal(Payload(Bytes::from_static(b"commands"))),
        EntryPayload::Membership(membership()),
    ]
}

fn appends() -> Vec<Vec<u8>> {
    let entries = (5..).zip(payloads()).map(|(index, payload)| Entry { log_id: id(index), payload }).collect();
    let (prev_log_id, leader_commit) = (Some(id(4)), Some(id(4)));
    let full = AppendRequest { vote: vote(), prev_log_id, entries, leader_commit };
    let bare = AppendRequest { vote: vote(), prev_log_id: None, entries: Vec::new(), leader_commit: None };
    [full, bare].iter().map(|request| put_append(request).to_vec()).collect()
}

fn append(input: &[u8]) {
    if let Ok(request) = get_append(Bytes::copy_from_slice(input)) {
        let again = get_append(put_append(&request));
        assert!(again.is_ok_and(|again| again.entries.len() == request.entries.len()), "it does not read back");
    }
}

fn entries() -> Vec<Vec<u8>> {
    payloads().map(|payload| put_entry(&Entry { log_id: id(1), payload }).to_vec()).into()
}

fn entry(input: &[u8]) {
    if let Ok(entry) = get_entry(1, 1, Bytes::copy_from_slice(input)) {
        assert!(get_entry(1, 1, put_entry(&entry)).is_ok());
    }
}

fn records() -> Vec<Vec<u8>> {
    let (vote, last) = (VoteRecord::from(&vote()), Some(LogIdRecord::from(&id(9))));
    let meta = SnapshotMetaRecord { last, membership_at: last, membership: MembershipRecord::from(&membership()) };
    vec![
        put(&vote).into(),
        put(&AppendAnswer::Conflict(LogIdRecord::from(&id(4)))).into(),
        put(&VoteAsk { vote: vote.clone(), last, leadership_transfer: true }).into(),
        put(&VoteAnswer { vote: vote.clone(), last, granted: true }).into(),
        put(&TransferAsk { from: vote.clone(), to: node("n2"), last }).into(),
        put(&TransferAnswer::VoteChanged { expected: vote.clone(), actual: vote.clone() }).into(),
        put(&SnapshotHead { vote, meta: meta.clone(), bytes: 70, crc32c: 5 }).into(),
        put(&meta).into(),
    ]
}

/// The same bytes as every kind of record there is.
fn record(input: &[u8]) {
    let _ = get::<VoteRecord>(input).map(Vote::from);
    let _ = get::<LogIdRecord>(input).map(LogId::from);
    let _ = get::<AppendAnswer>(input);
    let _ = get::<VoteAsk>(input);
    let _ = get::<VoteAnswer>(input);
    let _ = get::<TransferAsk>(input);
    let _ = get::<TransferAnswer>(input);
    let _ = get::<SnapshotHead>(input).map(|head| SnapshotMeta::try_from(head.meta));
    let _ = get::<SnapshotMetaRecord>(input).map(SnapshotMeta::try_from);
    let _ = get::<MembershipRecord>(input).map(Membership::try_from);
}
