//! A small state in a file of its own.
//!
//! ```text
//! 0 magic  8 format u32  12 crc u32  16 content      (little-endian; CRC32C of the file's name and the content)
//! ```

use std::path::Path;

use bytes::Bytes;

use super::SlotError;
use crate::disk::{Disk, read_file};

/// Most bytes of a small state.
pub const SLOT_BYTES_MAX: usize = 1024 * 1024;

/// Longest name of a small state.
pub const SLOT_NAME_BYTES_MAX: usize = 32;

pub(super) const PREFIX: &str = "slot-";
const MAGIC: [u8; 8] = *b"ha-slot\n";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 16;

pub(super) fn file_of(name: &str) -> Result<String, SlotError> {
    let fits = (1..=SLOT_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits { Ok(format!("{PREFIX}{name}")) } else { Err(SlotError::Name { name: name.to_owned() }) }
}

pub(super) fn is_slot(file: &Path) -> bool {
    file.to_str().is_some_and(|name| name.starts_with(PREFIX))
}

pub(super) fn seal(file: &str, content: &[u8]) -> Result<Vec<u8>, SlotError> {
    if content.len() > SLOT_BYTES_MAX {
        return Err(SlotError::TooLong { bytes: content.len() });
    }
    let mut sealed = Vec::with_capacity(HEADER_BYTES + content.len());
    sealed.extend_from_slice(&MAGIC);
    sealed.extend_from_slice(&FORMAT.to_le_bytes());
    sealed.extend_from_slice(&checksum(file, FORMAT, content).to_le_bytes());
    sealed.extend_from_slice(content);
    Ok(sealed)
}

pub(super) async fn read(disk: &dyn Disk, path: &Path, file: &str) -> Result<Option<Bytes>, SlotError> {
    match read_file(disk, path, (HEADER_BYTES + SLOT_BYTES_MAX) as u64).await {
        Ok(None) => Ok(None),
        Ok(Some(sealed)) => open(path, file, sealed).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(SlotError::Corrupt { file: path.to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn open(path: &Path, file: &str, sealed: Vec<u8>) -> Result<Bytes, SlotError> {
    let corrupt = || SlotError::Corrupt { file: path.to_owned() };
    let (magic, rest) = sealed.split_first_chunk::<8>().ok_or_else(corrupt)?;
    let (format, rest) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
    let (crc, content) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
    let format = u32::from_le_bytes(*format);
    if *magic != MAGIC || u32::from_le_bytes(*crc) != checksum(file, format, content) {
        return Err(corrupt());
    }
    if format != FORMAT {
        return Err(SlotError::Newer { file: path.to_owned(), format });
    }
    Ok(Bytes::from(sealed).slice(HEADER_BYTES..))
}

fn checksum(file: &str, format: u32, content: &[u8]) -> u32 {
    let named = crc32c::crc32c_append(crc32c::crc32c(file.as_bytes()), &format.to_le_bytes());
    crc32c::crc32c_append(named, content)
}
