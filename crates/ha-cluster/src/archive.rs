//! The whole control state as one file: saved from a running cluster, and brought back into one.
//!
//! ```text
//! 0 magic  8 format u32  12 crc u32 of what follows  16 cluster id u128  32 epoch u64  40 image  (little-endian; CRC32C)
//! ```
//!
//! What is brought back goes through the log, in parts and with one command at the end, so that every node replaces its
//! state at the same place. The epoch is raised above all that the saved cluster had seen, and by many more:
//! tokens and revisions go on growing.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ha_net::ClusterId;

use crate::codec;
use crate::disk::{Disk, perform_aside};
use crate::machine::{
    EPOCH_MAX, Image, MachineId, ReadError, RestoreAll, RestorePart, RestoreResult, Submitter, SystemCommand,
    WriteError,
};
use crate::view::Epoch;

const MAGIC: [u8; 8] = *b"ha-save\n";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 40;
/// Bytes of one part on the log.
const PART_BYTES: usize = 1024 * 1024;
/// What a restored cluster adds to the epoch that was saved: more than any node can have seen beyond that, and far less
/// than a forced recovery passes over.
pub(crate) const RESTORED_GAP: u64 = 1 << 36;
/// The same for what another cluster saved, which may have been restored itself since, up to three times.
pub(crate) const FOREIGN_GAP: u64 = 1 << 38;

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
    /// There is something that would be lost: nothing was replaced.
    #[error("the cluster holds {what}")]
    Holds {
        /// What, for people.
        what: String,
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

    /// What a cluster that it is brought back into adds to the higher one of both epochs.
    pub(crate) fn gap_in(&self, cluster_id: Option<ClusterId>) -> u64 {
        if cluster_id == Some(self.cluster_id) { RESTORED_GAP } else { FOREIGN_GAP }
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

/// The parts that wait on every node for the last command. Given up when this is dropped, so that they take no memory.
struct Parts<'a> {
    submitter: &'a Submitter,
    attempt: u64,
    are_left: bool,
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.are_left {
            let (submitter, attempt) = (self.submitter.clone(), self.attempt);
            runtime.spawn(async move {
                // An empty first part gives an attempt up.
                let none = RestorePart { attempt, offset: 0, bytes: Bytes::new() };
                if let Err(error) = submit(&submitter, &SystemCommand::RestorePart(none)).await {
                    tracing::warn!("parts of a restore that was given up stay in memory until the next one: {error}");
                }
            });
        }
    }
}

