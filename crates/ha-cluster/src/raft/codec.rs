//! This crate's own versioned records for everything of openraft's that is sent or kept: its structs change between
//! releases, these layouts do not.

#[cfg(feature = "testing")]
pub(super) mod fuzzing;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ha_net::NodeId;
use openraft::EntryPayload;
use openraft::vote::RaftLeaderId;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use super::types::{Entry, LogId, Membership, Payload, PeerRecord, SnapshotMeta, StoredMembership, Types, Vote};
use crate::codec;

/// Layout of every small record: the first byte.
const RECORD_SCHEMA: u8 = 1;
/// Layout of an append message.
const APPEND_SCHEMA: u8 = 1;

/// The highest term and index that are believed: far above what a cluster could use up, and far below where counting on
/// would overflow, whatever a peer says.
const NUMBER_MAX: u64 = 1 << 56;

/// Bytes that this version does not understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record that this version does not understand")]
pub(crate) struct NotARecord;

impl From<bytes::TryGetError> for NotARecord {
    fn from(_: bytes::TryGetError) -> Self {
        Self
    }
}

/// Encodes a small record.
pub(crate) fn put<T: Serialize>(record: &T) -> Bytes {
    let body = codec::record(record);
    let mut out = BytesMut::with_capacity(1 + body.len());
    out.put_u8(RECORD_SCHEMA);
    out.put_slice(&body);
    out.freeze()
}

/// Decodes a small record.
pub(crate) fn get<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, NotARecord> {
    if bytes.try_get_u8()? != RECORD_SCHEMA {
        return Err(NotARecord);
    }
    codec::decode(bytes).map_err(|_| NotARecord)
}

fn believable<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(from)?;
    if number <= NUMBER_MAX { Ok(number) } else { Err(D::Error::custom("a number beyond belief")) }
}

fn get_number(bytes: &mut Bytes) -> Result<u64, NotARecord> {
    Some(bytes.try_get_u64_le()?).filter(|number| *number <= NUMBER_MAX).ok_or(NotARecord)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    #[serde(deserialize_with = "believable")]
    term: u64,
    node: NodeId,
    committed: bool,
}

