//! Locks: one holder, and a queue in the order of the log.
//!
//! Each place in a queue is kept by a lease of its own, which begins with the request: it ends when its owner falls
//! silent, whether it waits or holds. A grant is one step of the log, by which exactly one waiter becomes the holder;
//! its revision is the token.

use std::sync::Arc;

use imbl::OrdMap;

use super::leases::Ending;
use super::{Content, Purpose};
use crate::changes::{Changes, LeaseChange};
use crate::command::{Acquire, Done, Place, Refusal, Reply};
use crate::limits::{OWNER_BYTES_MAX, TTL_MAX, WAITERS_MAX};
use crate::{FencingToken, Key, LeaseId, Revision};

/// One lock that somebody holds or waits for; a lock that nobody wants is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) tenure: Tenure,
    /// By place.
    pub(crate) waiters: OrdMap<Revision, LeaseId>,
}

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// Somebody.
    Held {
        /// By this lease.
        lease: LeaseId,
        /// With this token.
        token: FencingToken,
    },
    /// Nobody yet: the last holder expired, and may not have noticed.
    Delayed {
        /// Its token.
        token: FencingToken,
        /// For how long, in milliseconds.
        delay_ms: u32,
    },
}

impl Content {
    pub(super) fn acquire(
        &mut self,
        at: Revision,
        acquire: Acquire,
        request: Option<Arc<str>>,
        asker: Option<u64>,
        changes: &mut Changes,
    ) -> Reply {
        if let Some(place) = self.place(&acquire)? {
            if let Some(Purpose::Place { request: Some(_), asker: last, .. }) =
                self.leases.get_mut(&acquire.lease).map(|known| &mut known.purpose)
            {
                *last = asker;
            }
            // Its caller counts from when it asked this time.
            self.renew_leases(vec![acquire.lease], changes);
            return Ok(Done::Lock(place));
        }
        if acquire.owner.len() > OWNER_BYTES_MAX || u128::from(acquire.delay_ms) > TTL_MAX.as_millis() {
            return Err(Refusal::Invalid);
        }
        let taken = self.locks.get(&*acquire.lock);
        if let Some(taken) = taken {
            if !acquire.waits {
                return Err(Refusal::Taken);
            }
            if taken.waiters.len() >= WAITERS_MAX {
                return Err(Refusal::TooManyWaiters);
            }
        }
        let waits = taken.is_some();
        let Acquire { lock, lease, ttl_ms, delay_ms, owner, .. } = acquire;
        let purpose = Purpose::Place { lock: lock.clone(), place: at, delay_ms, owner, request, asker };
        self.begin_lease(lease, ttl_ms, purpose, changes)?;
        if waits && let Some(taken) = self.locks.get_mut(&*lock) {
            taken.waiters.insert(at, lease);
            return Ok(Done::Lock(Place::Waiter));
        }
        let token = FencingToken(at.0);
        self.locks.insert(lock, Lock { tenure: Tenure::Held { lease, token }, waiters: OrdMap::new() });
        changes.lease(LeaseChange::Holds { lease, token });
        Ok(Done::Lock(Place::Holder { token }))
    }

    /// Where somebody stands who has asked before.
    fn place(&self, acquire: &Acquire) -> Result<Option<Place>, Refusal> {
        let Some(known) = self.leases.get(&acquire.lease) else { return Ok(None) };
        match &known.purpose {
            // With another length it is another request: its caller would count on more than is kept.
            Purpose::Place { lock, .. } if *lock == acquire.lock && known.ttl_ms == acquire.ttl_ms => {}
            _ => return Err(Refusal::LeaseTaken),
        }
        Ok(Some(match self.locks.get(&*acquire.lock).map(|lock| &lock.tenure) {
            Some(Tenure::Held { lease, token }) if *lease == acquire.lease => Place::Holder { token: *token },
            _ => Place::Waiter,
        }))
    }

