//! A record, its version, and the bytes in which both are kept and sent.
//!
//! ```text
//! 0 schema u8   1 flags u8   2 crc u32 of the key and all that follows   6 time u64   14 tie u64   22 place u64   30 data
//! ```
//!
//! Where the flags say so, the data begins with a length (u32) and so many bytes of the record's past.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, Serializer};

use crate::Key;

/// Most bytes of one record.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// Bytes before the data.
pub(crate) const HEADER_BYTES: usize = 30;

const SCHEMA: u8 = 1;
const GRAVE: u8 = 1;
/// The data is preceded by the past and its length.
const HAS_PAST: u8 = 2;

/// Orders the changes of one record: a later change has a higher version, on every copy.
///
/// On the ordered path it is the cluster's epoch, a number that grows by one with each command. Without a leader it is a
/// hybrid time and the node that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct Version {
    /// The epoch, or the hybrid time.
    pub time: u64,
    /// Tells versions of one time apart.
    pub tie: u64,
}

impl Version {
    /// Set in the tie of every version that was given without a leader.
    pub(crate) const STAMPED: u64 = 1 << 63;

    /// Whether it was given without a leader.
    pub fn is_stamp(self) -> bool {
        self.tie & Self::STAMPED != 0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_stamp() { write!(f, "{:x}-{:x}", self.time, self.tie & !Self::STAMPED) } else { self.time.fmt(f) }
    }
}

/// For people and their programs: a number on the ordered path, else a text.
pub(crate) fn shown<S: Serializer>(version: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    if version.is_stamp() { serializer.collect_str(version) } else { serializer.serialize_u64(version.time) }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            shown(self, serializer)
        } else {
            (self.time, self.tie).serialize(serializer)
        }
    }
}

/// A record as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which.
    pub key: Key,
    /// Of its last change.
    pub version: Version,
    /// The bytes as they were replicated: JSON, where they came through [`crate::Replication::replicate`] or HTTP.
    pub data: Bytes,
    /// Values beside this one, where several nodes write without a leader: each was written while that of this record
    /// was, and neither writer saw the other. The next write replaces them all.
    pub siblings: Vec<Sibling>,
}

/// A value that was written at the same time as the record's, by another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    /// Of its write.
    pub version: Version,
    /// Its bytes.
    pub data: Bytes,
}

impl Record {
    /// The data as a type of the caller's.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.data)
    }
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which record.
    pub key: Key,
    /// What it holds now; `None` when it was deleted.
    pub data: Option<Bytes>,
}

/// What is kept of a record: its data, or the grave of a deleted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) version: Version,
    /// Where the change stands in this copy's own order of changes.
    pub(crate) place: u64,
    /// `None` for a grave.
    pub(crate) data: Option<Bytes>,
    /// Which writes are known, and values beside the latest one, where several nodes write without a leader; else
    /// empty.
    pub(crate) past: Bytes,
}

/// The place among all changes of a copy. Those that a leader ordered and those with a stamp never share one, should a
/// store hold both.
pub(crate) fn order(place: u64, version: Version) -> (u64, u64) {
    (place, if version.is_stamp() { u64::MAX } else { version.tie })
}

impl Kept {
    /// Its place among all changes of this copy.
    pub(crate) fn order(&self) -> (u64, u64) {
        order(self.place, self.version)
    }

    /// What it counts as, in bytes.
    pub(crate) fn bytes(&self, key: &Key) -> usize {
        key.bytes().len() + self.data.as_ref().map_or(0, Bytes::len) + self.past.len()
    }

    /// The version of the latest value, as it is shown.
    pub(crate) fn latest(&self) -> Version {
        if self.past.is_empty() { self.version } else { crate::quorum::latest(self) }
    }

    pub(crate) fn encode(&self, key: &Key) -> BytesMut {
        let mut out = BytesMut::new();
        self.encode_to(key, &mut out);
        out
    }

