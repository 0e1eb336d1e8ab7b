//! What nodes are like, and how that spreads: one versioned record per node, riding in the packets of SWIM.
//!
//! News goes in the next few packets to anybody, and each node that it is news to passes it on in the same way. Beside
//! that each ping carries the record of its sender and that of one other node in turn, and the answer to an announcement
//! carries as many as fit, so that whoever missed the news learns it a little later.

use std::collections::BTreeMap;
use std::ops::Bound;

use ha_net::{Incarnation, NodeId};

use super::events::PacketError;
use super::fields::{DecodeError, Reader, put_number, put_text};
use super::packet::Kind;
use super::swim::SWIM_BYTES_MAX;
use super::traits::{PROGRAM_VERSION_BYTES_MAX, ProgramVersion, Suffrage, Traits};
use crate::Role;

/// Version of the format of packets, their first byte.
const PACKET_VERSION: u8 = 1;
/// Most bytes of records in one packet.
const RECORDS_BYTES_MAX: usize = 2 * 1024;
/// Most bytes of one packet: version, number of records, records, SWIM.
pub(super) const PACKET_BYTES_MAX: usize = 2 + RECORDS_BYTES_MAX + SWIM_BYTES_MAX;
/// Packets that carry the same piece of news.
const NEWS_REPEATS: u8 = 12;
/// Most records kept. More than members, since a record may come first.
const RECORDS_MAX: usize = 2 * super::table::MEMBERS_MAX;

/// What a node said of itself, at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    incarnation: Incarnation,
    /// Counts the changes within one incarnation.
    version: u32,
    /// It said goodbye.
    left: bool,
    traits: Traits,
}

impl Record {
    fn age(&self) -> (Incarnation, u32) {
        (self.incarnation, self.version)
    }
}

/// All records known here.
pub(super) struct Profiles {
    me: NodeId,
    records: BTreeMap<NodeId, Record>,
    /// Whose record is news, and how many packets it still goes into.
    news: BTreeMap<NodeId, u8>,
    /// Whose record went out last in turn.
    turn: NodeId,
}

impl Profiles {
    pub(super) fn new(me: NodeId, incarnation: Incarnation, traits: Traits) -> Self {
        let own = Record { incarnation, version: 0, left: false, traits };
        Self {
            records: BTreeMap::from([(me.clone(), own)]),
            news: BTreeMap::from([(me.clone(), NEWS_REPEATS)]),
            turn: me.clone(),
            me,
        }
    }

    /// What a life of a node is like.
    pub(super) fn traits(&self, node: &NodeId, incarnation: Incarnation) -> Option<&Traits> {
        self.of(node, incarnation).map(|record| &record.traits)
    }

    /// Whether a life of a node said goodbye.
    pub(super) fn has_left(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        self.of(node, incarnation).is_some_and(|record| record.left)
    }

    fn of(&self, node: &NodeId, incarnation: Incarnation) -> Option<&Record> {
        self.records.get(node).filter(|record| record.incarnation == incarnation)
    }

    /// This node is now like this, and leaves or stays.
    pub(super) fn set_own(&mut self, traits: Option<Traits>, left: bool) {
        if let Some(own) = self.records.get_mut(&self.me) {
            own.version = own.version.saturating_add(1);
            own.left = left;
            own.traits = traits.unwrap_or_else(|| own.traits.clone());
            self.news.insert(self.me.clone(), NEWS_REPEATS);
        }
    }

    /// A node came that may know nothing of this one.
    pub(super) fn tell_own_again(&mut self) {
        self.news.insert(self.me.clone(), NEWS_REPEATS);
    }

