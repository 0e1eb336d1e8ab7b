//! The bytes of a SWIM packet: what kind, from whom, to whom, and news of members.

use bytes::{Buf, BufMut};
use ha_net::NodeId;

use super::fields::{DecodeError, Reader, put_address, put_number, put_text};
use super::swim::{Codec, Header, Id, Member, Message, State};

/// A SWIM packet, read.
#[derive(Debug)]
pub(super) struct Packet {
    header: Header<Id>,
    news: Vec<Member<Id>>,
}

/// What a packet proves or asks, as far as the driver cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Asks whether the receiver is alive.
    Ping(u8),
    /// This node answered a ping with that number.
    Ack(NodeId, u8),
    /// Asks for all members.
    Announce,
    /// All members.
    Feed,
    /// A first word to a new member.
    Greeting,
    /// Anything else.
    Other,
}

impl Packet {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let header = read_header(&mut reader)?;
        let count = if reader.0.is_empty() { 0 } else { reader.bytes(2)?.get_u16() };
        // Each takes more than ten bytes: the length of the packet bounds what is allocated here.
        let mut news = Vec::new();
        for _ in 0..count {
            news.push(read_member(&mut reader)?);
        }
        match reader.0.len() {
            0 => Ok(Self { header, news }),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }

    /// A packet that tells its receiver that it is suspected.
    pub(super) fn warning(from: &Id, suspect: &Member<Id>) -> Self {
        Self::gossip(from, suspect.id(), vec![suspect.clone()])
    }

    /// A packet that says nothing but who sends it.
    pub(super) fn greeting(from: &Id, to: &Id) -> Self {
        Self::gossip(from, to, Vec::new())
    }

    fn gossip(from: &Id, to: &Id, news: Vec<Member<Id>>) -> Self {
        // Zero is never newer than what the receiver knows of us.
        let header = Header { src: from.clone(), src_incarnation: 0, dst: to.clone(), message: Message::Gossip };
        Self { header, news }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_header(&mut bytes, &self.header);
        if !matches!(self.header.message, Message::Announce | Message::TurnUndead) {
            bytes.put_u16(u16::try_from(self.news.len()).unwrap_or(u16::MAX));
            self.news.iter().take(usize::from(u16::MAX)).for_each(|member| write_member(&mut bytes, member));
        }
        bytes
    }

    pub(super) fn from(&self) -> &Id {
        &self.header.src
    }

    pub(super) fn to(&self) -> &Id {
        &self.header.dst
    }

    /// The node on whose behalf, or about which, this is asked or answered.
    pub(super) fn third(&self) -> Option<&Id> {
        match &self.header.message {
            Message::PingReq { target: id, .. }
            | Message::IndirectPing { origin: id, .. }
            | Message::IndirectAck { target: id, .. }
            | Message::ForwardedAck { origin: id, .. } => Some(id),
            _ => None,
        }
    }

    pub(super) fn news(&self) -> &[Member<Id>] {
        &self.news
    }

    /// Takes out the news of which `keep` is false; true when there was some.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Id) -> bool) -> bool {
        let before = self.news.len();
        self.news.retain(|member| keep(member.id()));
        self.news.len() != before
    }

    pub(super) fn kind(&self) -> Kind {
        match &self.header.message {
            Message::Ping(number) => Kind::Ping(*number),
            Message::Ack(number) => Kind::Ack(self.header.src.node.clone(), *number),
            Message::ForwardedAck { origin, probe_number } => Kind::Ack(origin.node.clone(), *probe_number),
            Message::Announce => Kind::Announce,
            Message::Feed => Kind::Feed,
            _ => Kind::Other,
        }
    }

    /// What kind a packet is that this node has just made.
    pub(super) fn kind_of(bytes: &[u8]) -> Kind {
        match bytes {
            [PING, number, ..] => Kind::Ping(*number),
            [ANNOUNCE, ..] => Kind::Announce,
            [FEED, ..] => Kind::Feed,
            _ => Kind::Other,
        }
    }
}

const PING: u8 = 0;
const ACK: u8 = 1;
const PING_REQUEST: u8 = 2;
const INDIRECT_PING: u8 = 3;
const INDIRECT_ACK: u8 = 4;
const FORWARDED_ACK: u8 = 5;
const ANNOUNCE: u8 = 6;
const FEED: u8 = 7;
const GOSSIP: u8 = 8;
const TURN_UNDEAD: u8 = 9;
/// Never sent: there are no custom broadcasts.
const BROADCAST: u8 = 10;