    /// As [`Self::encode`], behind what a buffer holds.
    pub(crate) fn encode_to(&self, key: &Key, out: &mut BytesMut) {
        let data = self.data.as_deref().unwrap_or_default();
        let start = out.len();
        out.reserve(HEADER_BYTES + 4 + self.past.len() + data.len());
        out.put_u8(SCHEMA);
        let has_past = if self.past.is_empty() { 0 } else { HAS_PAST };
        out.put_u8(has_past | if self.data.is_none() { GRAVE } else { 0 });
        out.put_u32_le(0);
        out.put_u64_le(self.version.time);
        out.put_u64_le(self.version.tie);
        out.put_u64_le(self.place);
        if !self.past.is_empty() {
            out.put_u32_le(u32::try_from(self.past.len()).unwrap_or(u32::MAX));
            out.put_slice(&self.past);
        }
        out.put_slice(data);
        let out = &mut out[start..];
        let crc = checksum(key, out);
        out[2..6].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads what [`Self::encode`] wrote, or says that it is damaged.
    pub(crate) fn decode(key: &Key, bytes: &[u8]) -> Result<Self, Damaged> {
        let kept = Self::header(bytes).ok_or(Damaged)?;
        if bytes[2..6] != checksum(key, bytes).to_le_bytes() {
            return Err(Damaged);
        }
        let mut rest = &bytes[HEADER_BYTES..];
        let mut past = &rest[..0];
        if bytes[1] & HAS_PAST != 0 {
            let (length, after) = rest.split_first_chunk().ok_or(Damaged)?;
            (past, rest) = after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(Damaged)?;
        }
        let data = (bytes[1] & GRAVE == 0).then(|| Bytes::copy_from_slice(rest));
        Ok(Self { data, past: Bytes::copy_from_slice(past), ..kept })
    }

    /// Everything but the data, unchecked.
    pub(crate) fn header(bytes: &[u8]) -> Option<Self> {
        let mut header = bytes.get(..HEADER_BYTES)?;
        if header.get_u8() != SCHEMA {
            return None;
        }
        header.advance(5);
        let version = Version { time: header.get_u64_le(), tie: header.get_u64_le() };
        Some(Self { version, place: header.get_u64_le(), data: None, past: Bytes::new() })
    }
}

/// What is read does not fit its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

fn checksum(key: &Key, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key.bytes()), &bytes[..2]);
    crc32c::crc32c_append(crc, &bytes[6..])
}

/// A number that differs, in all likelihood, between two states of a record; copies are compared by the sum of all.
/// The places of a copy's own order take no part in it.
pub(crate) fn fingerprint(key: &Key, kept: &Kept) -> u64 {
    let data = kept.data.as_deref().map_or(0, |data| u64::from(crc32c::crc32c(data)) + 1);
    let parts =
        [u64::from(crc32c::crc32c(key.bytes())), key.bytes().len() as u64, kept.version.time, kept.version.tie, data];
    parts.into_iter().fold(0x9e37_79b9_7f4a_7c15, |sum, part| mix(sum ^ part))
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014).
pub(crate) fn mix(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_any_flipped_bit_is_seen() {
        let key = Key::new("t", "1").unwrap();
        let pasts = [Bytes::new(), Bytes::from_static(b"seen")];
        let all = [None, Some(Bytes::new()), Some(Bytes::from_static(b"{\"a\":1}"))];
        for (data, past) in all.into_iter().flat_map(|data| pasts.clone().map(|past| (data.clone(), past))) {
            let kept = Kept { version: Version { time: 7, tie: Version::STAMPED | 3 }, place: 9, data, past };
            let bytes = kept.encode(&key);
            assert_eq!(Kept::decode(&key, &bytes), Ok(kept.clone()));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Kept::decode(&key, &flipped), Err(Damaged), "bit {bit}");
            }
            assert_eq!(Kept::decode(&Key::new("t", "2").unwrap(), &bytes), Err(Damaged), "bytes of another record");
        }
    }

    #[test]
    fn versions_show_as_numbers_or_stamps() {
        let epoch = Version { time: 1 << 41, tie: 4 };
        assert_eq!(serde_json::to_string(&epoch).unwrap(), "2199023255552");
        let stamp = Version { time: 255, tie: Version::STAMPED | 16 };
        assert_eq!(serde_json::to_string(&stamp).unwrap(), "\"ff-10\"");
    }
}
