//! The only place that knows how values become bytes: bincode 2 in serde mode, `standard()` (little endian, variable
//! length integers), with a size limit. Golden-byte tests hold the format still, so that another crate of the same
//! format can take over.

pub(crate) mod frame;
pub(crate) mod hello;

use std::cell::Cell;

use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bytes::{BufMut, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::{BULK_FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX};

const KIB: usize = 1024;

/// Up to here a thread keeps the room in which it encodes.
const SCRATCH_BYTES_MAX: usize = 64 * KIB;

/// Longer ones are mostly one large part, for which there is room at once: they are handed over as they are.
const COPIED_BYTES_MAX: usize = 16 * KIB;

thread_local! {
    static SCRATCH: Cell<BytesMut> = Cell::default();
}

/// Turns a value into bytes.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    // How long it becomes is not known before, and to grow costs more than to copy once.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let encoded = encode_onto(&mut scratch, value);
    if scratch.len() > COPIED_BYTES_MAX {
        return encoded.map(|()| scratch.into());
    }
    let encoded = encoded.map(|()| scratch.to_vec());
    if scratch.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.set(scratch);
    }
    encoded
}

/// Adds a value's bytes to others. What is there after an error means nothing.
pub fn encode_onto<T: Serialize>(out: &mut BytesMut, value: &T) -> Result<(), CodecError> {
    let config = bincode::config::standard().with_limit::<BULK_FRAME_BYTES_MAX>();
    let before = out.len();
    bincode::serde::encode_into_writer(value, Onto(out), config).map_err(|error| CodecError(error.to_string()))?;
    match out.len() - before {
        0..=BULK_FRAME_BYTES_MAX => Ok(()),
        bytes => Err(CodecError(format!("{bytes} bytes are more than fit in a frame"))),
    }
}

struct Onto<'a>(&'a mut BytesMut);

impl Writer for Onto<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.put_slice(bytes);
        Ok(())
    }
}

/// Turns bytes into a value, which may borrow from them. All bytes must belong to it.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    // The codec allocates a text as soon as its length is read, up to the limit. A number counts as up to sixteen times
    // the bytes that it takes, so that the limit of a short message is 32 times its length at least.
    whole(match bytes.len() {
        0..=512 => decode_prefix::<{ 16 * KIB }, T>(bytes)?,
        513..=8192 => decode_prefix::<{ 256 * KIB }, T>(bytes)?,
        8193..=65_536 => decode_prefix::<{ 2048 * KIB }, T>(bytes)?,
        _ => decode_prefix::<BULK_FRAME_BYTES_MAX, T>(bytes)?,
    })
}

/// As [`decode`], for bytes of a peer that has not been admitted: nothing above the limit is allocated for it.
pub(crate) fn decode_stranger<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    whole(decode_prefix::<HELLO_FRAME_BYTES_MAX, T>(bytes)?)
}

fn whole<T>((value, rest): (T, &[u8])) -> Result<T, CodecError> {
    if rest.is_empty() { Ok(value) } else { Err(CodecError(format!("{} bytes too many", rest.len()))) }
}

/// Turns the first bytes into a value and returns the others, which a newer version may have added.
pub(crate) fn decode_prefix<'a, const LIMIT: usize, T: Deserialize<'a>>(
    bytes: &'a [u8],
) -> Result<(T, &'a [u8]), CodecError> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (value, used) =
        bincode::serde::borrow_decode_from_slice(bytes, config).map_err(|error| CodecError(error.to_string()))?;
    Ok((value, bytes.get(used..).unwrap_or_default()))
}

/// The value cannot be written, or the bytes are not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not in the agreed format: {0}")]
pub struct CodecError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_input_must_belong_to_the_value() {
        let mut bytes = encode(&(7u16, "seven")).unwrap();
        assert_eq!(decode::<(u16, String)>(&bytes).unwrap(), (7, "seven".to_owned()));
        bytes.push(0);
        assert!(decode::<(u16, String)>(&bytes).is_err());
    }

    #[test]
    fn a_length_that_the_bytes_do_not_hold_is_an_error_before_it_is_allocated() {
        // A text of 2^60 bytes.
        let bytes = [253, 0, 0, 0, 0, 0, 0, 0, 16];
        assert!(decode::<String>(&bytes).is_err());
        assert!(decode::<Vec<u64>>(&bytes).is_err());
    }

    /// Numbers take one byte and count as sixteen.
    #[test]
    fn whatever_is_whole_is_read_at_every_length() {
        for count in [1, 500, 511, 513, 8000, 8190, 8193, 65_000, 65_537, 400_000] {
            let numbers = vec![7u128; count];
            assert_eq!(decode::<Vec<u128>>(&encode(&numbers).unwrap()).unwrap(), numbers, "{count}");
            let text = "x".repeat(count);
            assert_eq!(decode::<String>(&encode(&text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn the_format_stays() {
        let value = (1u8, 300u32, Some("a"), vec![1u64, 2]);
        assert_eq!(encode(&value).unwrap(), [1, 251, 44, 1, 1, 1, b'a', 2, 1, 2]);
    }
}