/// Brings a state back, on every node at the same place of the log.
pub(crate) async fn restore(
    submitter: &Submitter,
    archive: &Archive,
    now: Epoch,
    gap: u64,
    overwrite: bool,
) -> Result<(), RestoreError> {
    let image = &archive.image;
    let epoch = archive.epoch.0.max(now.0).saturating_add(gap);
    if epoch > EPOCH_MAX {
        let reason = format!("its epoch {} is beyond what a cluster can count on from", archive.epoch.0);
        return Err(RestoreError::NotRestored { reason });
    }
    // Parts of an attempt that was given up belong to another epoch.
    let attempt = now.0;
    let mut parts = Parts { submitter, attempt, are_left: true };
    for start in (0..image.len()).step_by(PART_BYTES) {
        let bytes = image.slice(start..image.len().min(start + PART_BYTES));
        let part = RestorePart { attempt, offset: start as u64, bytes };
        let reply = submit(submitter, &SystemCommand::RestorePart(part)).await;
        let result = reply.map_err(|error| RestoreError::NotRestored { reason: error.to_string() })?;
        if let RestoreResult::Refused { reason } = result {
            // The parts that are there now are those of another attempt.
            parts.are_left = false;
            return Err(RestoreError::NotRestored { reason });
        }
    }
    let all = RestoreAll { attempt, length: image.len() as u64, crc: crc32c::crc32c(image), epoch };
    let finish = if overwrite { SystemCommand::Restore(all) } else { SystemCommand::RestoreEmpty(all) };
    // From here on it may come about.
    parts.are_left = false;
    match submit(submitter, &finish).await {
        Ok(RestoreResult::Done) => Ok(()),
        Ok(RestoreResult::Holds { what }) => Err(RestoreError::Holds { what }),
        Ok(RestoreResult::Refused { reason }) => Err(RestoreError::NotRestored { reason }),
        Err(WriteError::NotApplied { reason }) => {
            parts.are_left = true;
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
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::machine::{Applied, Capture, Host, Machine, Machines, OpenSession, Outcome, Propose, ProposeError};

    /// Remembers the last word it was told.
    #[derive(Default)]
    struct Word(String);

    impl Machine for Word {
        const ID: MachineId = MachineId(7);
        const NAME: &'static str = "word";
        type Command = String;
        type Reply = ();

        fn apply(&mut self, _: Applied, word: String) {
            self.0 = word;
        }

        fn capture(&self) -> Capture {
            Box::new(std::iter::once(self.0.clone().into_bytes()))
        }

        fn restore(&mut self, image: &[u8]) -> Result<(), String> {
            self.0 = String::from_utf8(image.to_vec()).map_err(|error| error.to_string())?;
            Ok(())
        }

        fn holds(&self) -> Option<String> {
            (!self.0.is_empty()).then(|| "a word".to_owned())
        }
    }

    /// What comes between on the way to the log, at an index.
    #[derive(Clone, Copy)]
    enum Between {
        Nothing,
        /// No answer, ever.
        Silence(u64),
        /// Somebody says a word.
        Said(u64, &'static str),
    }

    /// A node that is the whole cluster.
    #[derive(Clone)]
    struct Node {
        host: Host,
        machines: Machines,
        index: Arc<AtomicU64>,
        between: Between,
    }

    impl Propose for Node {
        async fn propose(&self, batch: Bytes) -> Result<Vec<Outcome>, ProposeError> {
            let index = self.index.fetch_add(1, Ordering::Relaxed) + 1;
            match self.between {
                Between::Silence(at) if at == index => std::future::pending().await,
                Between::Said(at, word) if at == index => self.say(word),
                _ => {}
            }
            Ok(self.host.apply(index, batch).unwrap())
        }
    }

    impl Node {
        fn start(between: Between) -> (Self, Submitter) {
            let machines = Machines::new().with(Word::default());
            let host = Host::new(machines.clone(), false);
            let node = Self { host, machines, index: Arc::default(), between };
            let me = OpenSession { node: "a".parse().unwrap(), incarnation: 1 };
            (node.clone(), Submitter::start(node, me))
        }

        fn say(&self, word: &str) {
            self.machines.typed::<Word>().unwrap().write().unwrap().0 = word.to_owned();
        }

        fn word(&self) -> String {
            self.machines.typed::<Word>().unwrap().read().unwrap().0.clone()
        }

        fn image(&self) -> Bytes {
            self.host.capture().pieces().collect::<Vec<_>>().concat().into()
        }
    }

    /// Of a word that needs two parts: with the session that is opened first, the last command has index 4.
    fn saved() -> (String, Archive) {
        let (node, _) = Node::start(Between::Nothing);
        let word = "x".repeat(PART_BYTES + 1);
        node.say(&word);
        (word, Archive::new(ClusterId(7), Epoch(9), node.image()))
    }

    #[tokio::test]
    async fn what_was_said_before_the_last_command_is_not_lost_unless_it_may_be() {
        let (word, archive) = saved();
        let (node, submitter) = Node::start(Between::Nothing);
        assert_eq!(restore(&submitter, &archive, Epoch(1), RESTORED_GAP, false).await, Ok(()));
        assert_eq!(node.word(), word);
        for at in 2..=4 {
            let (node, submitter) = Node::start(Between::Said(at, "new"));
            let held = RestoreError::Holds { what: "a word".to_owned() };
            assert_eq!(restore(&submitter, &archive, Epoch(1), RESTORED_GAP, false).await, Err(held), "said at {at}");
            assert_eq!(node.word(), "new");
            assert!(node.image().len() < PART_BYTES, "its parts are gone");
            assert_eq!(restore(&submitter, &archive, Epoch(1), RESTORED_GAP, true).await, Ok(()));
            assert_eq!(node.word(), word);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn parts_of_a_restore_that_is_cut_off_are_given_up() {
        let (_, archive) = saved();
        let (node, submitter) = Node::start(Between::Silence(3));
        let cut_off =
            tokio::time::timeout(Duration::from_secs(1), restore(&submitter, &archive, Epoch(1), RESTORED_GAP, true));
        assert!(cut_off.await.is_err());
        // The silent entry is in flight still: one that is worth an entry of its own takes the other along.
        tokio::task::yield_now().await;
        let large = codec::record(&"y".repeat(PART_BYTES));
        submitter.submit(Word::ID, large).await.unwrap();
        node.say("");
        assert!(node.image().len() < PART_BYTES);
    }

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