    /// Loses all memory of a node.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.records.remove(node);
        self.news.remove(node);
    }

    /// Takes over a record; true when it was news. `is_member` tells whom to keep when there are too many.
    pub(super) fn merge(&mut self, node: NodeId, record: Record, is_member: impl Fn(&NodeId) -> bool) -> bool {
        let age = self.records.get(&node).map(Record::age);
        if node == self.me {
            self.defend(age, record.age());
            return false;
        }
        if age.is_some_and(|known| record.age() <= known) {
            return false;
        }
        if age.is_none() && self.records.len() >= RECORDS_MAX {
            let me = self.me.clone();
            let keep = |node: &NodeId| *node == me || is_member(node);
            self.records.retain(|node, _| keep(node));
            self.news.retain(|node, _| keep(node));
            if self.records.len() >= RECORDS_MAX {
                return false;
            }
        }
        self.records.insert(node.clone(), record);
        self.news.insert(node, NEWS_REPEATS);
        true
    }

    /// Nobody else knows better what this node is like: overrules what pretends to be newer.
    fn defend(&mut self, own: Option<(Incarnation, u32)>, claimed: (Incarnation, u32)) {
        if let Some((incarnation, version)) = own
            && claimed.0 == incarnation
            && claimed.1 > version
            && let Some(record) = self.records.get_mut(&self.me)
        {
            record.version = claimed.1.saturating_add(1);
            self.tell_own_again();
        }
    }

    /// Puts records in front of a SWIM packet.
    pub(super) fn seal(&mut self, kind: &Kind, swim: &[u8]) -> Vec<u8> {
        let mut bytes = vec![PACKET_VERSION, 0];
        let mut added = Vec::new();
        for node in self.choose(kind) {
            let Some(record) = self.records.get(&node) else { continue };
            let before = bytes.len();
            write_record(&mut bytes, &node, record);
            if bytes.len() > 2 + RECORDS_BYTES_MAX || added.len() == usize::from(u8::MAX) {
                bytes.truncate(before);
                break;
            }
            added.push(node);
        }
        bytes[1] = added.len() as u8;
        for node in added {
            if let Some(repeats) = self.news.get_mut(&node) {
                *repeats -= 1;
                if *repeats == 0 {
                    self.news.remove(&node);
                }
            }
        }
        bytes.extend_from_slice(swim);
        bytes
    }

    /// Whose records should go into a packet, most urgent first.
    fn choose(&mut self, kind: &Kind) -> Vec<NodeId> {
        let mut news: Vec<_> = self.news.iter().map(|(node, repeats)| (u8::MAX - repeats, node.clone())).collect();
        news.sort();
        let mut nodes: Vec<_> = news.into_iter().map(|(_, node)| node).collect();
        let in_turn = match kind {
            Kind::Ping(_) => 1,
            Kind::Feed => usize::from(u8::MAX),
            _ => 0,
        };
        if matches!(kind, Kind::Ping(_) | Kind::Announce | Kind::Feed) && !self.news.contains_key(&self.me) {
            nodes.push(self.me.clone());
        }
        for _ in 0..in_turn.min(self.records.len()) {
            let after = (Bound::Excluded(&self.turn), Bound::Unbounded);
            let Some(next) = self.records.range::<NodeId, _>(after).chain(&self.records).next() else { break };
            self.turn = next.0.clone();
            if !nodes.contains(&self.turn) {
                nodes.push(self.turn.clone());
            }
        }
        nodes
    }
}

/// The records in a packet, and its SWIM part.
pub(super) type Opened<'a> = (Vec<(NodeId, Record)>, &'a [u8]);

/// Splits a packet into records and SWIM's part.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, PacketError> {
    if bytes.len() > PACKET_BYTES_MAX {
        return Err(PacketError::TooLarge { bytes: bytes.len() });
    }
    let mut reader = Reader(bytes);
    match reader.byte()? {
        PACKET_VERSION => {}
        found => return Err(PacketError::Version { found }),
    }
    let count = reader.byte()?;
    let mut records = Vec::with_capacity(count.into());
    for _ in 0..count {
        records.push(read_record(&mut reader)?);
    }
    Ok((records, reader.0))
}

const WITNESS: u8 = 1;
const LEFT: u8 = 2;
const SUFFRAGE_SHIFT: u32 = 2;

fn write_record(bytes: &mut Vec<u8>, node: &NodeId, record: &Record) {
    let Record { incarnation, version, left, traits } = record;
    put_text(bytes, node.as_str());
    put_number(bytes, incarnation.0);
    put_number(bytes, (*version).into());
    let witness = if traits.role == Role::Witness { WITNESS } else { 0 };
    let left = if *left { LEFT } else { 0 };
    let suffrage = match traits.suffrage {
        Suffrage::None => 0,
        Suffrage::Learner => 1,
        Suffrage::Voter => 2,
    };
    bytes.push(witness | left | suffrage << SUFFRAGE_SHIFT);
    put_number(bytes, traits.priority.into());
    bytes.push(traits.health);
    put_text(bytes, traits.version.as_str());
}

fn read_record(reader: &mut Reader<'_>) -> Result<(NodeId, Record), DecodeError> {
    let node = reader.node_id()?;
    let (incarnation, version) = (reader.incarnation()?, reader.number()?);
    let flags = reader.byte()?;
    let suffrage = match flags >> SUFFRAGE_SHIFT {
        0 => Suffrage::None,
        1 => Suffrage::Learner,
        2 => Suffrage::Voter,
        found => return Err(DecodeError::Kind { what: "suffrage", found }),
    };
    let traits = Traits {
        role: if flags & WITNESS == 0 { Role::Member } else { Role::Witness },
        suffrage,
        priority: reader.number()?,
        health: reader.byte()?,
        version: ProgramVersion::new(reader.text(PROGRAM_VERSION_BYTES_MAX)?),
    };
    Ok((node, Record { incarnation, version, left: flags & LEFT != 0, traits }))
}
