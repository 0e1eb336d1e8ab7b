//! Leases: what hangs on them ends with them.
//!
//! No clock is read here. The leader says when a lease is over, and names how often it had been renewed: if another
//! renewal came first in the log, nothing happens.

use std::sync::Arc;

use imbl::OrdSet;

use super::{Content, Tenure};
use crate::changes::{Changes, LeaseChange};
use crate::command::{Done, Put, Refusal, Reply};
use crate::limits::{LEASES_MAX, LEASES_PER_COMMAND_MAX, TTL_MAX, TTL_MIN};
use crate::{FencingToken, Key, LeaseId, Revision};

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Its length in milliseconds.
    pub(crate) ttl_ms: u32,
    /// How often it was renewed.
    pub(crate) renewals: u64,
    pub(crate) purpose: Purpose,
}

/// What hangs on a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Keys.
    Keys {
        /// These.
        keys: OrdSet<Key>,
        /// It ends when none is left.
        ends_with_last: bool,
    },
    /// A lock, or a place in the queue for it.
    Place {
        /// Which lock.
        lock: Key,
        /// Where in the queue: the revision at which it was asked for.
        place: Revision,
        /// How long the lock stays taken if this holder expires, in milliseconds.
        delay_ms: u32,
        /// What the holder calls itself.
        owner: Arc<str>,
        /// The request key under which it was asked for.
        request: Option<Arc<str>>,
        /// Who asked for it last under that key, if that is known.
        asker: Option<u64>,
    },
}

/// How a lease ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its owner ended it.
    Given,
    /// It was not renewed.
    Expired,
}

impl Content {
    pub(super) fn grant_lease(&mut self, lease: LeaseId, ttl_ms: u32, changes: &mut Changes) -> Reply {
        match self.leases.get_mut(&lease) {
            Some(Lease { purpose: Purpose::Place { .. }, .. }) => return Err(Refusal::LeaseTaken),
            Some(known) => {
                // Asked again: as good as a renewal.
                known.renewals += 1;
                changes.lease(LeaseChange::Renewed { lease, renewals: known.renewals });
            }
            None => {
                let purpose = Purpose::Keys { keys: OrdSet::new(), ends_with_last: false };
                self.begin_lease(lease, ttl_ms, purpose, changes)?;
            }
        }
        Ok(Done::Plain)
    }

    pub(super) fn begin_lease(
        &mut self,
        lease: LeaseId,
        ttl_ms: u32,
        purpose: Purpose,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        self.admit_new_lease(ttl_ms, 0)?;
        self.insert_lease(lease, ttl_ms, purpose, changes);
        Ok(())
    }

    /// Whether there may be one more lease, when so many end at the same time.
    fn admit_new_lease(&self, ttl_ms: u32, ended: usize) -> Result<(), Refusal> {
        if !(TTL_MIN.as_millis()..=TTL_MAX.as_millis()).contains(&u128::from(ttl_ms)) {
            return Err(Refusal::Invalid);
        }
        if self.leases.len() - ended >= LEASES_MAX { Err(Refusal::TooManyLeases) } else { Ok(()) }
    }

    fn insert_lease(&mut self, lease: LeaseId, ttl_ms: u32, purpose: Purpose, changes: &mut Changes) {
        self.leases.insert(lease, Lease { ttl_ms, renewals: 0, purpose });
        changes.lease(LeaseChange::Granted { lease, ttl_ms, renewals: 0 });
    }

    /// Sets a key on a lease that begins with it, and ends with the last of its keys.
    pub(super) fn put_leased(
        &mut self,
        at: Revision,
        put: Put,
        lease: LeaseId,
        ttl_ms: u32,
        changes: &mut Changes,
    ) -> Reply {
        if self.leases.contains_key(&lease) {
            return Err(Refusal::LeaseTaken);
        }
        // The one that it had may end with it: a key that is set again and again always finds a place.
        let before = self.keys.get(&put.key).and_then(|found| self.leases.get(&found.lease?));
        let before = before.map(|before| &before.purpose);
        let ended = matches!(before, Some(Purpose::Keys { keys, ends_with_last: true }) if keys.len() == 1);
        self.admit_new_lease(ttl_ms, usize::from(ended))?;
        let mark = changes.mark();
        let purpose = Purpose::Keys { keys: OrdSet::new(), ends_with_last: true };
        self.insert_lease(lease, ttl_ms, purpose, changes);
        let reply = self.put(at, put, changes);
        if reply.is_err() {
            self.leases.remove(&lease);
            changes.back_to(mark);
        }
        reply
    }

    /// Ends what was to end with the last of its keys, when a command is done and none is left.
    pub(super) fn end_emptied(&mut self, changes: &mut Changes) {
        while let Some(lease) = changes.next_emptied() {
            let purpose = self.leases.get(&lease).map(|known| &known.purpose);
            if matches!(purpose, Some(Purpose::Keys { keys, ends_with_last: true }) if keys.is_empty()) {
                self.leases.remove(&lease);
                changes.lease(LeaseChange::Ended { lease });
            }
        }
    }

