//! How this crate's own records become bytes.

use bytes::{Bytes, BytesMut};
use ha_net::codec::CodecError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Encodes one of this crate's own records: plain data far below the limit, which always fits.
#[expect(clippy::expect_used, reason = "a record of plain fields has nothing that could fail to encode")]
pub(crate) fn record<T: Serialize>(value: &T) -> Bytes {
    ha_net::codec::encode(value).expect("a record of plain fields").into()
}

/// Encodes what a user of this crate defined, which may fail.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes, CodecError> {
    ha_net::codec::encode(value).map(Into::into)
}

/// As [`encode`], at the end of a buffer that several share.
pub(crate) fn encode_within<T: Serialize>(buffer: &mut BytesMut, value: &T) -> Result<Bytes, CodecError> {
    let encoded = ha_net::codec::encode_onto(buffer, value);
    let bytes = buffer.split().freeze();
    encoded.map(|()| bytes)
}

/// A part of a larger piece of memory, which may be needed long after the rest: whatever keeps it keeps no more than
/// twice its bytes, for one that is less than half is copied.
pub(crate) fn apart(part: Bytes, whole: usize) -> Bytes {
    if is_most(&part, whole) { part } else { Bytes::copy_from_slice(&part) }
}

/// Whether a part of a larger piece of memory may be kept without copying it.
pub(crate) fn is_most(part: &[u8], whole: usize) -> bool {
    part.len() >= whole / 2
}

/// Decodes; all bytes must belong to the value.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    ha_net::codec::decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_part_does_not_keep_the_whole_in_memory_and_a_large_one_is_not_copied() {
        let whole = Bytes::from(vec![7; 100]);
        for (length, stays) in [(100, true), (50, true), (49, false), (1, false)] {
            let part = apart(whole.slice(..length), whole.len());
            assert_eq!(part, whole[..length]);
            assert_eq!(part.as_ptr() == whole.as_ptr(), stays, "{length}");
        }
    }
}
