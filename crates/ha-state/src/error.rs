//! Why something was not done. Each kind of operation has its own.

use ha_cluster::{ReadError, WriteError};

use crate::command::Refusal;
use crate::limits::{
    KEPT_READ_BYTES_MAX, LEASE_KEYS_MAX, LEASES_MAX, OWNER_BYTES_MAX, PREFIX_DELETES_MAX, REQUEST_KEY_BYTES_MAX,
    TTL_MAX, TTL_MIN, TXN_READ_BYTES_MAX, VALUE_BYTES_MAX, WAITERS_MAX, WATCHES_MAX,
};
use crate::txn::TxnError;
use crate::{KeyError, Revision};

/// Why keys were not changed. Only after [`Self::Unknown`] they may have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// That cannot be a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The value is too long.
    #[error("a value has at most {VALUE_BYTES_MAX} bytes, not {bytes}")]
    ValueTooLong {
        /// How long it was.
        bytes: usize,
    },
    /// The transaction breaks a limit.
    #[error(transparent)]
    Txn(#[from] TxnError),
    /// It is larger than the log takes.
    #[error("{bytes} bytes at once are too many: at most {max}")]
    TooLarge {
        /// How large it was.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The transaction reads more than fits into its answer: read that outside of it.
    #[error(
        "the reads inside one transaction bring back at most {TXN_READ_BYTES_MAX} bytes, and {KEPT_READ_BYTES_MAX} under \
         a request key: read the rest outside of it"
    )]
    TooMuchRead,
    /// Too many keys begin so.
    #[error("one transaction removes at most {PREFIX_DELETES_MAX} keys by their prefix")]
    TooManyKeys,
    /// The key was last changed at another revision than expected.
    #[error("the condition does not hold: {}", condition(.current))]
    Condition {
        /// At this one; [`Revision::ABSENT`] when it does not exist.
        current: Revision,
    },
    /// Keys and values take as much as they may: delete some.
    #[error("the memory for keys is full: {used} of {quota} bytes are taken; deletes are always allowed")]
    Full {
        /// Bytes taken.
        used: u64,
        /// The quota.
        quota: u64,
    },
    /// There is no such lease, or not any more.
    #[error("there is no such lease, or not any more")]
    NoLease,
    /// The lease belongs to a lock.
    #[error("this lease belongs to a lock: keys need one of their own")]
    LeaseOfALock,
    /// The lease has as many keys as it may.
    #[error("a lease has at most {LEASE_KEYS_MAX} keys")]
    TooManyLeaseKeys,
    /// The time after which the key should end is out of bounds.
    #[error("a key with a time of its own lasts from {TTL_MIN:?} to {TTL_MAX:?}")]
    Ttl,
    /// Both a lease and a time are given.
    #[error("a key has either a time after which it ends, with a lease of its own, or a lease that it shares")]
    LeaseAndTtl,
    /// There are too many leases for one more.
    #[error("there are {LEASES_MAX} leases already")]
    TooManyLeases,
    /// The request key is too long, or was used for something else.
    #[error(transparent)]
    RequestKey(#[from] RequestKeyError),
    /// It certainly was not done and will not be: it may be asked again.
    #[error("not done: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It may have been done, or may still be.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
}

fn condition(current: &Revision) -> String {
    match *current {
        Revision::ABSENT => "the key does not exist".to_owned(),
        current => format!("the key was last changed at revision {current}"),
    }
}

/// Why a request key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestKeyError {
    /// It is empty or too long.
    #[error("a request key has 1 to {REQUEST_KEY_BYTES_MAX} bytes")]
    Length,
    /// Another request had it.
    #[error("this request key was used for another request")]
    Reused,
}

