//! The frame of an admitted connection: a length, a fixed header, and a body that nobody here looks into.
//!
//! ```text
//! length u32 | kind u8 | service u8 | id u64 | amount u32 | crc32c u32 | body
//! ```
//! Numbers are big endian. The length counts everything after itself. The checksum covers the header before it and the
//! body. It guards against damage on the way, not against an attacker.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length before each frame.
pub(crate) const LENGTH_BYTES: usize = 4;
/// Bytes of the header, between length and body.
pub(crate) const HEADER_BYTES: usize = 18;
const CHECKSUM_AT: usize = 14;

/// What a frame is for. The numbers are on the wire and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A request; the amount is its deadline in milliseconds from now.
    Ask = 1,
    /// The answer to the request of that id.
    Answer = 2,
    /// Why the request of that id was not served; the body is a sentence.
    Fault = 3,
    /// A one-way message.
    Tell = 4,
    /// Opens the stream of that id.
    Open = 5,
    /// A frame of the stream of that id.
    Frame = 6,
    /// No more frames of that stream will come from this side.
    End = 7,
    /// The request of that id has been given up, or no more frames of that stream are wanted.
    Cancel = 8,
    /// Are you there?
    Ping = 9,
    /// Yes.
    Pong = 10,
    /// The reader of that stream has taken so many bytes; the amount counts them.
    Credit = 11,
    /// This connection ends in good order.
    Goodbye = 12,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        const ALL: [Kind; 12] = [
            Kind::Ask,
            Kind::Answer,
            Kind::Fault,
            Kind::Tell,
            Kind::Open,
            Kind::Frame,
            Kind::End,
            Kind::Cancel,
            Kind::Ping,
            Kind::Pong,
            Kind::Credit,
            Kind::Goodbye,
        ];
        ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// What stands before each body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) service: u8,
    /// Of the request or stream; zero where neither is meant.
    pub(crate) id: u64,
    /// Milliseconds or bytes, as the kind says; otherwise zero.
    pub(crate) amount: u32,
}

impl Header {
    /// A header of which only the kind matters.
    pub(crate) fn plain(kind: Kind) -> Self {
        Self::about(kind, 0)
    }

    /// A header about one request or stream.
    pub(crate) fn about(kind: Kind, id: u64) -> Self {
        Self { kind, service: 0, id, amount: 0 }
    }
}

/// A frame ready to be written: its length and header as bytes, and its body as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) head: [u8; LENGTH_BYTES + HEADER_BYTES],
    pub(crate) body: Bytes,
}

impl Outgoing {
    /// Seals a body whose length the caller has checked against its lane.
    pub(crate) fn new(header: Header, body: Bytes) -> Self {
        let mut head = [0; LENGTH_BYTES + HEADER_BYTES];
        // Lanes limit bodies to a few MiB; a longer one would be cut off by the peer, never written wrong.
        let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
        let (length_bytes, fields) = head.split_at_mut(LENGTH_BYTES);
        length_bytes.copy_from_slice(&length.to_be_bytes());
        fields[0] = header.kind as u8;
        fields[1] = header.service;
        fields[2..10].copy_from_slice(&header.id.to_be_bytes());
        fields[10..CHECKSUM_AT].copy_from_slice(&header.amount.to_be_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&fields[..CHECKSUM_AT]), &body);
        fields[CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
        Self { kind: header.kind, id: header.id, head, body }
    }

    /// A frame without a body.
    pub(crate) fn bare(header: Header) -> Self {
        Self::new(header, Bytes::new())
    }

    /// All its bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// Takes a frame, without its length, apart. The body shares the memory of the frame.
pub(crate) fn open(frame: BytesMut) -> Result<(Header, Bytes), FrameError> {
    let mut rest = frame.freeze();
    let Some(fields) = rest.first_chunk::<HEADER_BYTES>() else {
        return Err(FrameError::Short { bytes: rest.len() });
    };
    let fields = *fields;
    rest.advance(HEADER_BYTES);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&fields[..CHECKSUM_AT]), &rest);
    let mut fields = &fields[..];
    let (kind, service, id, amount) = (fields.get_u8(), fields.get_u8(), fields.get_u64(), fields.get_u32());
    if fields.get_u32() != checksum {
        return Err(FrameError::Checksum);
    }
    let kind = Kind::from_number(kind).ok_or(FrameError::Kind { number: kind })?;
    Ok((Header { kind, service, id, amount }, rest))
}

/// Why some bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {bytes} bytes is shorter than its header")]
    Short { bytes: usize },
    #[error("the checksum of a frame does not match")]
    Checksum,
    #[error("a frame of unknown kind {number}")]
    Kind { number: u8 },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(frame: &Outgoing) -> Vec<u8> {
        [&frame.head[..], &frame.body].concat()
    }

    fn read(bytes: &[u8]) -> Result<(Header, Bytes), FrameError> {
        open(BytesMut::from(bytes))
    }

    #[test]
    fn the_bytes_of_a_frame_stay() {
        let header = Header { kind: Kind::Ask, service: 3, id: 0x0102, amount: 1500 };
        let frame = Outgoing::new(header, Bytes::from_static(b"hi"));
        let golden = [
            0, 0, 0, 20, // length
            1, 3, // ask, service
            0, 0, 0, 0, 0, 0, 1, 2, // id
            0, 0, 5, 220, // deadline
            0xb9, 0x21, 0x91, 0x34, // checksum
            b'h', b'i',
        ];
        assert_eq!(wire(&frame), golden);
    }

    #[test]
    fn the_numbers_of_the_kinds_stay() {
        let numbers: Vec<u8> = (0..=255).filter(|number| Kind::from_number(*number).is_some()).collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<u8>>());
        assert!((1..=12).all(|number| Kind::from_number(number).is_some_and(|kind| kind as u8 == number)));
    }

    #[test]
    fn each_changed_or_missing_byte_is_noticed() {
        let frame = Outgoing::new(Header::about(Kind::Frame, 9), Bytes::from_static(b"some body"));
        let bytes = wire(&frame).split_off(LENGTH_BYTES);
        assert!(read(&bytes).is_ok());
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(read(&damaged).is_err(), "damaged at {at}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(
            number in 1u8..=12, service: u8, id: u64, amount: u32, body in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let header = Header { kind: Kind::from_number(number).unwrap(), service, id, amount };
            let bytes = wire(&Outgoing::new(header, Bytes::from(body.clone())));
            prop_assert_eq!(bytes.len() - LENGTH_BYTES, u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize);
            let (opened, opened_body) = read(&bytes[LENGTH_BYTES..]).unwrap();
            prop_assert_eq!(opened, header);
            prop_assert_eq!(&opened_body[..], &body[..]);
        }

        #[test]
        fn random_bytes_are_never_a_frame(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // One in four thousand million would be.
            prop_assert!(read(&bytes).is_err());
        }
    }
}