fn write_header(buffer: &mut Vec<u8>, header: &Header<Id>) {
    let (kind, number, third) = match &header.message {
        Message::Ping(number) => (PING, Some(*number), None),
        Message::Ack(number) => (ACK, Some(*number), None),
        Message::PingReq { target, probe_number } => (PING_REQUEST, Some(*probe_number), Some(target)),
        Message::IndirectPing { origin, probe_number } => (INDIRECT_PING, Some(*probe_number), Some(origin)),
        Message::IndirectAck { target, probe_number } => (INDIRECT_ACK, Some(*probe_number), Some(target)),
        Message::ForwardedAck { origin, probe_number } => (FORWARDED_ACK, Some(*probe_number), Some(origin)),
        Message::Announce => (ANNOUNCE, None, None),
        Message::Feed => (FEED, None, None),
        Message::Gossip => (GOSSIP, None, None),
        Message::TurnUndead => (TURN_UNDEAD, None, None),
        Message::Broadcast => (BROADCAST, None, None),
    };
    buffer.push(kind);
    buffer.extend(number);
    if let Some(third) = third {
        write_id(buffer, third, true);
    }
    write_id(buffer, &header.src, true);
    put_number(buffer, header.src_incarnation.into());
    write_id(buffer, &header.dst, false);
}

fn read_header(reader: &mut Reader<'_>) -> Result<Header<Id>, DecodeError> {
    let message = match reader.byte()? {
        PING => Message::Ping(reader.byte()?),
        ACK => Message::Ack(reader.byte()?),
        PING_REQUEST => Message::PingReq { probe_number: reader.byte()?, target: read_id(reader)? },
        INDIRECT_PING => Message::IndirectPing { probe_number: reader.byte()?, origin: read_id(reader)? },
        INDIRECT_ACK => Message::IndirectAck { probe_number: reader.byte()?, target: read_id(reader)? },
        FORWARDED_ACK => Message::ForwardedAck { probe_number: reader.byte()?, origin: read_id(reader)? },
        ANNOUNCE => Message::Announce,
        FEED => Message::Feed,
        GOSSIP => Message::Gossip,
        TURN_UNDEAD => Message::TurnUndead,
        found => return Err(DecodeError::Kind { what: "gossip message", found }),
    };
    Ok(Header { message, src: read_id(reader)?, src_incarnation: reader.number()?, dst: read_id(reader)? })
}

fn write_member(buffer: &mut Vec<u8>, member: &Member<Id>) {
    buffer.push(match member.state() {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    });
    put_number(buffer, member.incarnation().into());
    write_id(buffer, member.id(), true);
}

fn read_member(reader: &mut Reader<'_>) -> Result<Member<Id>, DecodeError> {
    let state = match reader.byte()? {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        found => return Err(DecodeError::Kind { what: "state of a member", found }),
    };
    let incarnation = reader.number()?;
    Ok(Member::new(read_id(reader)?, incarnation, state))
}

fn write_id(buffer: &mut Vec<u8>, id: &Id, with_address: bool) {
    put_text(buffer, id.node.as_str());
    put_number(buffer, id.incarnation.0);
    put_number(buffer, id.renewals.into());
    match id.address.as_ref().filter(|_| with_address) {
        Some(address) => {
            buffer.push(1);
            put_address(buffer, address);
        }
        None => buffer.push(0),
    }
}

fn read_id(reader: &mut Reader<'_>) -> Result<Id, DecodeError> {
    let (node, incarnation, renewals) = (reader.node_id()?, reader.incarnation()?, reader.number()?);
    let address = match reader.byte()? {
        0 => None,
        1 => Some(reader.address()?),
        found => return Err(DecodeError::Kind { what: "presence of an address", found }),
    };
    Ok(Id { node, incarnation, renewals, address })
}

/// Writes and reads SWIM's records.
pub(super) struct SwimCodec;

