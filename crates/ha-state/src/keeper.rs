//! Which leases of this node's callers to renew, and when to give them up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::limits::LEASES_PER_COMMAND_MAX;
use crate::ticket::{Standing, Ticket};
use crate::{LeaseId, terms};

/// How long to wait after a renewal failed, as a share of the length of the lease.
const RETRY_DIVISOR: u32 = 10;

/// The leases that are kept alive here.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    kept: BTreeMap<LeaseId, Kept>,
    by_time: BTreeSet<(Duration, LeaseId)>,
}

#[derive(Debug)]
struct Kept {
    ticket: Arc<Ticket>,
    /// When to renew it, or to see that it is over.
    due: Duration,
}

impl Keeper {
    /// When [`Self::due`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Keeps a lease alive from now on. True when that is earlier than anything else that is due.
    pub(crate) fn keep(&mut self, now: Duration, lease: LeaseId, ticket: Arc<Ticket>) -> bool {
        self.remove(lease);
        let due = (now + terms::renew_every(ticket.ttl())).min(ticket.valid_until());
        self.kept.insert(lease, Kept { ticket, due });
        self.by_time.insert((due, lease));
        self.deadline() == Some(due)
    }

    /// Keeps it no longer for this ticket; a later one may have taken its place.
    pub(crate) fn forget(&mut self, lease: LeaseId, ticket: &Arc<Ticket>) {
        if self.kept.get(&lease).is_some_and(|kept| Arc::ptr_eq(&kept.ticket, ticket)) {
            self.remove(lease);
        }
    }

    fn remove(&mut self, lease: LeaseId) {
        if let Some(kept) = self.kept.remove(&lease) {
            self.by_time.remove(&(kept.due, lease));
        }
    }

    /// What to renew now. What was not renewed in time is told that it is lost.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<LeaseId> {
        let mut renew = Vec::new();
        while let Some((due, lease)) = self.by_time.first().copied().filter(|(due, _)| *due <= now) {
            let Some(kept) = self.kept.get_mut(&lease) else { break };
            let until = kept.ticket.valid_until();
            if until <= now {
                kept.ticket.set(Standing::Gone);
                self.remove(lease);
                continue;
            }
            if renew.len() >= LEASES_PER_COMMAND_MAX {
                break;
            }
            renew.push(lease);
            self.by_time.remove(&(due, lease));
            // The next attempt does not wait for the end of this one: an answer may never come.
            kept.due = (now + terms::renew_every(kept.ticket.ttl())).min(until);
            self.by_time.insert((kept.due, lease));
        }
        renew
    }

    /// These were renewed by a request that left then, except those that are gone.
    pub(crate) fn renewed(&mut self, sent: Duration, leases: &[LeaseId], gone: &[LeaseId]) {
        for lease in gone {
            self.kept.get(lease).inspect(|kept| kept.ticket.set(Standing::Gone));
            self.remove(*lease);
        }
        for kept in leases.iter().filter_map(|lease| self.kept.get(lease)) {
            kept.ticket.lasts_until(sent + terms::holder(kept.ticket.ttl()));
        }
    }

    /// These may not have been renewed: they are tried again sooner.
    pub(crate) fn failed(&mut self, now: Duration, leases: &[LeaseId]) {
        for lease in leases {
            let Some(kept) = self.kept.get_mut(lease) else { continue };
            self.by_time.remove(&(kept.due, *lease));
            kept.due = kept.due.min(now + kept.ticket.ttl() / RETRY_DIVISOR);
            self.by_time.insert((kept.due, *lease));
        }
    }

    /// Nothing can be renewed any more.
    pub(crate) fn end(&mut self) {
        self.kept.values().for_each(|kept| kept.ticket.set(Standing::Gone));
        self.kept.clear();
        self.by_time.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(9);
    const ONE: LeaseId = LeaseId(1);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn keeping() -> (Keeper, Arc<Ticket>) {
        let (mut keeper, ticket) = (Keeper::default(), Arc::new(Ticket::new(TTL)));
        ticket.lasts_until(terms::holder(TTL));
        assert!(keeper.keep(secs(0), ONE, ticket.clone()));
        (keeper, ticket)
    }

    #[test]
    fn a_lease_is_renewed_each_third_of_its_length() {
        let (mut keeper, ticket) = keeping();
        for third in 1..20 {
            assert_eq!(keeper.deadline(), Some(secs(3 * third)));
            assert_eq!(keeper.due(secs(3 * third)), [ONE]);
            keeper.renewed(secs(3 * third), &[ONE], &[]);
            assert_eq!(ticket.valid_until(), secs(3 * third) + terms::holder(TTL));
        }
    }

    #[test]
    fn without_an_answer_it_is_lost_when_the_last_answered_request_is_a_lease_old() {
        let (mut keeper, ticket) = keeping();
        assert_eq!(keeper.due(secs(3)), [ONE]);
        assert_eq!(keeper.due(secs(6)), [ONE]);
        assert_eq!(keeper.deadline(), Some(terms::holder(TTL)));
        assert_eq!(ticket.remaining(secs(8)), Some(terms::holder(TTL) - secs(8)));
        assert_eq!(keeper.due(terms::holder(TTL)), []);
        assert_eq!(ticket.standing(), Standing::Gone);
        assert_eq!((keeper.deadline(), ticket.remaining(secs(1))), (None, None));
    }

    #[test]
    fn a_late_answer_counts_from_when_its_request_left() {
        let (mut keeper, ticket) = keeping();
        keeper.due(secs(3));
        keeper.renewed(secs(3), &[ONE], &[]);
        assert_eq!(ticket.valid_until(), secs(3) + terms::holder(TTL));
        keeper.renewed(secs(1), &[ONE], &[]);
        assert_eq!(ticket.valid_until(), secs(3) + terms::holder(TTL), "and never shortens it");
    }

    #[test]
    fn whoever_keeps_nothing_ends_nothing_for_another_one() {
        let (mut keeper, ticket) = keeping();
        keeper.forget(ONE, &Arc::new(Ticket::new(2 * TTL)));
        assert_eq!(keeper.due(secs(3)), [ONE]);
        keeper.forget(ONE, &ticket);
        assert_eq!(keeper.deadline(), None);
    }

    #[test]
    fn what_is_gone_is_told_at_once_and_a_failure_is_tried_again_soon() {
        let (mut keeper, ticket) = keeping();
        keeper.due(secs(3));
        keeper.failed(secs(3), &[ONE]);
        assert_eq!(keeper.deadline(), Some(secs(3) + TTL / RETRY_DIVISOR));
        keeper.renewed(secs(4), &[ONE], &[ONE]);
        assert_eq!((ticket.standing(), keeper.deadline()), (Standing::Gone, None));
    }
}
