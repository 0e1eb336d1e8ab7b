//! Tells this node's own callers what changed: watches, holders and waiters of locks, and the warden of leases.
//!
//! Nothing is queued for a watch: it is told from which revision on something is there for it, and reads that from the
//! history. So it costs nothing while nothing changes, and a slow reader holds nobody up. The one whose lock it is
//! now is told, and nobody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::changes::{Changes, LeaseChange};
use crate::limits::{JOURNAL_MAX, WATCHES_MAX};
use crate::store::Content;
use crate::ticket::{Standing, Ticket};
use crate::{Key, LeaseId, Revision};

/// Where callers of this node wait.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    watches: Mutex<Watches>,
    tickets: Mutex<Tickets>,
    journal: Mutex<Journal>,
    journal_grew: Notify,
}

/// By lease and its length: who asks for another length shares nothing, and is refused.
type Tickets = BTreeMap<(LeaseId, Duration), Seat>;

/// Callers that ask for the same, as one.
#[derive(Debug)]
struct Seat {
    ticket: Arc<Ticket>,
    asker: u64,
    callers: usize,
}

fn of(tickets: &Tickets, lease: LeaseId) -> impl Iterator<Item = &Ticket> {
    tickets.range((lease, Duration::ZERO)..=(lease, Duration::MAX)).map(|(_, seat)| &*seat.ticket)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Tells whom it concerns, and empties the changes.
    pub(crate) fn tell(&self, changes: &mut Changes) {
        if !changes.keys().is_empty() {
            lock(&self.watches).tell(changes.keys());
        }
        if !changes.leases().is_empty() {
            self.tell_tickets(changes.leases());
            lock(&self.journal).add(changes.leases());
            self.journal_grew.notify_one();
        }
        changes.clear();
    }

    fn tell_tickets(&self, changes: &[LeaseChange]) {
        let tickets = lock(&self.tickets);
        if tickets.is_empty() {
            return;
        }
        for change in changes {
            match change {
                LeaseChange::Holds { lease, token } => {
                    of(&tickets, *lease).for_each(|ticket| ticket.set(Standing::Holder(*token)));
                }
                LeaseChange::Ended { lease } => {
                    of(&tickets, *lease).for_each(|ticket| ticket.set(Standing::Gone));
                }
                _ => {}
            }
        }
    }

    /// The store was replaced: from a revision on, all may be otherwise than was told.
    pub(crate) fn begin_anew(&self, from: Revision, content: &Content) {
        lock(&self.watches).begin_anew(from);
        for ((lease, _), seat) in lock(&self.tickets).iter() {
            // A request that is not there may not have been applied yet; if it ended, its renewal will say so.
            let standing = content.holds(*lease).map_or(Standing::Waits, Standing::Holder);
            seat.ticket.set(standing);
        }
        lock(&self.journal).lose();
        self.journal_grew.notify_one();
    }

    /// What a person saved took the place of the store: a lock that is not in it is held no more.
    pub(crate) fn replaced(&self, from: Revision, content: &Content) {
        for ((lease, _), seat) in lock(&self.tickets).iter() {
            if let Standing::Holder(token) = seat.ticket.standing()
                && content.holds(*lease) != Some(token)
            {
                seat.ticket.set(Standing::Gone);
            }
        }
        self.begin_anew(from, content);
    }

    /// Registers a watch on all keys that begin so, to which something from a revision on matters. `None` when there are
    /// too many.
    pub(crate) fn watch(&self, prefix: &str, pending: Option<Revision>) -> Option<Arc<Wake>> {
        lock(&self.watches).add(prefix, pending)
    }

    pub(crate) fn unwatch(&self, prefix: &str, wake: &Arc<Wake>) {
        lock(&self.watches).remove(prefix, wake);
    }

    /// Registers somebody who is about to ask for a lock. Callers that ask by one name share one ticket, and ask as the
    /// first of them, whose number is returned.
    pub(crate) fn register(&self, lease: LeaseId, ttl: Duration, asker: u64) -> (Arc<Ticket>, u64) {
        let mut tickets = lock(&self.tickets);
        let new = || Seat { ticket: Arc::new(Ticket::new(ttl)), asker, callers: 0 };
        let seat = tickets.entry((lease, ttl)).or_insert_with(new);
        seat.callers += 1;
        (seat.ticket.clone(), seat.asker)
    }

    /// One of them is done; true when it was the last.
    pub(crate) fn unregister(&self, lease: LeaseId, ttl: Duration) -> bool {
        let mut tickets = lock(&self.tickets);
        let Some(seat) = tickets.get_mut(&(lease, ttl)) else { return true };
        seat.callers -= 1;
        let last = seat.callers == 0;
        if last {
            tickets.remove(&(lease, ttl));
        }
        last
    }

    /// What changed of leases since the last call; `None` when that is not known, and all must be looked through.
    pub(crate) fn take_journal(&self) -> Option<Vec<LeaseChange>> {
        lock(&self.journal).take()
    }

    /// Resolves when there is something to take.
    pub(crate) async fn journal_grew(&self) {
        self.journal_grew.notified().await;
    }
}

