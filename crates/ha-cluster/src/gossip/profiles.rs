//! What nodes are like, and how that spreads: one versioned record per node, riding in the packets of SWIM.
//!
//! News goes in the next few packets to anybody, and each node that it is news to passes it on in the same way. Beside
//! that each ping carries the record of its sender, and each answer to an announcement carries as many as fit, so that
//! whoever comes later or missed the news learns it too.

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
    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

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
    /// Whose record was the last that fitted into the last answer to an announcement.
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

    /// This node is now like this; false when it was before.
    pub(super) fn update(&mut self, traits: Traits) -> bool {
        self.change(|own| own.traits = traits)
    }

    /// This node says goodbye.
    pub(super) fn leave(&mut self) {
        self.change(|own| own.left = true);
    }

    fn change(&mut self, change: impl FnOnce(&mut Record)) -> bool {
        let Some(own) = self.records.get_mut(&self.me) else { return false };
        let before = own.clone();
        change(own);
        if *own == before {
            return false;
        }
        own.version = own.version.saturating_add(1);
        self.news.insert(self.me.clone(), NEWS_REPEATS);
        true
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
            self.news.insert(self.me.clone(), NEWS_REPEATS);
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
        if let (Kind::Feed, Some(last)) = (kind, added.last()) {
            self.turn = last.clone();
        }
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
    fn choose(&self, kind: &Kind) -> Vec<NodeId> {
        let mut news: Vec<_> = self.news.iter().map(|(node, repeats)| (u8::MAX - repeats, node.clone())).collect();
        news.sort();
        let mut nodes: Vec<_> = news.into_iter().map(|(_, node)| node).collect();
        let with_own = matches!(kind, Kind::Ping(_) | Kind::Announce | Kind::Greeting | Kind::Feed);
        if with_own && !self.news.contains_key(&self.me) {
            nodes.push(self.me.clone());
        }
        if *kind == Kind::Feed {
            let after = (Bound::Excluded(&self.turn), Bound::Unbounded);
            let in_turn = self.records.range::<NodeId, _>(after).chain(&self.records).map(|(node, _)| node);
            let others = in_turn.take(self.records.len()).filter(|node| !nodes.contains(node));
            nodes.extend(others.cloned().collect::<Vec<_>>());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeId {
        format!("node-{number}").parse().unwrap()
    }

    fn traits(priority: u16) -> Traits {
        let version = ProgramVersion::new("1.2");
        Traits { priority, role: Role::Witness, version, suffrage: Suffrage::Voter, health: 90 }
    }

    fn profiles(number: usize) -> Profiles {
        Profiles::new(node(number), Incarnation(3), traits(0))
    }

    fn record(incarnation: u64, version: u32) -> Record {
        Record { incarnation: Incarnation(incarnation), version, left: false, traits: traits(version as u16) }
    }

    /// The format is a promise to nodes of other versions: a change needs a new version of packets.
    #[test]
    fn the_format_stays() {
        let mut profiles = profiles(1);
        assert!(profiles.update(traits(300)));
        profiles.leave();
        let bytes = profiles.seal(&Kind::Other, b"swim");
        assert_eq!(
            bytes,
            [
                [1, 1].as_slice(),                              // version of packets, number of records
                &[6, b'n', b'o', b'd', b'e', b'-', b'1', 3, 2], // node, incarnation, version
                &[0b1011, 0xac, 2, 90, 3, b'1', b'.', b'2'],    // voter, left, witness; priority, health, program
                b"swim",
            ]
            .concat()
        );
        let (records, rest) = open(&bytes).unwrap();
        assert_eq!(rest, b"swim");
        let expected = Record { left: true, traits: traits(300), ..record(3, 2) };
        assert_eq!(records, [(node(1), expected)]);
    }

    #[test]
    fn only_what_is_newer_is_news() {
        let mut profiles = profiles(1);
        for (incarnation, version, is_news) in
            [(1, 5, true), (1, 5, false), (1, 4, false), (2, 0, true), (1, 9, false), (2, 1, true)]
        {
            let merged = profiles.merge(node(2), record(incarnation, version), |_| true);
            assert_eq!(merged, is_news, "{incarnation}.{version}");
        }
        assert_eq!(profiles.traits(&node(2), Incarnation(2)).unwrap().priority, 1);
        assert_eq!(profiles.traits(&node(2), Incarnation(1)), None, "of another life");
    }

    #[test]
    fn nobody_else_says_what_this_node_is_like() {
        let mut profiles = profiles(1);
        assert!(!profiles.merge(node(1), record(3, 7), |_| true));
        assert!(!profiles.merge(node(1), record(9, 7), |_| true));
        assert_eq!(profiles.traits(&node(1), Incarnation(3)).unwrap().priority, 0);
        let bytes = profiles.seal(&Kind::Other, b"");
        let (records, _) = open(&bytes).unwrap();
        assert_eq!(records[0].1.version, 8, "newer than what pretended to be");
    }

    #[test]
    fn what_is_no_change_is_no_news() {
        let mut profiles = profiles(1);
        assert!(!profiles.update(traits(0)));
        assert!(profiles.update(traits(1)));
    }

    #[test]
    fn news_goes_out_a_few_times() {
        let mut profiles = profiles(1);
        let carry = |profiles: &mut Profiles, kind| open(&profiles.seal(kind, b"")).unwrap().0.len();
        for _ in 0..NEWS_REPEATS {
            assert_eq!(carry(&mut profiles, &Kind::Other), 1);
        }
        assert_eq!(carry(&mut profiles, &Kind::Other), 0);
        assert_eq!(carry(&mut profiles, &Kind::Ping(1)), 1, "a ping says what its sender is like in any case");
    }

    #[test]
    fn answers_to_announcements_tell_of_all_in_turn() {
        let mut profiles = profiles(0);
        for number in 1..500 {
            profiles.merge(node(number), record(1, 0), |_| true);
        }
        // Past being news.
        profiles.news.clear();
        let mut told = std::collections::BTreeSet::new();
        let mut packets = 0;
        while told.len() < 500 {
            let bytes = profiles.seal(&Kind::Feed, b"");
            assert!(bytes.len() <= 2 + RECORDS_BYTES_MAX);
            told.extend(open(&bytes).unwrap().0.into_iter().map(|(node, _)| node));
            packets += 1;
        }
        assert!(packets <= 7, "{packets}");
    }

    #[test]
    fn records_are_bounded_and_members_stay() {
        let mut profiles = profiles(0);
        let is_member = |of: &NodeId| *of == node(1);
        for number in 1..3 * RECORDS_MAX {
            profiles.merge(node(number), record(1, 0), is_member);
            assert!(profiles.records.len() <= RECORDS_MAX && profiles.news.len() <= RECORDS_MAX);
        }
        assert!(profiles.traits(&node(0), Incarnation(3)).is_some());
        assert!(profiles.traits(&node(1), Incarnation(1)).is_some());
        assert!(profiles.traits(&node(2), Incarnation(1)).is_none());
    }
}
