//! A saved state that comes back through the log, part by part.

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use serde::{Deserialize, Serialize};

use super::image::take;

/// Most bytes that wait to be complete.
const BYTES_MAX: u64 = crate::archive::ARCHIVE_BYTES_MAX as u64;

/// A part of a saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestorePart {
    /// Tells one attempt from another: a part of a later one begins anew.
    pub(crate) attempt: u64,
    /// Where in the state it begins.
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

/// What all parts together are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestoreAll {
    /// Whose parts.
    pub(crate) attempt: u64,
    /// Bytes of all of them.
    pub(crate) length: u64,
    /// Their CRC32C.
    pub(crate) crc: u32,
    /// The epoch rises to here, in any case: every node counts alike, also one that keeps no state.
    pub(crate) epoch: u64,
}

/// What became of a part, or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RestoreResult {
    /// It is there.
    Done,
    /// It was not used.
    Refused { reason: String },
    /// It was not used: there is something that would be lost.
    Holds { what: String },
}

/// The parts so far, in order and without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restoring {
    attempt: u64,
    length: u64,
    parts: Vec<Bytes>,
}

fn refused(reason: &str) -> RestoreResult {
    RestoreResult::Refused { reason: reason.to_owned() }
}

impl Restoring {
    /// Takes the next part; the first one of an attempt ends any other attempt. An empty one gives its own attempt up, and
    /// no other.
    pub(crate) fn add(&mut self, part: RestorePart) -> RestoreResult {
        if part.offset == 0 && part.bytes.is_empty() && part.attempt != self.attempt {
            return RestoreResult::Done;
        }
        if part.offset == 0 {
            *self = Self { attempt: part.attempt, ..Self::default() };
        }
        if part.attempt != self.attempt || part.offset != self.length {
            return refused("another restore has begun");
        }
        if self.length + part.bytes.len() as u64 > BYTES_MAX {
            return refused("the saved state is too large");
        }
        self.length += part.bytes.len() as u64;
        self.parts.push(part.bytes);
        RestoreResult::Done
    }

    /// All parts as one, if they are whole; nothing is left in any case.
    pub(crate) fn take(&mut self, all: &RestoreAll) -> Result<Bytes, RestoreResult> {
        let whole = std::mem::take(self);
        if whole.attempt != all.attempt || whole.length != all.length {
            return Err(refused("another restore has begun"));
        }
        let mut image = BytesMut::with_capacity(whole.length as usize);
        whole.parts.iter().for_each(|part| image.put_slice(part));
        if crc32c::crc32c(&image) != all.crc {
            return Err(refused("the saved state came in damaged"));
        }
        Ok(image.freeze())
    }

    /// Its bytes in a snapshot.
    pub(crate) fn pieces(self) -> impl Iterator<Item = Bytes> + Send {
        let mut head = BytesMut::new();
        head.put_u64_le(self.attempt);
        head.put_u64_le(self.length);
        std::iter::once(head.freeze()).chain(self.parts)
    }

    /// Reads what [`Self::pieces`] brought.
    pub(crate) fn decode(from: &mut &[u8]) -> Result<Self, TryGetError> {
        let (attempt, length) = (from.try_get_u64_le()?, from.try_get_u64_le()?);
        let part = take(from, length)?;
        let parts = if part.is_empty() { Vec::new() } else { vec![Bytes::copy_from_slice(part)] };
        Ok(Self { attempt, length, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(attempt: u64, length: u64, crc: u32) -> RestoreAll {
        RestoreAll { attempt, length, crc, epoch: 0 }
    }

    fn part(attempt: u64, offset: u64, bytes: &'static str) -> RestorePart {
        RestorePart { attempt, offset, bytes: bytes.into() }
    }

    #[test]
    fn parts_in_order_become_a_whole() {
        let mut restoring = Restoring::default();
        assert_eq!(restoring.add(part(1, 0, "half of another")), RestoreResult::Done);
        assert_eq!(restoring.add(part(2, 0, "ab")), RestoreResult::Done);
        assert_ne!(restoring.add(part(1, 2, "xx")), RestoreResult::Done, "it was overtaken");
        assert_ne!(restoring.add(part(2, 3, "xx")), RestoreResult::Done, "a gap");
        let out = restoring.clone().pieces().collect::<Vec<_>>().concat();
        let mut restored = Restoring::decode(&mut &out[..]).unwrap();
        for restoring in [&mut restoring, &mut restored] {
            assert_eq!(restoring.add(part(2, 2, "c")), RestoreResult::Done);
            assert_eq!(restoring.take(&all(2, 3, crc32c::crc32c(b"abc"))), Ok(Bytes::from_static(b"abc")));
            assert_eq!(*restoring, Restoring::default());
        }
        assert!((0..out.len()).all(|end| Restoring::decode(&mut &out[..end]).is_err()));
    }

    #[test]
    fn an_attempt_that_is_given_up_takes_no_other_with_it() {
        let mut restoring = Restoring::default();
        restoring.add(part(2, 0, "ab"));
        assert_eq!(restoring.add(part(1, 0, "")), RestoreResult::Done);
        assert_eq!(restoring.add(part(2, 2, "c")), RestoreResult::Done);
        assert_eq!(restoring.add(part(2, 0, "")), RestoreResult::Done);
        assert_eq!(restoring.length, 0);
    }

    #[test]
    fn what_is_not_whole_is_not_used() {
        let mut restoring = Restoring::default();
        restoring.add(part(1, 0, "abc"));
        assert!(restoring.clone().take(&all(1, 3, 0)).is_err());
        assert!(restoring.clone().take(&all(1, 4, crc32c::crc32c(b"abc"))).is_err());
        assert!(restoring.take(&all(2, 3, crc32c::crc32c(b"abc"))).is_err());
    }
}