/// Where one watch waits.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// The first revision with something for it that it has not seen.
    pending: Mutex<Option<Revision>>,
    changed: Notify,
}

impl Wake {
    fn tell(&self, revision: Revision) {
        let mut pending = lock(&self.pending);
        if pending.is_none_or(|first| revision < first) {
            *pending = Some(revision);
            self.changed.notify_one();
        }
    }

    /// From where on there is something, as long as nothing else is said.
    pub(crate) fn pending(&self) -> Option<Revision> {
        *lock(&self.pending)
    }

    /// Everything before a revision was seen; the rest is still to be read.
    pub(crate) fn seen(&self, rest: Option<Revision>) {
        *lock(&self.pending) = rest;
    }

    /// Waits until there is something. Cancel-safe.
    pub(crate) async fn wait(&self) -> Revision {
        loop {
            if let Some(revision) = self.pending() {
                return revision;
            }
            self.changed.notified().await;
        }
    }
}

#[derive(Debug, Default)]
struct Watches {
    by_prefix: BTreeMap<Box<str>, Vec<Arc<Wake>>>,
    /// How many prefixes have which length.
    lengths: BTreeMap<usize, usize>,
    count: usize,
}

impl Watches {
    fn add(&mut self, prefix: &str, pending: Option<Revision>) -> Option<Arc<Wake>> {
        if self.count >= WATCHES_MAX {
            return None;
        }
        self.count += 1;
        let wake = Arc::new(Wake { pending: Mutex::new(pending), changed: Notify::new() });
        let same = self.by_prefix.entry(prefix.into()).or_default();
        if same.is_empty() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        same.push(wake.clone());
        Some(wake)
    }

    fn remove(&mut self, prefix: &str, wake: &Arc<Wake>) {
        let Some(same) = self.by_prefix.get_mut(prefix) else { return };
        let before = same.len();
        same.retain(|other| !Arc::ptr_eq(other, wake));
        self.count -= before - same.len();
        if same.is_empty() {
            self.by_prefix.remove(prefix);
            if let Some(count) = self.lengths.get_mut(&prefix.len()) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&prefix.len());
                }
            }
        }
    }

    fn tell(&self, keys: &[(Key, Revision)]) {
        if self.count == 0 {
            return;
        }
        for (key, revision) in keys {
            for length in self.lengths.keys().take_while(|length| **length <= key.len()) {
                // A prefix that would end within a character matches nothing.
                let same = key.get(..*length).and_then(|prefix| self.by_prefix.get(prefix));
                same.into_iter().flatten().for_each(|wake| wake.tell(*revision));
            }
        }
    }

    fn begin_anew(&self, from: Revision) {
        self.by_prefix.values().flatten().for_each(|wake| wake.tell(from));
    }
}

/// Changes of leases that nobody has taken yet.
#[derive(Debug, Default)]
struct Journal {
    changes: Vec<LeaseChange>,
    lost: bool,
}

impl Journal {
    fn add(&mut self, changes: &[LeaseChange]) {
        if self.changes.len() + changes.len() > JOURNAL_MAX {
            self.lose();
        }
        if !self.lost {
            let matters = |change: &&LeaseChange| !matches!(change, LeaseChange::Holds { .. });
            self.changes.extend(changes.iter().filter(matters).cloned());
        }
    }

    fn lose(&mut self) {
        self.changes = Vec::new();
        self.lost = true;
    }

    fn take(&mut self) -> Option<Vec<LeaseChange>> {
        let changes = std::mem::take(&mut self.changes);
        (!std::mem::take(&mut self.lost)).then_some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FencingToken;

    const LEASE: LeaseId = LeaseId(1);
    const TTL: Duration = Duration::from_secs(9);

    #[test]
    fn callers_share_a_ticket_if_they_ask_for_the_same_length() {
        let hub = Hub::default();
        let (ticket, asker) = hub.register(LEASE, TTL, 5);
        let (same, as_first) = hub.register(LEASE, TTL, 6);
        assert!(Arc::ptr_eq(&ticket, &same));
        assert_eq!((asker, as_first), (5, 5));
        let (longer, another) = hub.register(LEASE, 2 * TTL, 7);
        assert_eq!((longer.ttl(), another), (2 * TTL, 7));

        assert!(hub.unregister(LEASE, 2 * TTL) && !hub.unregister(LEASE, TTL));
        let mut changes = Changes::default();
        changes.lease(LeaseChange::Holds { lease: LEASE, token: FencingToken(3) });
        hub.tell(&mut changes);
        assert_eq!(ticket.standing(), Standing::Holder(FencingToken(3)));
        assert!(hub.unregister(LEASE, TTL));
        assert_eq!(hub.register(LEASE, TTL, 8).1, 8);
    }
}
