//! The replicated state: keys, leases, locks, and the past that watches need.
//!
//! [`Content`] is pure: a command and its revision go in, a reply and what changed come out. [`Store`] puts it on the
//! cluster's log and passes on to this node's own callers what changed. The maps are persistent ones: a copy of them
//! all, taken for a snapshot, costs the same at any size, and shares what does not change afterwards.

mod history;
mod image;
mod kept;
mod keys;
mod keyspace;
mod leases;
mod locks;
#[cfg(test)]
mod tests;
mod transact;

use std::sync::Arc;

use ha_cluster::{Applied, Capture, Epoch, Machine, MachineId};
use imbl::OrdMap;

pub(crate) use history::History;
pub(crate) use leases::{Lease, Purpose};
pub(crate) use locks::{Lock, Tenure};

use crate::changes::Changes;
use crate::command::{Command, Done, Put, Refusal, Reply};
use crate::hub::Hub;
use crate::limits::{QUOTA_BYTES, TXN_READ_BYTES_MAX};
use crate::{Key, LeaseId, Revision};
use kept::Kept;
use keyspace::Keyspace;

/// Everything that nodes must agree on. Copied in constant time.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Of the last command.
    pub(crate) revision: Revision,
    pub(crate) keys: Keyspace,
    /// What keys and values take, as counted against the quota.
    pub(crate) used: u64,
    pub(crate) quota: u64,
    pub(crate) history: History,
    pub(crate) leases: OrdMap<LeaseId, Lease>,
    pub(crate) locks: OrdMap<Key, Lock>,
    kept: Kept,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            revision: Revision::default(),
            keys: Keyspace::default(),
            used: 0,
            quota: QUOTA_BYTES,
            history: History::default(),
            leases: OrdMap::new(),
            locks: OrdMap::new(),
            kept: Kept::default(),
        }
    }
}

impl Content {
    /// Applies one command.
    pub(crate) fn apply(&mut self, at: Revision, command: Command, changes: &mut Changes) -> Reply {
        self.revision = at;
        let reply = match command {
            Command::Once { request, fingerprint, command } => self.once(at, request, fingerprint, *command, changes),
            Command::LockAcquireOnce { request, fingerprint, acquire } => {
                self.acquire_once(at, request, fingerprint, acquire, None, changes)
            }
            Command::LockAcquireBy { request, fingerprint, acquire, asker } => {
                self.acquire_once(at, request, fingerprint, acquire, Some(asker), changes)
            }
            command => self.carry_out(at, command, changes),
        };
        self.end_emptied(changes);
        reply
    }

    /// No change led here from what a watch may have seen, here or on nodes that are gone: none goes on from before.
    fn begin_anew(&mut self, at: Revision) {
        self.revision = at;
        self.history.compact(at);
    }

    fn carry_out(&mut self, at: Revision, command: Command, changes: &mut Changes) -> Reply {
        match command {
            Command::Put(put) => self.put(at, put, changes),
            Command::Delete { key, if_revision } => self.delete(at, &key, if_revision, changes),
            Command::Txn(txn) => self.transact(at, txn, TXN_READ_BYTES_MAX, changes),
            Command::LeaseGrant { lease, ttl_ms } => self.grant_lease(lease, ttl_ms, changes),
            Command::LeaseRenew { leases } => Ok(Done::Renewed { gone: self.renew_leases(leases, changes) }),
            Command::LeaseEnd { lease } => self.end_lease(at, lease, changes),
            Command::LeaseExpire { leases } => {
                self.expire_leases(at, &leases, changes);
                Ok(Done::Plain)
            }
            Command::LockAcquire(acquire) => self.acquire(at, acquire, None, None, changes),
            Command::LockRelease { lock, lease, token } => self.release(at, &lock, lease, token, changes),
            Command::LockRenew { lock, lease, token } => self.renew_lock(&lock, lease, token, changes),
            Command::LockDelaysOver { locks } => {
                self.end_delays(at, &locks, changes);
                Ok(Done::Plain)
            }
            Command::Compact { revision } => {
                self.history.compact(revision.min(at));
                Ok(Done::Plain)
            }
            Command::SetQuota { bytes } => {
                self.quota = bytes;
                Ok(Done::Plain)
            }
            // One request key for another makes no sense.
            Command::Once { .. } | Command::LockAcquireOnce { .. } | Command::LockAcquireBy { .. } => {
                Err(Refusal::Invalid)
            }
            Command::LockLeave { lease } => self.leave(at, lease, changes),
            Command::LockGiveUp { lease, asker, held } => self.give_up(at, lease, asker, held, changes),
            Command::KeysLeaseRenew { lease } => self.renew_keys_lease(lease, changes),
            Command::KeysLeaseEnd { lease } => self.end_keys_lease(at, lease, changes),
            Command::PutLeased { key, value, if_revision, lease, ttl_ms } => {
                let put = Put { key, value, lease: Some(lease), if_revision };
                self.put_leased(at, put, lease, ttl_ms, changes)
            }
        }
    }
}

/// The machine on the cluster's log. Give it to [`ha_cluster::Machines::with`]; [`crate::start`] finds it there.
#[derive(Debug, Default)]
pub struct Store {
    content: Content,
    hub: Arc<Hub>,
    /// Kept between commands, so that not each one allocates.
    changes: Changes,
}

impl Store {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Machine for Store {
    const ID: MachineId = MachineId(1);
    const NAME: &'static str = "state";
    type Command = Command;
    type Reply = Reply;

    fn apply(&mut self, at: Applied, command: Command) -> Reply {
        let reply = self.content.apply(Revision(at.epoch.0), command, &mut self.changes);
        self.hub.tell(&mut self.changes);
        reply
    }

    fn capture(&self) -> Capture {
        Box::new(image::pieces(self.content.clone(), image::PIECE_BYTES))
    }

    fn image_bytes(&self) -> u64 {
        image::bytes(&self.content)
    }

    fn restore(&mut self, image: &[u8]) -> Result<(), String> {
        let before = self.content.revision;
        self.content = image::decode(image).map_err(|error| error.to_string())?;
        self.hub.begin_anew(before.next(), &self.content);
        Ok(())
    }

    fn replace(&mut self, at: Epoch, image: &[u8]) -> Result<(), String> {
        self.content = image::decode(image).map_err(|error| error.to_string())?;
        self.content.begin_anew(Revision(at.0));
        self.hub.replaced(self.content.revision, &self.content);
        Ok(())
    }

    fn holds(&self) -> Option<String> {
        let (keys, locks) = (self.content.keys.len(), self.content.locks.len());
        (keys + locks > 0).then(|| format!("{keys} keys and {locks} locks"))
    }

    fn recovered(&mut self, at: Applied) {
        self.content.begin_anew(Revision(at.epoch.0));
        self.hub.begin_anew(self.content.revision, &self.content);
    }
}