impl From<&Vote> for VoteRecord {
    fn from(vote: &Vote) -> Self {
        let leader = &vote.leader_id;
        Self { term: leader.term, node: leader.voted_for.clone(), committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        if record.committed {
            Vote::new_committed(record.term, record.node)
        } else {
            Vote::new(record.term, record.node)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdRecord {
    #[serde(deserialize_with = "believable")]
    term: u64,
    #[serde(deserialize_with = "believable")]
    index: u64,
}

impl From<&LogId> for LogIdRecord {
    fn from(id: &LogId) -> Self {
        Self { term: term_of(id), index: id.index }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        LogId::new_term_index(record.term, record.index)
    }
}

pub(crate) fn term_of(id: &LogId) -> u64 {
    **id.committed_leader_id()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    configs: Vec<BTreeSet<NodeId>>,
    nodes: BTreeMap<NodeId, PeerRecord>,
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        Self {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (id.clone(), node.clone())).collect(),
        }
    }
}

impl TryFrom<MembershipRecord> for Membership {
    type Error = NotARecord;

    fn try_from(record: MembershipRecord) -> Result<Self, NotARecord> {
        Membership::new(record.configs, record.nodes).map_err(|_| NotARecord)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotMetaRecord {
    last: Option<LogIdRecord>,
    membership_at: Option<LogIdRecord>,
    membership: MembershipRecord,
}

impl From<&SnapshotMeta> for SnapshotMetaRecord {
    fn from(meta: &SnapshotMeta) -> Self {
        Self {
            last: meta.last_log_id.as_ref().map(Into::into),
            membership_at: meta.last_membership.log_id().as_ref().map(Into::into),
            membership: meta.last_membership.membership().into(),
        }
    }
}

impl TryFrom<SnapshotMetaRecord> for SnapshotMeta {
    type Error = NotARecord;

    fn try_from(record: SnapshotMetaRecord) -> Result<Self, NotARecord> {
        let membership = Membership::try_from(record.membership)?;
        Ok(SnapshotMeta {
            last_log_id: record.last.map(Into::into),
            last_membership: StoredMembership::new(record.membership_at.map(Into::into), membership),
        })
    }
}

const ENTRY_BLANK: u8 = 0;
const ENTRY_COMMANDS: u8 = 1;
const ENTRY_MEMBERSHIP: u8 = 2;

/// What an entry is, and what it holds.
fn entry_parts(entry: &Entry) -> (u8, Bytes) {
    match &entry.payload {
        EntryPayload::Blank => (ENTRY_BLANK, Bytes::new()),
        EntryPayload::Normal(Payload(commands)) => (ENTRY_COMMANDS, commands.clone()),
        EntryPayload::Membership(membership) => (ENTRY_MEMBERSHIP, put(&MembershipRecord::from(membership))),
    }
}

/// What the log keeps of an entry beside its position.
pub(crate) fn put_entry(entry: &Entry) -> Bytes {
    let (kind, body) = entry_parts(entry);
    let mut out = BytesMut::with_capacity(1 + body.len());
    out.put_u8(kind);
    out.put_slice(&body);
    out.freeze()
}

/// The entry at a position; its commands share the memory of `bytes`.
pub(crate) fn get_entry(term: u64, index: u64, mut bytes: Bytes) -> Result<Entry, NotARecord> {
    let payload = match bytes.try_get_u8()? {
        ENTRY_BLANK => EntryPayload::Blank,
        ENTRY_COMMANDS => EntryPayload::Normal(Payload(bytes)),
        ENTRY_MEMBERSHIP => EntryPayload::Membership(get::<MembershipRecord>(&bytes)?.try_into()?),
        _ => return Err(NotARecord),
    };
    Ok(Entry { log_id: LogId::new_term_index(term, index), payload })
}

pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<Types>;

/// An append message: laid out by hand, so that entries are copied once on the way out and not at all on the way in.
pub(crate) fn put_append(request: &AppendRequest) -> Bytes {
    let entries: Vec<(u8, Bytes)> = request.entries.iter().map(entry_parts).collect();
    let size = 128 + entries.iter().map(|(_, body)| body.len() + 21).sum::<usize>();
    let mut out = BytesMut::with_capacity(size);
    out.put_u8(APPEND_SCHEMA);
    let vote = &request.vote;
    out.put_u64_le(RaftLeaderId::term(&vote.leader_id));
    out.put_u8(u8::from(vote.committed));
    let node = vote.leader_id.voted_for.as_str();
    out.put_u8(node.len() as u8);
    out.put_slice(node.as_bytes());
    put_log_id(&mut out, request.prev_log_id.as_ref());
    put_log_id(&mut out, request.leader_commit.as_ref());
    out.put_u32_le(entries.len() as u32);
    for (entry, (kind, body)) in request.entries.iter().zip(entries) {
        out.put_u64_le(term_of(&entry.log_id));
        out.put_u64_le(entry.log_id.index);
        out.put_u32_le(1 + body.len() as u32);
        out.put_u8(kind);
        out.put_slice(&body);
    }
    out.freeze()
}

fn put_log_id(out: &mut BytesMut, id: Option<&LogId>) {
    out.put_u8(u8::from(id.is_some()));
    if let Some(id) = id {
        out.put_u64_le(term_of(id));
        out.put_u64_le(id.index);
    }
}

fn get_log_id(bytes: &mut Bytes) -> Result<Option<LogId>, NotARecord> {
    match bytes.try_get_u8()? {
        0 => Ok(None),
        1 => {
            let term = get_number(bytes)?;
            Ok(Some(LogId::new_term_index(term, get_number(bytes)?)))
        }
        _ => Err(NotARecord),
    }
}

fn take(bytes: &mut Bytes, length: usize) -> Result<Bytes, NotARecord> {
    if bytes.remaining() < length { Err(NotARecord) } else { Ok(bytes.split_to(length)) }
}

pub(crate) fn get_append(mut bytes: Bytes) -> Result<AppendRequest, NotARecord> {
    if bytes.try_get_u8()? != APPEND_SCHEMA {
        return Err(NotARecord);
    }
    let whole = bytes.len();
    let term = get_number(&mut bytes)?;
    let committed = bytes.try_get_u8()? == 1;
    let length = usize::from(bytes.try_get_u8()?);
    let node = take(&mut bytes, length)?;
    let node: NodeId = std::str::from_utf8(&node).ok().and_then(|n| n.parse().ok()).ok_or(NotARecord)?;
    let prev_log_id = get_log_id(&mut bytes)?;
    let leader_commit = get_log_id(&mut bytes)?;
    let count = bytes.try_get_u32_le()? as usize;
    // Each entry takes at least 21 bytes, which bounds what a lying count can make us reserve.
    let mut entries = Vec::with_capacity(count.min(bytes.remaining() / 21));
    let mut next = prev_log_id.as_ref().map_or(0, |id| id.index + 1);
    for _ in 0..count {
        let entry_term = get_number(&mut bytes)?;
        let index = get_number(&mut bytes)?;
        // Entries follow one another from the first of all, and none is of a later term than its leader's.
        if index != next || entry_term > term {
            return Err(NotARecord);
        }
        next = index + 1;
        let length = bytes.try_get_u32_le()? as usize;
        let entry = codec::apart(take(&mut bytes, length)?, whole);
        entries.push(get_entry(entry_term, index, entry)?);
    }
    if bytes.has_remaining() {
        return Err(NotARecord);
    }
    let vote = VoteRecord { term, node, committed }.into();
    Ok(AppendRequest { vote, prev_log_id, entries, leader_commit })
}

/// The answer to one append message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AppendAnswer {
    Matched(Option<LogIdRecord>),
    Conflict(LogIdRecord),
    HigherVote(VoteRecord),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteAsk {
    pub(crate) vote: VoteRecord,
    pub(crate) last: Option<LogIdRecord>,
    pub(crate) leadership_transfer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteAnswer {
    pub(crate) vote: VoteRecord,
    pub(crate) last: Option<LogIdRecord>,
    pub(crate) granted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TransferAsk {
    pub(crate) from: VoteRecord,
    pub(crate) to: NodeId,
    pub(crate) last: Option<LogIdRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TransferAnswer {
    Accepted,
    VoteChanged { expected: VoteRecord, actual: VoteRecord },
    LogNotFlushed { expected: Option<LogIdRecord>, actual: Option<LogIdRecord> },
}

/// The first frame of a snapshot; chunks of the body follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotHead {
    pub(crate) vote: VoteRecord,
    pub(crate) meta: SnapshotMetaRecord,
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> AppendRequest {
        let peer = PeerRecord { address: "h:1".parse().unwrap(), priority: 100, role: crate::Role::Member, disk: 9 };
        let a: NodeId = "a".parse().unwrap();
        let membership =
            Membership::new(vec![BTreeSet::from([a.clone()])], BTreeMap::from([(a.clone(), peer)])).unwrap();
        let entry = |index, payload| Entry { log_id: LogId::new_term_index(3, index), payload };
        AppendRequest {
            vote: Vote::new_committed(3, a),
            prev_log_id: Some(LogId::new_term_index(2, 7)),
            entries: vec![
                entry(8, EntryPayload::Blank),
                entry(9, EntryPayload::Normal(Payload(Bytes::from_static(b"commands")))),
                entry(10, EntryPayload::Membership(membership)),
            ],
            leader_commit: None,
        }
    }

    #[test]
    fn an_append_survives_encoding_and_no_prefix_of_it_is_one() {
        let bytes = put_append(&request());
        for end in 0..bytes.len() {
            assert!(get_append(bytes.slice(..end)).is_err());
        }
        assert_eq!(format!("{:?}", get_append(bytes).unwrap()), format!("{:?}", request()));
    }

    /// A peer that was admitted and is broken: counting on from such numbers would overflow, and a gap would never close.
    #[test]
    fn absurd_numbers_and_gaps_are_not_understood() {
        for number in [NUMBER_MAX + 1, u64::MAX] {
            let vote = put(&VoteRecord { term: number, node: "a".parse().unwrap(), committed: false });
            assert_eq!(get::<VoteRecord>(&vote), Err(NotARecord));
            for id in [LogIdRecord { term: number, index: 1 }, LogIdRecord { term: 1, index: number }] {
                assert_eq!(get::<LogIdRecord>(&put(&id)), Err(NotARecord));
                let absurd = AppendRequest { leader_commit: Some(id.into()), ..request() };
                assert!(get_append(put_append(&absurd)).is_err());
            }
            let absurd = AppendRequest { vote: Vote::new(number, "a".parse().unwrap()), ..request() };
            assert!(get_append(put_append(&absurd)).is_err());
        }
        let mut gap = request();
        gap.entries.remove(1);
        assert!(get_append(put_append(&gap)).is_err());
        let mut first = AppendRequest { prev_log_id: None, ..request() };
        assert!(get_append(put_append(&first)).is_err(), "nothing comes before the first of them, which is the eighth");
        for (index, entry) in first.entries.iter_mut().enumerate() {
            entry.log_id = LogId::new_term_index(3, index as u64);
        }
        assert!(get_append(put_append(&first)).is_ok());
        let stale = AppendRequest { vote: Vote::new(2, "a".parse().unwrap()), ..request() };
        assert!(get_append(put_append(&stale)).is_err(), "entries of a later term than their leader's");
    }

    #[test]
    fn golden_bytes_of_a_vote() {
        let vote = VoteRecord::from(&Vote::new_committed(3, "a".parse().unwrap()));
        assert_eq!(put(&vote), [1, 3, 1, 97, 1].as_slice());
        assert_eq!(Vote::from(get::<VoteRecord>(&[1, 3, 1, 97, 1]).unwrap()), Vote::from(vote));
    }

    #[test]
    fn another_schema_is_not_understood() {
        assert_eq!(get::<VoteRecord>(&[2, 3, 1, 97, 1]), Err(NotARecord));
        assert_eq!(get::<VoteRecord>(&[]), Err(NotARecord));
    }
}
