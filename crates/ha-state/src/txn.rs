//! Transactions: compare, then do the one or the other, all at one revision.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::{TXN_OPERATIONS_MAX, VALUE_BYTES_MAX};
use crate::{FencingToken, Key, KeyError, KeyValue, LeaseId, Revision, state};

/// Several changes at one revision, all or none, depending on what is there.
///
/// ```
/// # fn main() -> Result<(), ha_state::KeyError> {
/// use ha_state::{Compare, Revision, Txn};
///
/// let move_it = Txn::new()
///     .when(Compare::exists("jobs/waiting/7")?)
///     .when(Compare::absent("jobs/running/7")?)
///     .then_delete("jobs/waiting/7")?
///     .then_put("jobs/running/7", "node-1")?
///     .else_get("jobs/running/7")?;
/// # let _ = move_it;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// All must hold.
    pub compare: Vec<Compare>,
    /// What is done when they do.
    pub then: Vec<Operation>,
    /// What is done when they do not.
    pub or_else: Vec<Operation>,
}

/// How a compared number stands to the given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Is {
    /// The same.
    Equal,
    /// Another one.
    NotEqual,
    /// Lower.
    Less,
    /// Higher.
    Greater,
}

impl Is {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order == Ordering::Equal,
            Self::NotEqual => order != Ordering::Equal,
            Self::Less => order == Ordering::Less,
            Self::Greater => order == Ordering::Greater,
        }
    }
}

/// Something that can be true of what is there. A key that does not exist has the revisions and the version 0, and no
/// value: no comparison of values holds for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compare {
    /// When the key was last changed.
    Modified(Key, Is, Revision),
    /// When the key came into being.
    Created(Key, Is, Revision),
    /// How often the key was set since.
    Version(Key, Is, u64),
    /// What it holds, byte by byte.
    Value(Key, Is, Bytes),
    /// The lock is held, with this token: whoever lost it changes nothing any more.
    Held(Key, FencingToken),
}

impl Compare {
    /// The key exists.
    pub fn exists(key: &str) -> Result<Self, KeyError> {
        Ok(Self::Version(Key::new(key)?, Is::Greater, 0))
    }

    /// The key does not exist.
    pub fn absent(key: &str) -> Result<Self, KeyError> {
        Ok(Self::Version(Key::new(key)?, Is::Equal, 0))
    }

    /// The key was last changed at this revision.
    pub fn unchanged(key: &str, revision: Revision) -> Result<Self, KeyError> {
        Ok(Self::Modified(Key::new(key)?, Is::Equal, revision))
    }

    /// The key holds this value.
    pub fn value(key: &str, value: impl Into<Bytes>) -> Result<Self, KeyError> {
        Ok(Self::Value(Key::new(key)?, Is::Equal, value.into()))
    }

    /// The lock is held with this token.
    pub fn held(lock: &str, token: FencingToken) -> Result<Self, KeyError> {
        Ok(Self::Held(Key::new(lock)?, token))
    }

    /// Whether it is true of a key as it is.
    pub(crate) fn holds(&self, found: Option<&KeyValue>) -> bool {
        let number = |own: u64, is: Is, other: u64| is.holds(own.cmp(&other));
        match self {
            Self::Modified(_, is, other) => number(found.map_or(0, |f| f.modified.0), *is, other.0),
            Self::Created(_, is, other) => number(found.map_or(0, |f| f.created.0), *is, other.0),
            Self::Version(_, is, other) => number(found.map_or(0, |f| f.version), *is, *other),
            Self::Value(_, is, other) => found.is_some_and(|f| is.holds(f.value.cmp(other))),
            // Not about a key.
            Self::Held(..) => false,
        }
    }

    /// The key that it is about; of [`Self::Held`], the lock.
    pub(crate) fn subject(&self) -> &Key {
        match self {
            Self::Modified(key, ..) | Self::Created(key, ..) | Self::Version(key, ..) | Self::Value(key, ..) => key,
            Self::Held(lock, _) => lock,
        }
    }
}

/// One step of a transaction. A later one sees what earlier ones did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Sets a key.
    Put {
        /// Which.
        key: Key,
        /// To what.
        value: Bytes,
        /// The lease with which it ends.
        lease: Option<LeaseId>,
    },
    /// Removes a key.
    Delete {
        /// Which.
        key: Key,
    },
    /// Removes all keys that begin so; with an empty text, all keys.
    DeletePrefix {
        /// How.
        prefix: Arc<str>,
    },
    /// Reads a key.
    Get {
        /// Which.
        key: Key,
    },
    /// Reads the first keys that begin so.
    List {
        /// How.
        prefix: Arc<str>,
        /// At most so many.
        limit: u32,
    },
}

