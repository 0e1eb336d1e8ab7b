//! What the store keeps of a record in two places: its newest change, and the entry of the index that says where.
//!
//! Changes lie in their order, each behind the last, so writing one costs little more than its bytes. The index is in
//! the order of keys, so that writing an entry may cost a page; it holds what is counted and compared, so that no change
//! is read for that.
//!
//! ```text
//! entry   0 flags u8   1 crc u32 of the key and all that follows   5 time u64   13 tie u64   21 place u64
//!         29 bytes u32   33 fingerprint u64
//! change  0 length of the key u16   2 key   then the record: see `record`
//! ```

use bytes::{Buf, BufMut, BytesMut};

use super::{Place, StoreError, valid};
use crate::record::{Kept, fingerprint};
use crate::{Key, Version};

const ENTRY_BYTES: usize = 41;
/// The checksum is not part of what it is of.
const SUMMED_FROM: usize = 5;
const GRAVE: u8 = 1;

/// What the index says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) version: Version,
    pub(super) place: u64,
    pub(super) is_grave: bool,
    /// What it counts as, in bytes.
    pub(super) bytes: u32,
    /// What it adds to the sum by which copies are compared.
    pub(super) fingerprint: u64,
}

impl Entry {
    pub(super) fn of(key: &Key, kept: &Kept) -> Self {
        Self {
            version: kept.version,
            place: kept.place,
            is_grave: kept.data.is_none(),
            bytes: u32::try_from(kept.bytes(key)).unwrap_or(u32::MAX),
            fingerprint: fingerprint(key, kept),
        }
    }

    /// Where the change is.
    pub(super) fn order(&self) -> Place {
        crate::record::order(self.place, self.version)
    }

    pub(super) fn encode(&self, key: &[u8]) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        let mut rest = &mut out[..];
        rest.put_u8(if self.is_grave { GRAVE } else { 0 });
        rest.put_u32_le(0);
        rest.put_u64_le(self.version.time);
        rest.put_u64_le(self.version.tie);
        rest.put_u64_le(self.place);
        rest.put_u32_le(self.bytes);
        rest.put_u64_le(self.fingerprint);
        let crc = checksum(key, &out);
        out[1..SUMMED_FROM].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged { what: format!("the index entry of {}", key.escape_ascii()) };
        let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().map_err(|_| damaged())?;
        let mut rest = &bytes[..];
        let (flags, crc) = (rest.get_u8(), rest.get_u32_le());
        if crc != checksum(key, bytes) {
            return Err(damaged());
        }
        let version = Version { time: rest.get_u64_le(), tie: rest.get_u64_le() };
        Ok(Self {
            version,
            place: rest.get_u64_le(),
            is_grave: flags & GRAVE != 0,
            bytes: rest.get_u32_le(),
            fingerprint: rest.get_u64_le(),
        })
    }
}

fn checksum(key: &[u8], entry: &[u8; ENTRY_BYTES]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &entry[..1]);
    crc32c::crc32c_append(crc, &entry[SUMMED_FROM..])
}

/// Puts a change behind what a buffer holds.
pub(super) fn encode_change(key: &Key, kept: &Kept, out: &mut BytesMut) {
    // A key is far shorter than 64 KiB.
    out.put_u16_le(key.bytes().len() as u16);
    out.put_slice(key.bytes());
    kept.encode_to(key, out);
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}

/// Where a change stands in the order of changes, unchecked.
pub(super) fn order_of(bytes: &[u8]) -> Option<Place> {
    Kept::header(split(bytes)?.1).map(|kept| kept.order())
}

/// The key of a change, and its record as it is encoded.
pub(super) fn split_change(bytes: &[u8]) -> Result<(Key, &[u8]), StoreError> {
    let (key, record) =
        split(bytes).ok_or_else(|| StoreError::Damaged { what: "a change that is cut short".to_owned() })?;
    Ok((valid(key)?, record))
}

/// A change.
pub(super) fn decode_change(bytes: &[u8]) -> Result<(Key, Kept), StoreError> {
    let (key, record) = split_change(bytes)?;
    let kept = Kept::decode(&key, record)
        .map_err(|_| StoreError::Damaged { what: format!("the checksum of {key} is wrong") })?;
    Ok((key, kept))
}

/// An entry or a change, to begin with.
#[cfg(feature = "testing")]
pub(crate) fn fuzzing_entries(key: &Key, kept: &Kept) -> Vec<Vec<u8>> {
    let mut change = BytesMut::new();
    encode_change(key, kept, &mut change);
    vec![Entry::of(key, kept).encode(key.bytes()).to_vec(), change.to_vec()]
}

/// Any bytes for those, and for pages of slots and sums, with a right checksum too.
#[cfg(feature = "testing")]
pub(crate) fn fuzz_entry(input: &[u8]) {
    let _ = decode_change(input);
    super::blocks::fuzz_block(input);
    for page in [input, &super::sealed::seal(input.to_vec())] {
        let _ = super::runs::read_page(page);
        let _ = super::buckets::read_sums(page).map(Iterator::count);
    }
    if let Ok(mut entry) = <[u8; ENTRY_BYTES]>::try_from(input) {
        let crc = checksum(b"k", &entry);
        entry[1..SUMMED_FROM].copy_from_slice(&crc.to_le_bytes());
        assert!(Entry::decode(b"k", &entry).is_ok());
    }
    assert!(Entry::decode(b"k", input).is_err() || input.len() == ENTRY_BYTES);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn reads_back_and_any_flipped_bit_is_seen() {
        let key = Key::new("t", "1").unwrap();
        for data in [None, Some(Bytes::from_static(b"data"))] {
            let version = Version { time: 7, tie: Version::STAMPED | 3 };
            let kept = Kept { version, place: 9, data, past: Bytes::from_static(b"seen") };
            let entry = Entry::of(&key, &kept);
            assert_eq!((entry.order(), entry.is_grave), (kept.order(), kept.data.is_none()));
            let bytes = entry.encode(key.bytes());
            assert_eq!(Entry::decode(key.bytes(), &bytes), Ok(entry));
            assert!(Entry::decode(b"other", &bytes).is_err());
            let mut change = BytesMut::new();
            encode_change(&key, &kept, &mut change);
            assert_eq!(decode_change(&change), Ok((key.clone(), kept)));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Entry::decode(key.bytes(), &flipped).is_err(), "bit {bit}");
            }
            for bit in 0..change.len() * 8 {
                let mut flipped = change.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode_change(&flipped).is_err(), "bit {bit}");
            }
        }
    }
}
