//! Keys and their values.

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::{Content, Lease, Purpose};
use crate::changes::Changes;
use crate::command::{Done, Put, Refusal, Reply};
use crate::limits::{KEY_OVERHEAD_BYTES, LEASE_KEYS_MAX, VALUE_BYTES_MAX};
use crate::{Event, Key, KeyValue, LeaseId, Revision};

/// What a key counts for against the quota.
pub(super) fn cost(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + KEY_OVERHEAD_BYTES
}

/// What keeps a key from being set.
pub(super) struct Bounds<'a> {
    used: u64,
    quota: u64,
    leases: &'a OrdMap<LeaseId, Lease>,
}

impl Bounds<'_> {
    /// Whether so many bytes may be added, when so many go at the same time. A change that makes nothing larger always
    /// may.
    pub(super) fn admit_bytes(&self, added: u64, freed: u64) -> Result<(), Refusal> {
        let used = self.used.saturating_sub(freed).saturating_add(added);
        if added > freed && used > self.quota {
            return Err(Refusal::Full { used: self.used, quota: self.quota });
        }
        Ok(())
    }

    /// Whether keys may hang on a lease of which so many do not yet.
    pub(super) fn admit_lease(&self, lease: Option<LeaseId>, further: usize) -> Result<(), Refusal> {
        let Some(id) = lease else { return Ok(()) };
        match self.leases.get(&id).map(|lease| &lease.purpose) {
            Some(Purpose::Keys { keys: held, .. }) if further > 0 && held.len() + further > LEASE_KEYS_MAX => {
                Err(Refusal::TooManyLeases)
            }
            Some(Purpose::Keys { .. }) => Ok(()),
            Some(Purpose::Place { .. }) => Err(Refusal::LeaseTaken),
            None => Err(Refusal::NoLease),
        }
    }
}

impl Content {
    pub(super) fn put(&mut self, at: Revision, put: Put, changes: &mut Changes) -> Reply {
        let Put { key, value, lease, if_revision } = put;
        let (length, added) = (value.len(), cost(&key, &value));
        self.set_if(at, key, value, lease, changes, |found, bounds| {
            expect_revision(found, if_revision)?;
            if length > VALUE_BYTES_MAX {
                return Err(Refusal::Invalid);
            }
            let freed = found.map_or(0, |found| cost(&found.key, &found.value));
            bounds.admit_bytes(added, freed)?;
            bounds.admit_lease(lease, usize::from(found.and_then(|found| found.lease) != lease))
        })?;
        Ok(Done::Put { revision: at })
    }

    pub(super) fn delete(
        &mut self,
        at: Revision,
        key: &Key,
        if_revision: Option<Revision>,
        changes: &mut Changes,
    ) -> Reply {
        expect_revision(self.keys.get(key), if_revision)?;
        Ok(Done::Deleted { revision: at, existed: self.remove(at, key, changes) })
    }

    pub(super) fn bounds(&self) -> Bounds<'_> {
        Bounds { used: self.used, quota: self.quota, leases: &self.leases }
    }

    /// Sets a key that was admitted.
    pub(super) fn set(&mut self, at: Revision, key: Key, value: Bytes, lease: Option<LeaseId>, changes: &mut Changes) {
        let Ok(()) = self.set_if(at, key, value, lease, changes, |_, _| Ok::<_, Infallible>(()));
    }

    /// Sets a key if what it was allows it. One that exists is looked up once; for that, the way to it is no longer shared
    /// with a snapshot that is being written, also when it is refused.
    fn set_if<E>(
        &mut self,
        at: Revision,
        key: Key,
        value: Bytes,
        lease: Option<LeaseId>,
        changes: &mut Changes,
        allows: impl FnOnce(Option<&Arc<KeyValue>>, &Bounds<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        // Not by `bounds`, which would borrow the keys too.
        let bounds = Bounds { used: self.used, quota: self.quota, leases: &self.leases };
        let found = self.keys.get_mut(&key);
        allows(found.as_deref(), &bounds)?;
        self.used += cost(&key, &value);
        let mut set = KeyValue { key: key.clone(), value, created: at, modified: at, version: 1, lease };
        if let Some(before) = found.as_deref() {
            // The name that is there already: one copy of it for all of the key's past.
            set.key = before.key.clone();
            set.created = before.created;
            set.version = before.version + 1;
            self.used -= cost(&before.key, &before.value);
        }
        let set = Arc::new(set);
        changes.key(set.key.clone(), at);
        self.history.push(Event::Put(set.clone()));
        let lease_before = match found {
            Some(found) => mem::replace(found, set).lease,
            None => {
                self.keys.insert(set);
                None
            }
        };
        if lease_before != lease {
            self.detach(lease_before, &key, changes);
            self.attach(lease, &key);
        }
        Ok(())
    }

    /// Removes a key; false when it does not exist.
    pub(super) fn remove(&mut self, at: Revision, key: &Key, changes: &mut Changes) -> bool {
        let Some(before) = self.keys.remove(key) else { return false };
        self.used -= cost(&before.key, &before.value);
        self.detach(before.lease, key, changes);
        self.history.push(Event::Delete { key: key.clone(), revision: at });
        changes.key(key.clone(), at);
        true
    }

    fn attach(&mut self, lease: Option<LeaseId>, key: &Key) {
        let purpose = lease.and_then(|id| self.leases.get_mut(&id)).map(|l| &mut l.purpose);
        if let Some(Purpose::Keys { keys, .. }) = purpose {
            keys.insert(key.clone());
        }
    }

    fn detach(&mut self, lease: Option<LeaseId>, key: &Key, changes: &mut Changes) {
        let Some(id) = lease else { return };
        if let Some(Purpose::Keys { keys, ends_with_last }) = self.leases.get_mut(&id).map(|l| &mut l.purpose) {
            keys.remove(&**key);
            if *ends_with_last && keys.is_empty() {
                changes.emptied(id);
            }
        }
    }
}

/// Whether a key was last changed when the caller thinks.
pub(super) fn expect_revision(found: Option<&Arc<KeyValue>>, expected: Option<Revision>) -> Result<(), Refusal> {
    let current = found.map_or(Revision::ABSENT, |found| found.modified);
    match expected {
        Some(expected) if expected != current => Err(Refusal::Condition { current }),
        _ => Ok(()),
    }
}
