//! The store as the rest of this crate asks it: on the cluster's log, or nowhere.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{ReadError, Replicated, WriteError};

use crate::command::{Command, Reply};
use crate::store::Store;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) enum Log {
    /// On the cluster's log.
    On(Box<Replicated<Store>>),
    /// An empty store that refuses everything, and the reason.
    Off(Arc<(Store, String)>),
}

impl Log {
    pub(crate) fn off(reason: &str) -> Self {
        Self::Off(Arc::new((Store::new(), reason.to_owned())))
    }

    pub(crate) fn off_reason(&self) -> Option<&str> {
        match self {
            Self::On(_) => None,
            Self::Off(off) => Some(&off.1),
        }
    }

    /// See [`Replicated::write`].
    pub(crate) async fn write(&self, command: &Command) -> Result<Reply, WriteError> {
        match self {
            Self::On(log) => log.write(command).await,
            Self::Off(off) => Err(WriteError::NotApplied { reason: off.1.clone() }),
        }
    }

    /// See [`Replicated::write_within`].
    pub(crate) async fn write_within(&self, command: &Command, limit: Duration) -> Result<Reply, WriteError> {
        match self {
            Self::On(log) => log.write_within(command, limit).await,
            Self::Off(_) => self.write(command).await,
        }
    }

    /// See [`Replicated::read`].
    pub(crate) async fn read<R>(&self, read: impl FnOnce(&Store) -> R) -> Result<R, ReadError> {
        match self {
            Self::On(log) => log.read(read).await,
            Self::Off(off) => Err(ReadError::Stopped { reason: off.1.clone() }),
        }
    }

    /// See [`Replicated::read_local`].
    pub(crate) fn read_local<R>(&self, read: impl FnOnce(&Store) -> R) -> R {
        match self {
            Self::On(log) => log.read_local(read),
            Self::Off(off) => read(&off.0),
        }
    }
}
