//! What can be asked of the store, and what it answers. Old logs carry these: variants and fields are added at the
//! end, and never change.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::txn::{Answer, Txn};
use crate::{FencingToken, Key, LeaseId, Revision};

/// A change of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Sets a key.
    Put(Put),
    /// Removes a key.
    Delete {
        /// Which.
        key: Key,
        /// Only if it was last changed at this revision.
        if_revision: Option<Revision>,
    },
    /// Compares, then does the one or the other.
    Txn(Txn),
    /// Begins a lease, or begins it anew under the same id.
    LeaseGrant {
        /// Its id.
        lease: LeaseId,
        /// Its length in milliseconds.
        ttl_ms: u32,
    },
    /// Renews leases.
    LeaseRenew {
        /// Which.
        leases: Vec<LeaseId>,
    },
    /// Ends a lease, with all that hangs on it.
    LeaseEnd {
        /// Which.
        lease: LeaseId,
    },
    /// Ends leases that were not renewed in time. Proposed by the leader only.
    LeaseExpire {
        /// Which, and how often each had been renewed when its time was up: one that was renewed since stays.
        leases: Vec<(LeaseId, u64)>,
    },
    /// Takes a lock or queues for it, on a lease that this begins.
    LockAcquire(Acquire),
    /// Gives a lock back.
    LockRelease {
        /// Which lock.
        lock: Key,
        /// The lease that keeps it.
        lease: LeaseId,
        /// The token that came with it.
        token: FencingToken,
    },
    /// Renews the lease by which a lock is held.
    LockRenew {
        /// Which lock.
        lock: Key,
        /// The lease that keeps it.
        lease: LeaseId,
        /// The token that came with it.
        token: FencingToken,
    },
    /// The delays after these expired holders are over. Proposed by the leader only.
    LockDelaysOver {
        /// Each lock, and the token of the holder that expired.
        locks: Vec<(Key, FencingToken)>,
    },
    /// Forgets past changes up to a revision.
    Compact {
        /// That one included.
        revision: Revision,
    },
    /// Sets how many bytes keys and values may take.
    SetQuota {
        /// Bytes.
        bytes: u64,
    },
    /// Does something once for each request key: a repetition is answered as the first time.
    Once {
        /// The caller's key.
        request: Arc<str>,
        /// Tells one command from another, so that a key that is used for two is noticed.
        fingerprint: u64,
        /// What to do.
        command: Box<Command>,
    },
    /// As [`Self::LockAcquire`], under a request key: a repetition has the same place, and no second grant for as long
    /// as the key is remembered.
    LockAcquireOnce {
        /// The caller's key.
        request: Arc<str>,
        /// As in [`Self::Once`].
        fingerprint: u64,
        /// What to take.
        acquire: Acquire,
    },
    /// Leaves the queue for a lock; whoever has it by now keeps it.
    LockLeave {
        /// The lease that keeps the place.
        lease: LeaseId,
    },
    /// Renews a lease of keys.
    KeysLeaseRenew {
        /// Which.
        lease: LeaseId,
    },
    /// Ends a lease of keys, and removes them.
    KeysLeaseEnd {
        /// Which.
        lease: LeaseId,
    },
    /// Begins a lease and sets a key that hangs on it, both or neither. The lease ends with the last of its keys.
    PutLeased {
        /// Which key.
        key: Key,
        /// To what.
        value: Bytes,
        /// As in [`Put`].
        if_revision: Option<Revision>,
        /// The id of the lease.
        lease: LeaseId,
        /// Its length in milliseconds.
        ttl_ms: u32,
    },
    /// As [`Self::LockAcquireOnce`], by one of those that may ask under this key: the place is its own to give up until
    /// another one asks.
    LockAcquireBy {
        /// The caller's key.
        request: Arc<str>,
        /// As in [`Self::Once`].
        fingerprint: u64,
        /// What to take.
        acquire: Acquire,
        /// Who asks.
        asker: u64,
    },
    /// Gives a place up, unless another one asked for it since.
    LockGiveUp {
        /// The lease that keeps the place.
        lease: LeaseId,
        /// Who asked.
        asker: u64,
        /// Also if it has the lock by now.
        held: bool,
    },
}

/// Sets a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Which.
    pub key: Key,
    /// To what.
    pub value: Bytes,
    /// The lease with which it ends.
    pub lease: Option<LeaseId>,
    /// Only if it was last changed at this revision; [`Revision::ABSENT`] for a key that must not exist.
    pub if_revision: Option<Revision>,
}

/// Takes a lock or queues for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// Which lock.
    pub lock: Key,
    /// The lease that this begins; asking again with the same one gives the same place.
    pub lease: LeaseId,
    /// Its length in milliseconds.
    pub ttl_ms: u32,
    /// How long the lock stays taken after this holder expired, in milliseconds.
    pub delay_ms: u32,
    /// Whether to queue.
    pub waits: bool,
    /// What the holder calls itself.
    pub owner: Arc<str>,
}

/// What became of a command.
pub(crate) type Reply = Result<Done, Refusal>;

/// It was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// A key was set.
    Put {
        /// The revision that it has now.
        revision: Revision,
    },
    /// A key was removed, if it existed.
    Deleted {
        /// The revision of the removal.
        revision: Revision,
        /// Whether it existed.
        existed: bool,
    },
    /// A transaction.
    Txn {
        /// The revision at which it took place.
        revision: Revision,
        /// Whether the comparisons held.
        succeeded: bool,
        /// One for each operation of the branch that was taken.
        answers: Vec<Answer>,
    },
    /// Leases were renewed.
    Renewed {
        /// These do not exist.
        gone: Vec<LeaseId>,
    },
    /// A lock was asked for.
    Lock(Place),
    /// Nothing more to say.
    Plain,
}

/// Where somebody stands who asked for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// It holds the lock.
    Holder {
        /// Its token.
        token: FencingToken,
    },
    /// It waits.
    Waiter,
}

/// It was not done, and nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The key was last changed at another revision.
    Condition {
        /// At this one; [`Revision::ABSENT`] when it does not exist.
        current: Revision,
    },
    /// The quota would be exceeded.
    Full {
        /// Bytes taken.
        used: u64,
        /// The quota.
        quota: u64,
    },
    /// No such lease.
    NoLease,
    /// The id is another lease's already.
    LeaseTaken,
    /// There are [`crate::limits::LEASES_MAX`] leases, or [`crate::limits::LEASE_KEYS_MAX`] keys on this one.
    TooManyLeases,
    /// There are [`crate::limits::WAITERS_MAX`] waiters.
    TooManyWaiters,
    /// Somebody holds the lock.
    Taken,
    /// The lock is not held by that lease with that token.
    NotHeld,
    /// What is read in the transaction is more than fits into an answer.
    TooMuchRead,
    /// More keys begin so than one transaction removes.
    TooManyKeys,
    /// It breaks a limit; callers of this crate are told before they ask.
    Invalid,
    /// The request key was used for another command.
    RequestKeyReused,
    /// The lock that this request was given is over.
    LockOver,
}

/// Tells commands apart: FNV-1a with 64 bits over parts, each with its length.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut take = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for part in parts {
        part.len().to_le_bytes().into_iter().for_each(&mut take);
        part.iter().copied().for_each(&mut take);
    }
    hash
}