    pub(super) fn renew_lock(
        &mut self,
        lock: &Key,
        lease: LeaseId,
        token: FencingToken,
        changes: &mut Changes,
    ) -> Reply {
        if self.locks.get(&**lock).map(|lock| lock.tenure) != Some(Tenure::Held { lease, token }) {
            return Err(Refusal::NotHeld);
        }
        self.renew_leases(vec![lease], changes);
        Ok(Done::Plain)
    }

    pub(super) fn release(
        &mut self,
        at: Revision,
        lock: &Key,
        lease: LeaseId,
        token: FencingToken,
        changes: &mut Changes,
    ) -> Reply {
        if self.locks.get(&**lock).map(|lock| lock.tenure) != Some(Tenure::Held { lease, token }) {
            return Err(Refusal::NotHeld);
        }
        self.end(at, lease, Ending::Given, changes);
        Ok(Done::Plain)
    }

    pub(super) fn leave(&mut self, at: Revision, lease: LeaseId, changes: &mut Changes) -> Reply {
        let place = self.leases.get(&lease).map(|known| &known.purpose);
        if !matches!(place, Some(Purpose::Place { .. })) || self.holds(lease).is_some() {
            return Err(Refusal::NoLease);
        }
        self.end_lease(at, lease, changes)
    }

    /// As [`Self::leave`], also for whoever has the lock by now if so told; nothing if the place is another asker's.
    pub(super) fn give_up(
        &mut self,
        at: Revision,
        lease: LeaseId,
        by: u64,
        held: bool,
        changes: &mut Changes,
    ) -> Reply {
        let place = self.leases.get(&lease).map(|known| &known.purpose);
        let own = matches!(place, Some(Purpose::Place { asker: Some(asker), .. }) if *asker == by);
        if !own || (!held && self.holds(lease).is_some()) {
            return Err(Refusal::NoLease);
        }
        self.end_lease(at, lease, changes)
    }

    /// Somebody leaves its place. If it was the holder, the next one has the lock, at once or after the delay.
    pub(super) fn vacate(
        &mut self,
        at: Revision,
        name: &Key,
        lease: LeaseId,
        place: Revision,
        delay_ms: u32,
        changes: &mut Changes,
    ) {
        let Some(lock) = self.locks.get_mut(&**name) else { return };
        match lock.tenure {
            Tenure::Held { lease: holder, token } if holder == lease => {
                if delay_ms == 0 {
                    self.promote(at, name, changes);
                } else {
                    lock.tenure = Tenure::Delayed { token, delay_ms };
                    changes.lease(LeaseChange::DelayBegan { lock: name.clone(), token, delay_ms });
                }
            }
            _ => drop(lock.waiters.remove(&place)),
        }
    }

    /// Gives a lock to the first of its waiters; without one, it is nobody's.
    fn promote(&mut self, at: Revision, name: &Key, changes: &mut Changes) {
        let Some(lock) = self.locks.get_mut(&**name) else { return };
        let Some((first, lease)) = lock.waiters.get_min().copied() else {
            self.locks.remove(&**name);
            return;
        };
        lock.waiters.remove(&first);
        let token = FencingToken(at.0);
        lock.tenure = Tenure::Held { lease, token };
        if let Some(Purpose::Place { request: Some(request), .. }) = self.leases.get(&lease).map(|known| &known.purpose)
        {
            self.kept.granted(request, token);
        }
        changes.lease(LeaseChange::Holds { lease, token });
    }

    pub(super) fn end_delays(&mut self, at: Revision, locks: &[(Key, FencingToken)], changes: &mut Changes) {
        for (name, token) in locks {
            let tenure = self.locks.get(&**name).map(|lock| lock.tenure);
            if matches!(tenure, Some(Tenure::Delayed { token: last, .. }) if last == *token) {
                changes.lease(LeaseChange::DelayEnded { lock: name.clone() });
                self.promote(at, name, changes);
            }
        }
    }
}
