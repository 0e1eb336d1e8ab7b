//! The bytes of a segment.
//!
//! A segment is a header and then a chain of records, each starting on a multiple of 8. Integers are little-endian.
//!
//! ```text
//! header  0 magic  8 version u32  12 crc u32  16 sequence u64  24 generation u64  32 salt u64  40 previous end u64
//! record  0 crc u32  4 length u32  8 generation u64  16 durable u32  20 kind u8, 3 zeros  24 index u64  32 term u64
//!         40 payload, then zeros up to the next multiple of 8
//! ```
//!
//! Both checksums are CRC32C. The one of a record covers everything behind it and is seeded with the log's salt, the
//! segment and the offset, so that a record is valid at one place of one log only.

use std::io;

/// Most bytes of one payload.
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most bytes of the hard state, and of what is committed.
pub const STATE_BYTES_MAX: usize = 64 * 1024;

/// Offsets within a segment are 32-bit numbers on disk; beyond this a segment cannot grow.
pub(super) const SEGMENT_BYTES_LIMIT: u64 = u32::MAX as u64 - 16 * 1024 * 1024;

pub(super) const SEGMENT_HEADER_BYTES: usize = 48;
pub(super) const RECORD_HEADER_BYTES: usize = 40;
pub(super) const ALIGNMENT: usize = 8;

const MAGIC: [u8; 8] = *b"ha-wal\r\n";
const VERSION: u32 = 1;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// First in each segment: the state before it, so that older segments can go.
    Checkpoint,
    /// First after each start: raises the generation, so that what was cut off can never be taken for valid again.
    Open,
    /// An entry of the log.
    Entry,
    /// Replaces the hard state.
    HardState,
    /// Replaces what is committed.
    Committed,
    /// Drops the entries from `index` on.
    Cut,
    /// Drops the entries up to `index`.
    Purge,
    /// Nothing follows, and all before it is durable. Written without a sync when there is nothing else to do, and
    /// overwritten by the next batch. At the end of a segment that is full, the *seal*: `index` tells how many bytes the
    /// file of the next segment has at least, which is in use; else it is 0.
    Mark,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Checkpoint,
        Self::Open,
        Self::Entry,
        Self::HardState,
        Self::Committed,
        Self::Cut,
        Self::Purge,
        Self::Mark,
    ];

    fn code(self) -> u8 {
        match self {
            Self::Checkpoint => 1,
            Self::Open => 2,
            Self::Entry => 3,
            Self::HardState => 4,
            Self::Committed => 5,
            Self::Cut => 6,
            Self::Purge => 7,
            Self::Mark => 8,
        }
    }
}

/// The start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Counts the segments of the log; also the name of the file. A recycled file still holds an older one.
    pub(super) sequence: u64,
    /// The generation of its first records.
    pub(super) generation: u64,
    /// A random number, the same in the whole log.
    pub(super) salt: u64,
    /// Where the segment before this one ended.
    pub(super) previous_end: u64,
}

/// What the start of a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderBytes {
    Valid(SegmentHeader),
    /// Whole, but written by a newer version of this program.
    Newer(u32),
    /// Never written.
    Zero,
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = header_crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> HeaderBytes {
        if bytes.iter().all(|byte| *byte == 0) {
            return HeaderBytes::Zero;
        }
        if bytes[..8] != MAGIC || u32_at(bytes, 12) != header_crc(bytes) {
            return HeaderBytes::Damaged;
        }
        match u32_at(bytes, 8) {
            VERSION => HeaderBytes::Valid(Self {
                sequence: u64_at(bytes, 16),
                generation: u64_at(bytes, 24),
                salt: u64_at(bytes, 32),
                previous_end: u64_at(bytes, 40),
            }),
            version => HeaderBytes::Newer(version),
        }
    }

    /// The seed of the checksums in this segment.
    pub(super) fn seed(salt: u64, sequence: u64) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &sequence.to_le_bytes())
    }
}

fn header_crc(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: Kind,
    pub(super) generation: u64,
    /// Everything in this segment before this offset was durable when this record was written: the proof that damage
    /// there is damage, and not a write that was torn.
    pub(super) durable: u32,
    pub(super) index: u64,
    pub(super) term: u64,
}

/// The first bytes of a possible record, before its checksum is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) generation: u64,
    pub(super) durable: u32,
    /// Of the payload.
    pub(super) length: usize,
    kind: u8,
}