/// A record does not fit into what is left of a packet, or is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    #[error("the packet is full")]
    Full,
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Codec<Id> for SwimCodec {
    type Error = CodecError;

    fn encode_header(&mut self, header: &Header<Id>, buffer: impl BufMut) -> Result<(), CodecError> {
        put(buffer, |bytes| write_header(bytes, header))
    }

    fn decode_header(&mut self, buffer: impl Buf) -> Result<Header<Id>, CodecError> {
        take(buffer, read_header)
    }

    fn encode_member(&mut self, member: &Member<Id>, buffer: impl BufMut) -> Result<(), CodecError> {
        put(buffer, |bytes| write_member(bytes, member))
    }

    fn decode_member(&mut self, buffer: impl Buf) -> Result<Member<Id>, CodecError> {
        take(buffer, read_member)
    }
}

/// Writes all of a record or nothing of it.
fn put(mut buffer: impl BufMut, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), CodecError> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    if buffer.remaining_mut() < bytes.len() {
        return Err(CodecError::Full);
    }
    buffer.put_slice(&bytes);
    Ok(())
}

fn take<T>(
    mut buffer: impl Buf,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, CodecError> {
    let before = buffer.chunk();
    let mut reader = Reader(before);
    let record = read(&mut reader)?;
    let taken = before.len() - reader.0.len();
    buffer.advance(taken);
    Ok(record)
}

#[cfg(test)]
mod tests {
    use ha_net::Incarnation;

    use super::*;

    fn id(node: &str, address: Option<&str>) -> Id {
        Id {
            node: node.parse().unwrap(),
            incarnation: Incarnation(300),
            renewals: 2,
            address: address.map(|address| address.parse().unwrap()),
        }
    }

    fn packet(message: Message<Id>, news: Vec<Member<Id>>) -> Packet {
        let header = Header { src: id("a", Some("h:1")), src_incarnation: 5, dst: id("b", None), message };
        Packet { header, news }
    }

    #[test]
    fn every_packet_returns() {
        let third = || id("c", Some("[::1]:65535"));
        let messages = [
            Message::Ping(7),
            Message::Ack(7),
            Message::PingReq { target: third(), probe_number: 7 },
            Message::IndirectPing { origin: third(), probe_number: 7 },
            Message::IndirectAck { target: third(), probe_number: 7 },
            Message::ForwardedAck { origin: third(), probe_number: 7 },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::TurnUndead,
        ];
        for message in messages {
            let bare = matches!(message, Message::Announce | Message::TurnUndead);
            let states = [State::Alive, State::Suspect, State::Down];
            let news = states.map(|state| Member::new(third(), 9, state)).into_iter().filter(|_| !bare).collect();
            let sent = packet(message, news);
            let bytes = sent.encode();
            let read = Packet::decode(&bytes).unwrap();
            assert_eq!((&read.header, &read.news), (&sent.header, &sent.news));
            assert_eq!(read.from().address, sent.from().address, "which equality leaves out");
            let mut header = Vec::new();
            write_header(&mut header, &sent.header);
            for length in (0..bytes.len()).filter(|length| *length != header.len()) {
                assert!(Packet::decode(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
            }
        }
    }

    /// The format is a promise to nodes of other versions: a change needs a new version of packets.
    #[test]
    fn the_format_stays() {
        let news = vec![Member::new(id("c", Some("h:7946")), 9, State::Suspect)];
        assert_eq!(
            packet(Message::Ping(7), news).encode(),
            [
                [0, 7].as_slice(),                                  // ping 7
                &[1, b'a', 0xac, 2, 2, 1, 1, b'h', 1, 5],           // from a, its address, and its refutations
                &[1, b'b', 0xac, 2, 2, 0],                          // to b
                &[0, 1],                                            // one piece of news
                &[1, 9, 1, b'c', 0xac, 2, 2, 1, 1, b'h', 0x8a, 62], // c is suspected
            ]
            .concat()
        );
    }

    #[test]
    fn what_follows_the_end_is_refused() {
        let mut bytes = packet(Message::Gossip, Vec::new()).encode();
        bytes.push(0);
        assert_eq!(Packet::decode(&bytes).unwrap_err(), DecodeError::Trailing { bytes: 1 });
    }

    #[test]
    fn a_full_packet_takes_no_part_of_a_record() {
        let member = Member::alive(id("node", Some("host:1")));
        let mut buffer = Vec::new();
        assert!(SwimCodec.encode_member(&member, (&mut buffer).limit(10)).is_err());
        assert!(buffer.is_empty());
    }
}
