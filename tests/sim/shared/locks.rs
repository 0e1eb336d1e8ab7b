//! Clients of locks, and whether two of them ever held one at once.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_state::{AcquireError, LockGuard, State};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::turn;
use crate::sim::node::Blueprint;

/// Length of the leases of locks.
pub const LOCK_TTL: Duration = Duration::from_secs(3);
/// How long a client waits for one.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often a holder looks whether it still is one.
const LOOK: Duration = Duration::from_millis(5);
/// How often a holder looks that holds on: for longer than two leases.
const HOLD_ON: u32 = 1400;
/// Few locks, so that clients meet.
const LOCKS: u8 = 2;

/// Who held which lock when.
#[derive(Debug, Default)]
pub struct Tenancies {
    /// By lock and token.
    known: BTreeMap<(u8, u64), Tenancy>,
    /// What cannot be.
    broken: Option<String>,
}

/// One grant.
#[derive(Clone, Copy, Debug)]
struct Tenancy {
    /// When its client was told.
    from: Duration,
    /// When the client last knew for certain that it held the lock.
    until: Duration,
}

impl Tenancies {
    /// A client was given a lock.
    fn begin(&mut self, lock: u8, token: u64, now: Duration) {
        if self.known.insert((lock, token), Tenancy { from: now, until: now }).is_some() {
            self.broken.get_or_insert(format!("lock {lock} was given twice with token {token}"));
        }
        self.judge(lock, token);
    }

    /// Its client is certain that it holds the lock.
    fn certain(&mut self, lock: u8, token: u64, now: Duration) {
        if let Some(tenancy) = self.known.get_mut(&(lock, token)) {
            tenancy.until = now;
        }
        self.judge(lock, token);
    }

    /// No later holder may have been told while an earlier one was certain.
    fn judge(&mut self, lock: u8, token: u64) {
        let Some(own) = self.known.get(&(lock, token)).copied() else { return };
        let before = self.known.range((lock, 0)..(lock, token)).next_back();
        let after = self.known.range((lock, token + 1)..(lock, u64::MAX)).next();
        let overlap = |earlier: &Tenancy, later: &Tenancy| later.from < earlier.until;
        for (other, tenancy) in before.into_iter().filter(|(_, other)| overlap(other, &own)) {
            self.broken
                .get_or_insert(format!("lock {other:?} was held until {tenancy:?}, and given to {token}: {own:?}"));
        }
        for (other, tenancy) in after.into_iter().filter(|(_, other)| overlap(&own, other)) {
            self.broken.get_or_insert(format!(
                "lock {lock} was held with token {token}: {own:?}, and given to {other:?}: {tenancy:?}"
            ));
        }
    }

    /// How many grants there were.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// What cannot be, if there is something.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }
}

/// Takes a lock, holds it for a while, gives it back or forgets it, and begins again.
pub(super) async fn client(blueprint: Blueprint, state: State, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let shared = blueprint.shared.clone();
    loop {
        if !turn(&shared, &mut rng).await {
            continue;
        }
        let lock = rng.random_range(0..LOCKS);
        let delay = if rng.random_bool(0.2) { Duration::from_millis(500) } else { Duration::ZERO };
        let request = state.lock(&format!("lock-{lock}")).ttl(LOCK_TTL).timeout(PATIENCE).lock_delay(delay);
        let impatient = rng.random_bool(0.2).then(|| PATIENCE.mul_f64(rng.random_range(0.0..0.5)));
        let guard = match impatient {
            // A client that gives up in the middle of whatever is done for it.
            Some(patience) => match tokio::time::timeout(patience, request.acquire()).await {
                Ok(outcome) => outcome,
                Err(_) => Err(AcquireError::TimedOut),
            },
            None => request.acquire().await,
        };
        let guard = match guard {
            Ok(guard) => guard,
            Err(error) => {
                blueprint.trace.line(blueprint.name, format_args!("lock {lock}: {error}"));
                continue;
            }
        };
        let token = guard.fencing_token().0;
        blueprint.trace.line(blueprint.name, format_args!("lock {lock}: held with token {token}"));
        shared.tenancies().begin(lock, token, blueprint.trace.now());
        // Some hold on for as long as they can.
        let looks = if rng.random_bool(0.2) { HOLD_ON } else { rng.random_range(0..60) };
        hold(&blueprint, &guard, lock, looks).await;
        let how = match rng.random_range(0..10) {
            0..7 => format!("{:?}", guard.release().await),
            7..9 => {
                drop(guard);
                "dropped".to_owned()
            }
            _ => format!("left behind: {}", guard.into_id()),
        };
        blueprint.trace.line(blueprint.name, format_args!("lock {lock}: token {token}: {how}"));
    }
}

async fn hold(blueprint: &Blueprint, guard: &LockGuard, lock: u8, looks: u32) {
    for _ in 0..looks {
        if guard.check().is_err() {
            return;
        }
        blueprint.shared.tenancies().certain(lock, guard.fencing_token().0, blueprint.trace.now());
        tokio::time::sleep(LOOK).await;
    }
}
