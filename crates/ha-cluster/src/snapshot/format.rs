//! The bytes of a snapshot file.
//!
//! ```text
//! 0 magic  8 format u32  12 crc u32 of what follows in the header  16 meta length u32  20 content crc u32
//! 24 body length u64  32 meta, body                                (little-endian; CRC32C)
//! ```

use std::path::Path;

/// Most bytes of a description.
pub const META_BYTES_MAX: usize = 1024 * 1024;

pub(super) const HEADER_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"ha-snap\n";
const FORMAT: u32 = 1;
const SUFFIX: &str = ".snapshot";
const DIGITS: usize = 20;

pub(super) fn name_of(sequence: u64) -> String {
    format!("{sequence:0DIGITS$}{SUFFIX}")
}

pub(super) fn sequence_of(name: &Path) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(SUFFIX)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// The start of the file; written last, so that a draft never looks finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) meta_bytes: u32,
    pub(super) body_bytes: u64,
    pub(super) content_crc: u32,
}

/// Why bytes are not a header of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAHeader {
    Damaged,
    Newer(u32),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.meta_bytes.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.content_crc.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.body_bytes.to_le_bytes());
        let crc = crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, NotAHeader> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..8] != MAGIC || u32_at(12) != crc(bytes) {
            return Err(NotAHeader::Damaged);
        }
        match u32_at(8) {
            FORMAT => Ok(Self {
                meta_bytes: u32_at(16),
                content_crc: u32_at(20),
                body_bytes: u64::from(u32_at(24)) | u64::from(u32_at(28)) << 32,
            }),
            format => Err(NotAHeader::Newer(format)),
        }
    }
}

fn crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_any_flipped_bit_is_seen() {
        let header = Header { meta_bytes: 7, body_bytes: u64::MAX - 5, content_crc: 9 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped), Err(NotAHeader::Damaged), "bit {bit}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        let crc = crc(&newer);
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&newer), Err(NotAHeader::Newer(2)));
    }
}
