//! Renews the leases of this node's callers, many with one command.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ha_cluster::clock::Clock;
use tokio::sync::Notify;

use crate::LeaseId;
use crate::command::{Command, Done};
use crate::keeper::Keeper;
use crate::log::Log;
use crate::ticket::Ticket;

/// How long one renewal may take. Longer ones are of no use to most leases, and the next is sent anyway.
const RENEWAL_TIME_MAX: Duration = Duration::from_secs(10);
/// Renewals under way at once; more wait for one of them.
const RENEWALS_IN_FLIGHT_MAX: usize = 8;

/// The leases that this node's callers want to keep.
pub(crate) struct Keeping {
    keeper: Mutex<Keeper>,
    sooner: Notify,
    clock: Arc<dyn Clock>,
}

impl Keeping {
    /// Starts to renew; ends when the last handle is dropped.
    pub(crate) fn start(log: Log, clock: Arc<dyn Clock>) -> Arc<Self> {
        let keeping = Arc::new(Self { keeper: Mutex::default(), sooner: Notify::new(), clock });
        tokio::spawn(run(Arc::downgrade(&keeping), log));
        keeping
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a lease alive from now on.
    pub(crate) fn keep(&self, lease: LeaseId, ticket: Arc<Ticket>) {
        if self.keeper().keep(self.clock.now(), lease, ticket) {
            self.sooner.notify_one();
        }
    }

    /// Keeps it no longer for this ticket.
    pub(crate) fn forget(&self, lease: LeaseId, ticket: &Arc<Ticket>) {
        self.keeper().forget(lease, ticket);
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).end();
        self.sooner.notify_one();
    }
}

/// The longest sleep: after it, the handle is looked for again.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

async fn run(keeping: Weak<Keeping>, log: Log) {
    let mut flights = FuturesUnordered::new();
    loop {
        let Some(here) = keeping.upgrade() else { return };
        let now = here.clock.now();
        let due = here.keeper().due(now);
        if flights.len() >= RENEWALS_IN_FLIGHT_MAX {
            here.keeper().failed(now, &due);
        } else if !due.is_empty() {
            flights.push(renew(log.clone(), now, due));
            continue;
        }
        let wait = here.keeper().deadline().map_or(LOOK_INTERVAL, |due| due.saturating_sub(now).min(LOOK_INTERVAL));
        tokio::select! {
            Some(landed) = flights.next(), if !flights.is_empty() => land(&here, landed),
            () = here.sooner.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// A renewal that came back.
struct Landed {
    sent: Duration,
    leases: Vec<LeaseId>,
    /// Those that do not exist, if it was answered.
    gone: Option<Vec<LeaseId>>,
}

async fn renew(log: Log, sent: Duration, leases: Vec<LeaseId>) -> Landed {
    let command = Command::LeaseRenew { leases: leases.clone() };
    let gone = match log.write_within(&command, RENEWAL_TIME_MAX).await {
        Ok(Ok(Done::Renewed { gone })) => Some(gone),
        _ => None,
    };
    Landed { sent, leases, gone }
}

fn land(here: &Keeping, landed: Landed) {
    let Landed { sent, leases, gone } = landed;
    match gone {
        Some(gone) => here.keeper().renewed(sent, &leases, &gone),
        None => here.keeper().failed(here.clock.now(), &leases),
    }
}