    /// Returns those that do not exist.
    pub(super) fn renew_leases(&mut self, mut leases: Vec<LeaseId>, changes: &mut Changes) -> Vec<LeaseId> {
        leases.truncate(LEASES_PER_COMMAND_MAX);
        leases.retain(|lease| match self.leases.get_mut(lease) {
            Some(known) => {
                known.renewals += 1;
                changes.lease(LeaseChange::Renewed { lease: *lease, renewals: known.renewals });
                false
            }
            None => true,
        });
        leases
    }

    pub(super) fn end_lease(&mut self, at: Revision, lease: LeaseId, changes: &mut Changes) -> Reply {
        if !self.leases.contains_key(&lease) {
            return Err(Refusal::NoLease);
        }
        self.end(at, lease, Ending::Given, changes);
        Ok(Done::Plain)
    }

    pub(super) fn renew_keys_lease(&mut self, lease: LeaseId, changes: &mut Changes) -> Reply {
        self.expect_keys(lease)?;
        self.renew_leases(vec![lease], changes);
        Ok(Done::Plain)
    }

    pub(super) fn end_keys_lease(&mut self, at: Revision, lease: LeaseId, changes: &mut Changes) -> Reply {
        self.expect_keys(lease)?;
        self.end_lease(at, lease, changes)
    }

    /// A lock is renewed and given back by its own id, which has the token.
    fn expect_keys(&self, lease: LeaseId) -> Result<(), Refusal> {
        match self.leases.get(&lease).map(|known| &known.purpose) {
            Some(Purpose::Keys { .. }) => Ok(()),
            Some(Purpose::Place { .. }) => Err(Refusal::LeaseTaken),
            None => Err(Refusal::NoLease),
        }
    }

    /// Ends those that were not renewed since. Waiters go first: else one of them could be given a lock that falls free
    /// in the same instant, and the next one the same token.
    pub(super) fn expire_leases(&mut self, at: Revision, leases: &[(LeaseId, u64)], changes: &mut Changes) {
        let due = |known: Option<&Lease>, renewals: u64| known.is_some_and(|known| known.renewals == renewals);
        let mut due: Vec<LeaseId> = leases
            .iter()
            .take(LEASES_PER_COMMAND_MAX)
            .filter(|(lease, renewals)| due(self.leases.get(lease), *renewals))
            .map(|(lease, _)| *lease)
            .collect();
        due.retain(|lease| {
            let holds = self.holds(*lease).is_some();
            if !holds {
                self.end(at, *lease, Ending::Expired, changes);
            }
            holds
        });
        for lease in due {
            self.end(at, lease, Ending::Expired, changes);
        }
    }

    /// How many keys end with a lease.
    pub(crate) fn keys_of(&self, id: LeaseId) -> usize {
        match self.leases.get(&id).map(|lease| &lease.purpose) {
            Some(Purpose::Keys { keys, .. }) => keys.len(),
            _ => 0,
        }
    }

    /// The token of the lock that this lease holds, if it holds one.
    pub(crate) fn holds(&self, id: LeaseId) -> Option<FencingToken> {
        let Purpose::Place { lock, .. } = &self.leases.get(&id)?.purpose else { return None };
        match self.locks.get(&**lock)?.tenure {
            Tenure::Held { lease, token } if lease == id => Some(token),
            _ => None,
        }
    }

    /// Every lease and every delay, as if all began now.
    pub(crate) fn all_leases(&self) -> Vec<LeaseChange> {
        let granted = |(id, lease): (&LeaseId, &Lease)| {
            let Lease { ttl_ms, renewals, .. } = *lease;
            LeaseChange::Granted { lease: *id, ttl_ms, renewals }
        };
        let delay = |(name, lock): (&Key, &super::Lock)| match lock.tenure {
            Tenure::Delayed { token, delay_ms } => {
                Some(LeaseChange::DelayBegan { lock: name.clone(), token, delay_ms })
            }
            Tenure::Held { .. } => None,
        };
        self.leases.iter().map(granted).chain(self.locks.iter().filter_map(delay)).collect()
    }

    /// Ends a lease and what hangs on it.
    pub(super) fn end(&mut self, at: Revision, lease: LeaseId, ending: Ending, changes: &mut Changes) {
        let Some(ended) = self.leases.remove(&lease) else { return };
        changes.lease(LeaseChange::Ended { lease });
        match ended.purpose {
            Purpose::Keys { keys, .. } => {
                for key in &keys {
                    self.remove(at, key, changes);
                }
            }
            Purpose::Place { lock, place, delay_ms, .. } => {
                let delay_ms = if ending == Ending::Expired { delay_ms } else { 0 };
                self.vacate(at, &lock, lease, place, delay_ms, changes);
            }
        }
    }
}