/// Why a lease was not begun, kept or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Its length is out of bounds.
    #[error("a lease lasts from {TTL_MIN:?} to {TTL_MAX:?}")]
    Ttl,
    /// There is no such lease, or not any more.
    #[error("there is no such lease, or not any more")]
    NotFound,
    /// The id belongs to a lock.
    #[error("this id belongs to a lock")]
    Taken,
    /// There are too many.
    #[error("there are {LEASES_MAX} leases already")]
    TooMany,
    /// The request key is too long, or was used for something else.
    #[error(transparent)]
    RequestKey(#[from] RequestKeyError),
    /// It certainly was not done and will not be: it may be asked again.
    #[error("not done: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It may have been done, or may still be.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Why a lock was not acquired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// That cannot be the name of a lock.
    #[error(transparent)]
    Name(#[from] KeyError),
    /// The length of the lease or the delay is out of bounds.
    #[error("a lock lasts from {TTL_MIN:?} to {TTL_MAX:?} without renewal, and its delay is no longer")]
    Ttl,
    /// What the holder calls itself is empty, or too long.
    #[error("a holder calls itself by 1 to {OWNER_BYTES_MAX} bytes")]
    Owner,
    /// The request key is too long, or was used for something else.
    #[error(transparent)]
    RequestKey(#[from] RequestKeyError),
    /// Somebody else held it all the time. Nothing of this request is left.
    #[error("somebody else holds the lock")]
    TimedOut,
    /// There are too many waiters.
    #[error("{WAITERS_MAX} wait for this lock already")]
    TooManyWaiters,
    /// There are too many leases.
    #[error("there are {LEASES_MAX} locks, waiters and leases already")]
    TooMany,
    /// The lock that this request was given was given back, or not renewed in time. Ask under another request key.
    #[error("the lock that this request was given is over: ask for it under another request key")]
    Over,
    /// The place in the queue was lost, because this node was cut off or frozen for too long.
    #[error("the place in the queue was lost: it was not renewed in time")]
    Lost,
    /// It certainly was not asked for and will not be: it may be tried again.
    #[error("not acquired: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The lock may be held for this request until its time is over. Asking again with the same request key tells.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Why a lock was not renewed or given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// That cannot be the name of a lock.
    #[error(transparent)]
    Name(#[from] KeyError),
    /// It is not held by that id: nothing was changed.
    #[error("the lock is not held by this id any more")]
    NotHeld,
    /// The request key is too long, or was used for something else.
    #[error(transparent)]
    RequestKey(#[from] RequestKeyError),
    /// It certainly was not done and will not be: it may be asked again.
    #[error("not done: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It may have been done, or may still be.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Why a watch brings nothing more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The prefix is longer than any key.
    #[error(transparent)]
    Prefix(#[from] KeyError),
    /// There are too many watches on this node.
    #[error("there are {WATCHES_MAX} watches on this node already")]
    TooMany,
    /// This node keeps no shared state for callers: ask another one.
    #[error("nothing is followed here: {reason}")]
    Off {
        /// Why.
        reason: String,
    },
    /// What happened since then is not known any more: read everything, and watch from after what was read.
    #[error("compacted at {revision}: changes up to there are kept no longer")]
    Compacted {
        /// The last revision that is gone.
        revision: Revision,
    },
}

/// Nobody holds the lock with that token any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lock was lost")]
pub struct LockLost;

/// The part of every error that says whether the cluster did it.
pub(crate) enum Failed {
    Unavailable(String),
    Unknown(String),
    TooLarge { bytes: usize, max: usize },
}

impl From<WriteError> for Failed {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NotApplied { reason } => Self::Unavailable(reason),
            WriteError::TooLarge { bytes, max } => Self::TooLarge { bytes, max },
            WriteError::Unknown { reason } => Self::Unknown(reason),
            other => Self::Unknown(other.to_string()),
        }
    }
}

macro_rules! from_write_error {
    ($($error:ident),*) => {$(
        impl From<WriteError> for $error {
            fn from(error: WriteError) -> Self {
                match Failed::from(error) {
                    Failed::Unknown(reason) => Self::Unknown { reason },
                    Failed::Unavailable(reason) => Self::Unavailable { reason },
                    Failed::TooLarge { bytes, max } => {
                        Self::Unavailable { reason: format!("{bytes} bytes are more than {max}") }
                    }
                }
            }
        }
    )*};
}

from_write_error!(LeaseError, AcquireError, HoldError);

impl From<WriteError> for ChangeError {
    fn from(error: WriteError) -> Self {
        match Failed::from(error) {
            Failed::Unknown(reason) => Self::Unknown { reason },
            Failed::Unavailable(reason) => Self::Unavailable { reason },
            Failed::TooLarge { bytes, max } => Self::TooLarge { bytes, max },
        }
    }
}

/// A transaction that only reads.
impl From<ReadError> for ChangeError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

/// The cluster answered in a way that does not fit: only a mistake in this crate leads here.
fn unfitting(refusal: &impl std::fmt::Debug) -> String {
    format!("an answer that does not fit: {refusal:?}")
}

impl From<Refusal> for ChangeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Condition { current } => Self::Condition { current },
            Refusal::Full { used, quota } => Self::Full { used, quota },
            Refusal::NoLease => Self::NoLease,
            Refusal::LeaseTaken => Self::LeaseOfALock,
            Refusal::TooManyLeases => Self::TooManyLeaseKeys,
            Refusal::TooMuchRead => Self::TooMuchRead,
            Refusal::TooManyKeys => Self::TooManyKeys,
            Refusal::RequestKeyReused => Self::RequestKey(RequestKeyError::Reused),
            other => Self::Unavailable { reason: unfitting(&other) },
        }
    }
}

impl From<Refusal> for LeaseError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoLease => Self::NotFound,
            Refusal::LeaseTaken => Self::Taken,
            Refusal::TooManyLeases => Self::TooMany,
            Refusal::RequestKeyReused => Self::RequestKey(RequestKeyError::Reused),
            other => Self::Unavailable { reason: unfitting(&other) },
        }
    }
}

impl From<Refusal> for AcquireError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Taken => Self::TimedOut,
            Refusal::TooManyWaiters => Self::TooManyWaiters,
            Refusal::TooManyLeases => Self::TooMany,
            Refusal::LeaseTaken | Refusal::RequestKeyReused => Self::RequestKey(RequestKeyError::Reused),
            Refusal::LockOver => Self::Over,
            other => Self::Unavailable { reason: unfitting(&other) },
        }
    }
}

impl From<Refusal> for HoldError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotHeld => Self::NotHeld,
            Refusal::RequestKeyReused => Self::RequestKey(RequestKeyError::Reused),
            other => Self::Unavailable { reason: unfitting(&other) },
        }
    }
}