/// What one operation of a transaction brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The key was set.
    Put,
    /// So many keys were removed.
    Deleted(u64),
    /// The key, if it exists.
    Got(Option<KeyValue>),
    /// Keys that begin so, and whether there are more.
    Listed {
        /// In order.
        items: Vec<KeyValue>,
        /// Whether there are more.
        more: bool,
    },
}

/// Why a transaction cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TxnError {
    /// It has too many parts.
    #[error("a transaction has at most {TXN_OPERATIONS_MAX} comparisons and operations, not {count}")]
    TooManyOperations {
        /// How many it had.
        count: usize,
    },
    /// A value is too long.
    #[error("a value has at most {VALUE_BYTES_MAX} bytes, not {bytes}: {key}")]
    ValueTooLong {
        /// Of which key.
        key: Key,
        /// How long it was.
        bytes: usize,
    },
    /// No key begins so.
    #[error(transparent)]
    Prefix(#[from] KeyError),
    /// One branch sets a key twice.
    #[error("{key} is set twice in one branch of a transaction")]
    SetTwice {
        /// Which.
        key: Key,
    },
}

impl Txn {
    /// A transaction that does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compare.push(compare);
        self
    }

    /// Adds something to do when all conditions hold.
    #[must_use]
    pub fn then(mut self, operation: Operation) -> Self {
        self.then.push(operation);
        self
    }

    /// Adds something to do when they do not.
    #[must_use]
    pub fn or_else(mut self, operation: Operation) -> Self {
        self.or_else.push(operation);
        self
    }

    /// Sets a key when all conditions hold.
    pub fn then_put(self, key: &str, value: impl Into<Bytes>) -> Result<Self, KeyError> {
        Ok(self.then(Operation::Put { key: Key::new(key)?, value: value.into(), lease: None }))
    }

    /// Removes a key when all conditions hold.
    pub fn then_delete(self, key: &str) -> Result<Self, KeyError> {
        Ok(self.then(Operation::Delete { key: Key::new(key)? }))
    }

    /// Reads a key when all conditions hold.
    pub fn then_get(self, key: &str) -> Result<Self, KeyError> {
        Ok(self.then(Operation::Get { key: Key::new(key)? }))
    }

    /// Reads a key when they do not.
    pub fn else_get(self, key: &str) -> Result<Self, KeyError> {
        Ok(self.or_else(Operation::Get { key: Key::new(key)? }))
    }

    /// Whether it changes nothing, whatever holds.
    pub(crate) fn only_reads(&self) -> bool {
        let reads = |operation| matches!(operation, &Operation::Get { .. } | &Operation::List { .. });
        self.then.iter().chain(&self.or_else).all(reads)
    }

    /// All of it as bytes: equal ones for equal transactions.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // Nothing in it has a form that could not be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether it keeps to the limits.
    pub fn validate(&self) -> Result<(), TxnError> {
        self.validate_size()?;
        for operation in self.then.iter().chain(&self.or_else) {
            if let Operation::DeletePrefix { prefix } | Operation::List { prefix, .. } = operation {
                state::prefix(prefix)?;
            }
        }
        Ok(())
    }

    /// All of it but the prefixes, of which the store looks at those of the branch that it takes.
    pub(crate) fn validate_size(&self) -> Result<(), TxnError> {
        let count = self.compare.len() + self.then.len() + self.or_else.len();
        if count > TXN_OPERATIONS_MAX {
            return Err(TxnError::TooManyOperations { count });
        }
        for branch in [&self.then, &self.or_else] {
            let puts = branch.iter().filter_map(|operation| match operation {
                Operation::Put { key, value, .. } => Some((key, value.len())),
                _ => None,
            });
            let mut set = std::collections::BTreeSet::new();
            for (key, bytes) in puts {
                if bytes > VALUE_BYTES_MAX {
                    return Err(TxnError::ValueTooLong { key: key.clone(), bytes });
                }
                if !set.insert(key) {
                    return Err(TxnError::SetTwice { key: key.clone() });
                }
            }
        }
        Ok(())
    }
}
