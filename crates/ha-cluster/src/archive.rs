//! The whole control state as one file: saved from a running cluster, and brought back into one.
//!
//! ```text
//! 0 magic  8 format u32  12 crc u32 of what follows  16 cluster id u128  32 epoch u64  40 image  (little-endian; CRC32C)
//! ```
//!
//! What is brought back goes through the log, in parts and with one command at the end, so that every node replaces its
//! state at the same place. The epoch is raised above all that the saved cluster had seen, and by a generation more:
//! tokens and revisions go on growing.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ha_net::ClusterId;

use crate::codec;
use crate::disk::{Disk, perform_aside};
use crate::lineage::GENERATION_SHIFT;
use crate::machine::{
    EPOCH_MAX, Image, MachineId, ReadError, RestorePart, RestoreResult, Submitter, SystemCommand, WriteError,
};
use crate::view::Epoch;

const MAGIC: [u8; 8] = *b"ha-save\n";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 40;
/// Bytes of one part on the log.
const PART_BYTES: usize = 1024 * 1024;
/// What a restored cluster adds to the epoch that was saved: more than any node can have seen beyond that.
const GENERATION: u64 = 1 << GENERATION_SHIFT;

/// Most bytes that can be saved and brought back.
pub const ARCHIVE_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;

/// A saved control state, found to be whole. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Archive {
    head: Bytes,
    cluster_id: ClusterId,
    epoch: Epoch,
    image: Bytes,
}

/// Why bytes are no saved state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It is something else.
    #[error("this is no saved state of a cluster")]
    Foreign,
    /// It is not whole.
    #[error("the saved state is damaged: its checksum is wrong")]
    Damaged,
    /// A newer version wrote it.
    #[error("the saved state has format {format}, which is newer than this program knows")]
    Newer {
        /// The format.
        format: u32,
    },
}

/// Why a state was not saved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// No quorum confirmed that it is current.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// This node cannot save.
    #[error("cannot save: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

/// Why a state was not brought back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A part did not reach the log, or it is not known whether it did: nothing was replaced.
    #[error("not restored, and nothing was changed: {reason}")]
    NotRestored {
        /// Why.
        reason: String,
    },
    /// It may have been brought back, or may still be.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Archive {
    /// Takes the bytes apart, after their checksum was compared.
    pub fn decode(bytes: Bytes) -> Result<Self, ArchiveError> {
        if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
            return Err(ArchiveError::Foreign);
        }
        let mut head = &bytes[8..HEADER_BYTES];
        let (format, crc) = (head.get_u32_le(), head.get_u32_le());
        if crc32c::crc32c(&bytes[16..]) != crc {
            return Err(ArchiveError::Damaged);
        }
        if format != FORMAT {
            return Err(ArchiveError::Newer { format });
        }
        let (cluster_id, epoch) = (ClusterId(head.get_u128_le()), Epoch(head.get_u64_le()));
        Ok(Self { head: bytes.slice(..HEADER_BYTES), cluster_id, epoch, image: bytes.slice(HEADER_BYTES..) })
    }

    /// Of an image. Reads all of it once.
    fn new(cluster_id: ClusterId, epoch: Epoch, image: Bytes) -> Self {
        let mut head = BytesMut::with_capacity(HEADER_BYTES);
        head.put_slice(&MAGIC);
        head.put_u32_le(FORMAT);
        head.put_u32_le(0);
        head.put_u128_le(cluster_id.0);
        head.put_u64_le(epoch.0);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head[16..]), &image);
        head[12..16].copy_from_slice(&crc.to_le_bytes());
        Self { head: head.freeze(), cluster_id, epoch, image }
    }

    /// The bytes of a file, in two pieces: nothing is copied, however large it is.
    pub fn pieces(&self) -> [Bytes; 2] {
        [self.head.clone(), self.image.clone()]
    }

    /// The cluster that it was saved from.
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// The epoch at which it was saved.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// Encodes a captured state, where that may take long.
pub(crate) async fn save(disk: &Arc<dyn Disk>, cluster_id: ClusterId, image: Image) -> Result<Archive, SaveError> {
    let epoch = Epoch(image.epoch());
    let encode = async move {
        let pieces: Vec<Bytes> = image.pieces().collect();
        Archive::new(cluster_id, epoch, pieces.concat().into())
    };
    let encoded = perform_aside(disk, "encode", encode).await;
    encoded.map_err(|error| SaveError::Failed { reason: error.to_string() })
}

/// Brings a state back, on every node at the same place of the log.
pub(crate) async fn restore(submitter: &Submitter, archive: &Archive, now: Epoch) -> Result<(), RestoreError> {
    let image = &archive.image;
    let epoch = archive.epoch.0.max(now.0).saturating_add(GENERATION);
    if epoch > EPOCH_MAX {
        let reason = format!("its epoch {} is beyond what a cluster can count on from", archive.epoch.0);
        return Err(RestoreError::NotRestored { reason });
    }
    // Parts of an attempt that was given up belong to another epoch.
    let attempt = now.0;
    for start in (0..image.len()).step_by(PART_BYTES) {
        let bytes = image.slice(start..image.len().min(start + PART_BYTES));
        let part = RestorePart { attempt, offset: start as u64, bytes };
        let reply = submit(submitter, &SystemCommand::RestorePart(part)).await;
        let result = reply.map_err(|error| RestoreError::NotRestored { reason: error.to_string() })?;
        if let RestoreResult::Refused { reason } = result {
            return Err(RestoreError::NotRestored { reason });
        }
    }
    let finish = SystemCommand::Restore { attempt, length: image.len() as u64, crc: crc32c::crc32c(image), epoch };
    match submit(submitter, &finish).await {
        Ok(RestoreResult::Done) => Ok(()),
        Ok(RestoreResult::Refused { reason }) | Err(WriteError::NotApplied { reason }) => {
            Err(RestoreError::NotRestored { reason })
        }
        Err(error) => Err(RestoreError::Unknown { reason: error.to_string() }),
    }
}

async fn submit(submitter: &Submitter, command: &SystemCommand) -> Result<RestoreResult, WriteError> {
    let reply = submitter.submit(MachineId::SYSTEM, codec::record(command)).await?;
    codec::decode(&reply).map_err(|error| WriteError::Unknown { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_read_back_and_any_flipped_bit_is_seen() {
        let archive = Archive::new(ClusterId(7), Epoch(9), Bytes::from_static(b"image"));
        let bytes = Bytes::from(archive.pieces().concat());
        let back = Archive::decode(bytes.clone()).unwrap();
        assert_eq!((back.cluster_id(), back.epoch(), &back.image[..]), (ClusterId(7), Epoch(9), &b"image"[..]));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Archive::decode(flipped.into()).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Archive::decode(bytes.slice(..length)).is_err());
        }
    }
}
