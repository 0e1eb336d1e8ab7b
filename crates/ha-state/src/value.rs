//! What is kept under a key, and how it changes.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Key, LeaseId, Revision};

/// A key and what is kept under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Key,
    /// What is kept under it.
    pub value: Bytes,
    /// When it came into being, since it last did not exist.
    pub created: Revision,
    /// When it was last set.
    pub modified: Revision,
    /// How often it was set since it came into being.
    pub version: u64,
    /// The lease with which it ends.
    pub lease: Option<LeaseId>,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was set.
    Put(Arc<KeyValue>),
    /// It was removed: by a caller, or because its lease ended.
    Delete {
        /// Which.
        key: Key,
        /// When.
        revision: Revision,
    },
}

impl Event {
    /// Which key changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(found) => &found.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// When.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(found) => found.modified,
            Self::Delete { revision, .. } => *revision,
        }
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Put(found) => found.key.len() + found.value.len() + EVENT_OVERHEAD_BYTES,
            Self::Delete { key, .. } => key.len() + EVENT_OVERHEAD_BYTES,
        }
    }
}

/// What an event takes beside its key and value, about.
pub(crate) const EVENT_OVERHEAD_BYTES: usize = 160;
