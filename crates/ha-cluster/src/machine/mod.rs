//! Replicated state machines: typed commands in, typed replies out, the same on every node.

mod batch;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod host;
mod image;
mod removed;
mod replicated;
mod restoring;
mod session;
mod submit;

use bytes::Bytes;
use ha_net::codec::{self, CodecError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub(crate) use batch::{Batch, Command, Outcome, decode_outcomes, encode_outcomes};
pub use host::Machines;
pub(crate) use host::{Host, SystemCommand};
pub(crate) use image::Image;
pub(crate) use removed::{Disks, RemovedMembers};
pub use replicated::{ASK_TIMEOUT, ReadError, Replicated, WriteError};
pub(crate) use restoring::{RestoreAll, RestorePart, RestoreResult};
pub(crate) use session::{OpenSession, SessionId};
pub use submit::COMMAND_BYTES_MAX;
pub(crate) use submit::{BATCH_BYTES_MAX, Propose, ProposeError, Submitter};

use crate::view::Epoch;

/// The highest epoch that a command may ask for: up to here it is exact in JSON, and counting on overflows nothing.
pub(crate) const EPOCH_MAX: u64 = 1 << 53;

/// Names a machine in the log. Never reuse a number for something else: old logs carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub u8);

impl MachineId {
    /// The cluster's own commands: sessions.
    pub(crate) const SYSTEM: Self = Self(0);
}

/// What a command is told about the moment at which it is applied. The same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The count of applied commands, this one included: a revision and a fencing token.
    pub epoch: Epoch,
    /// Its log entry.
    pub index: u64,
}

/// A captured state, to be encoded later and elsewhere: its bytes in pieces, each made when it is asked for, so that a
/// large state need not be in memory twice. One that is small is `Box::new(std::iter::once_with(move || encode(&state)))`.
pub type Capture = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// A state machine on the cluster's log.
///
/// `apply` must be deterministic: no clock, no randomness, no I/O, no iteration over unordered maps. What needs time
/// comes as a command. It runs on the node's apply task and holds the machine's write lock: keep it short.
pub trait Machine: Send + Sync + 'static {
    /// Its place in the log: 1 to 255, unique in the program, and the same for ever.
    const ID: MachineId;
    /// For people.
    const NAME: &'static str;
    /// What can be asked of it. A command that this version cannot decode stops the node: it cannot follow the log.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What it answers. Kept for retries, so keep it small.
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// Reads a command as its `Serialize` wrote it. To be replaced where large parts of it can stay in `body` and need not
    /// be copied. That is for the better while `is_most` says that `body` is most of the memory that it lies in, all of
    /// which stays as long as any part of it is kept.
    fn read(body: &Bytes, is_most: bool) -> Result<Self::Command, CodecError> {
        let _ = is_most;
        codec::decode(body)
    }

    /// Changes the state by one command.
    fn apply(&mut self, at: Applied, command: Self::Command) -> Self::Reply;

    /// Captures the state in constant time, or nearly; what is returned encodes it, later and elsewhere.
    fn capture(&self) -> Capture;

    /// About how many bytes the state would take if it were captured now. The log may grow to four times that (by 512 MiB
    /// or once that, whichever is more) before a snapshot is taken, so that a large state is not written again and again. 0
    /// where it is small.
    fn image_bytes(&self) -> u64 {
        0
    }

    /// Replaces the state by a captured one, of all its pieces.
    fn restore(&mut self, image: &[u8]) -> Result<(), String>;

    /// Replaces the state by one that a person saved earlier, on a cluster that runs. `at` is above every epoch that this
    /// cluster or the saved one can have come to. A machine that holds what is the case now, rather than what somebody
    /// keeps, stays as it is.
    fn replace(&mut self, at: Epoch, image: &[u8]) -> Result<(), String> {
        let _ = at;
        self.restore(image)
    }

    /// What it holds that [`Self::replace`] would put an end to, as a person would say it: `3 keys`. The same on every
    /// node. `None` while that is nothing, or nothing that anybody would miss.
    fn holds(&self) -> Option<String> {
        None
    }

    /// The cluster went on by force, without nodes that may have applied more: who followed changes there saw some that
    /// never were. `at` is above every epoch that they can have come to.
    fn recovered(&mut self, at: Applied) {
        let _ = at;
    }

    /// For a machine with a store of its own: the last log entry whose effect that store keeps across a restart, to
    /// follow. Entries up to it are not applied again, none above it leaves the log, and no snapshot is finished before
    /// it is reached. `None` for a machine that lives in memory and in snapshots.
    fn durable(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// False while a store cannot keep up: the node applies nothing more until [`Self::durable`] has moved and there is
    /// room again.
    fn has_room(&self) -> bool {
        true
    }

    /// For a machine with a store of its own: everything up to this log entry has been applied, whatever it was.
    fn passed(&mut self, index: u64) {
        let _ = index;
    }

    /// The reply of a command whose effect the store kept across a restart, where it follows from the command alone.
    fn replied(&self, at: Applied, command: &Self::Command) -> Option<Self::Reply> {
        let _ = (at, command);
        None
    }
}