/// Why bytes are not a record of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotARecord {
    Damaged,
    /// Valid, but of a kind that this version does not know.
    Newer(u8),
}

impl Candidate {
    /// Reads what decides how many bytes the record would have; `None` when no record has such a header.
    pub(super) fn peek(header: &[u8]) -> Option<Self> {
        let candidate = Self {
            generation: u64_at(header, 8),
            durable: u32_at(header, 16),
            length: u32_at(header, 4) as usize,
            kind: header[20],
        };
        (candidate.kind != 0 && candidate.length <= PAYLOAD_BYTES_MAX).then_some(candidate)
    }

    pub(super) fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.length
    }

    /// Checks the whole record; `bytes` has exactly [`Self::bytes`].
    pub(super) fn check(&self, bytes: &[u8], seed: u32, offset: u64) -> Result<RecordHeader, NotARecord> {
        if u32_at(bytes, 0) != record_crc(bytes, seed, offset) {
            return Err(NotARecord::Damaged);
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.code() == self.kind).ok_or(NotARecord::Newer(self.kind))?;
        Ok(RecordHeader {
            kind,
            generation: self.generation,
            durable: self.durable,
            index: u64_at(bytes, 24),
            term: u64_at(bytes, 32),
        })
    }
}

/// Bytes that a record takes in its segment.
pub(super) fn record_bytes(payload: usize) -> u64 {
    (RECORD_HEADER_BYTES + payload.next_multiple_of(ALIGNMENT)) as u64
}

impl RecordHeader {
    /// Appends the record to a buffer, which is its only copy of the payload.
    pub(super) fn encode(&self, payload: &[u8], seed: u32, offset: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let start = buffer.len();
        let mut header = [0; RECORD_HEADER_BYTES];
        header[4..8].copy_from_slice(&length.to_le_bytes());
        header[8..16].copy_from_slice(&self.generation.to_le_bytes());
        header[16..20].copy_from_slice(&self.durable.to_le_bytes());
        header[20] = self.kind.code();
        header[24..32].copy_from_slice(&self.index.to_le_bytes());
        header[32..40].copy_from_slice(&self.term.to_le_bytes());
        buffer.extend_from_slice(&header);
        buffer.extend_from_slice(payload);
        let crc = record_crc(&buffer[start..], seed, offset);
        buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        buffer.resize(start + RECORD_HEADER_BYTES + payload.len().next_multiple_of(ALIGNMENT), 0);
        Ok(())
    }
}

pub(super) fn record_crc(record: &[u8], seed: u32, offset: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &offset.to_le_bytes()), &record[4..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader { sequence: 7, generation: 9, salt: 11, previous_end: 13 };
    const RECORD: RecordHeader = RecordHeader { kind: Kind::Entry, generation: 9, durable: 48, index: 3, term: 2 };

    #[test]
    fn a_header_reads_back_and_any_flipped_bit_is_seen() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), HeaderBytes::Valid(HEADER));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), HeaderBytes::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_header_is_told_from_a_damaged_one() {
        let mut bytes = HEADER.encode();
        bytes[8] = 2;
        let crc = header_crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), HeaderBytes::Newer(2));
    }

    #[test]
    fn a_record_is_valid_at_its_own_place_only() {
        let mut buffer = Vec::new();
        RECORD.encode(b"hello", 5, 96, &mut buffer).unwrap();
        assert_eq!(buffer.len() as u64, record_bytes(5));
        let candidate = Candidate::peek(&buffer).unwrap();
        let bytes = &buffer[..candidate.bytes()];
        assert_eq!(candidate.check(bytes, 5, 96), Ok(RECORD));
        assert_eq!(candidate.check(bytes, 6, 96), Err(NotARecord::Damaged), "another segment");
        assert_eq!(candidate.check(bytes, 5, 104), Err(NotARecord::Damaged), "another offset");
    }

    #[test]
    fn the_layout_is_fixed() {
        // Golden bytes: a change here makes existing logs unreadable.
        let mut buffer = HEADER.encode().to_vec();
        RECORD.encode(b"hi", SegmentHeader::seed(11, 7), 48, &mut buffer).unwrap();
        let hex: String = buffer.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "68612d77616c0d0a010000000ea54935070000000000000009000000000000000b000000000000000d00000000000000\
        1f294bfe0200000009000000000000003000000003000000030000000000000002000000000000006869000000000000";
}
