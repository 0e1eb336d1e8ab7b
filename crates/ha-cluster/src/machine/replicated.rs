//! The handle by which a room uses its machine on the cluster's log.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::{Machine, Submitter};
use crate::codec;
use crate::raft::Engine;
use crate::view::{Epoch, Term};

/// How long a write or a linearizable read waits for a leader that answers, unless told otherwise.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// One machine on the cluster's log. Cheap to clone.
pub struct Replicated<M> {
    state: Arc<RwLock<M>>,
    submitter: Submitter,
    engine: Engine,
}

impl<M> Clone for Replicated<M> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), submitter: self.submitter.clone(), engine: self.engine.clone() }
    }
}

impl<M: Machine> Replicated<M> {
    pub(crate) fn new(state: Arc<RwLock<M>>, submitter: Submitter, engine: Engine) -> Self {
        Self { state, submitter, engine }
    }

    /// Applies a command on every node and returns its reply, once a majority holds it on disk. Any node may ask.
    ///
    /// Exactly once: tries again by itself across changes of leader, for [`ASK_TIMEOUT`]. Dropping the future gives
    /// up waiting; the command may still be applied.
    pub async fn write(&self, command: &M::Command) -> Result<M::Reply, WriteError> {
        self.write_within(command, ASK_TIMEOUT).await
    }

    /// As [`Self::write`], with a time limit of the caller's.
    pub async fn write_within(&self, command: &M::Command, limit: Duration) -> Result<M::Reply, WriteError> {
        let body = codec::encode(command).map_err(not_encoded)?;
        let submitted = self.submitter.submit(M::ID, body);
        let reply = tokio::time::timeout(limit, submitted)
            .await
            .map_err(|_| WriteError::Unknown { reason: format!("no answer within {limit:?}") })??;
        codec::decode(&reply).map_err(|_| WriteError::Unknown { reason: "the kept reply cannot be read".to_owned() })
    }

    /// Proposes a command that takes effect only if this node still leads in `term`; tried once, never forwarded.
    /// For what a leader concludes from its own clock.
    pub async fn write_as_leader(&self, term: Term, command: &M::Command) -> Result<M::Reply, WriteError> {
        let body = codec::encode(command).map_err(not_encoded)?;
        let reply = self.engine.propose_as_leader(term, M::ID, body).await?;
        codec::decode(&reply).map_err(|_| WriteError::Unknown { reason: "the reply cannot be read".to_owned() })
    }

    /// Reads the state as of some moment after this call began: it holds every write that was acknowledged before.
    /// Confirmed with a quorum; many waiting readers share one confirmation. Cancel-safe.
    pub async fn read<R>(&self, read: impl FnOnce(&M) -> R) -> Result<R, ReadError> {
        self.engine.confirm_within(ASK_TIMEOUT).await?;
        Ok(self.read_local(read))
    }

    /// Reads this node's own copy, which may be behind.
    pub fn read_local<R>(&self, read: impl FnOnce(&M) -> R) -> R {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How far this node's copy is, to follow: changes after every applied batch.
    pub fn applied(&self) -> watch::Receiver<Epoch> {
        self.engine.epoch()
    }
}

fn not_encoded(error: ha_net::codec::CodecError) -> WriteError {
    WriteError::NotApplied { reason: error.to_string() }
}

/// Why a write has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It certainly was not applied and will not be: it may be asked again.
    #[error("not applied: {reason}")]
    NotApplied {
        /// Why.
        reason: String,
    },
    /// It may have been applied, or may still be.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// The command is larger than the log takes.
    #[error("a command of {bytes} bytes is too large: at most {max} bytes")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// Why a linearizable read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader confirmed with a quorum in time.
    #[error("no quorum confirmed a leader: {reason}")]
    NoQuorum {
        /// Why.
        reason: String,
    },
    /// This node has stopped.
    #[error("this node has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}
