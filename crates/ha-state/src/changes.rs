//! What one command changed, for those on this node who want to know.

use crate::{FencingToken, Key, LeaseId, Revision};

/// What changed, in order.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    keys: Vec<(Key, Revision)>,
    leases: Vec<LeaseChange>,
    /// Leases that had no key left at some point, and were to end with the last one.
    emptied: Vec<LeaseId>,
}

/// A change of a lease, or of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaseChange {
    /// It began.
    Granted { lease: LeaseId, ttl_ms: u32, renewals: u64 },
    /// It was renewed, for the so manieth time.
    Renewed { lease: LeaseId, renewals: u64 },
    /// It ended.
    Ended { lease: LeaseId },
    /// Its lock is its own from now on.
    Holds { lease: LeaseId, token: FencingToken },
    /// Nobody is given the lock for a while.
    DelayBegan { lock: Key, token: FencingToken, delay_ms: u32 },
    /// That is over.
    DelayEnded { lock: Key },
}

/// How much had changed at some point of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(usize, usize);

impl Changes {
    pub(crate) fn key(&mut self, key: Key, revision: Revision) {
        self.keys.push((key, revision));
    }

    pub(crate) fn lease(&mut self, change: LeaseChange) {
        self.leases.push(change);
    }

    pub(crate) fn emptied(&mut self, lease: LeaseId) {
        self.emptied.push(lease);
    }

    pub(crate) fn next_emptied(&mut self) -> Option<LeaseId> {
        self.emptied.pop()
    }

    pub(crate) fn keys(&self) -> &[(Key, Revision)] {
        &self.keys
    }

    pub(crate) fn leases(&self) -> &[LeaseChange] {
        &self.leases
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.keys.len(), self.leases.len())
    }

    /// What came after the mark did not happen.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.keys.truncate(mark.0);
        self.leases.truncate(mark.1);
    }

    pub(crate) fn clear(&mut self) {
        self.back_to(Mark(0, 0));
    }
}
