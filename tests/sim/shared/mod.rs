//! Clients of shared keys and locks, what they were told, and whether that can be.

pub mod check;
mod keys;
mod locks;
pub mod records;
mod sound;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_state::State;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::node::Blueprint;
use records::Records;

pub use locks::{LOCK_TTL, Tenancies};

/// How long a client rests that has nothing to do.
const REST: Duration = Duration::from_millis(100);
/// Clients of keys, and of locks, on each node.
const CLIENTS: u64 = 2;

/// What clients of shared state do, and what they were told. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shared(Arc<Inner>);

#[derive(Default)]
struct Inner {
    on: AtomicBool,
    /// Reads are answered from the node's own copy: the mistake that the checker must notice.
    stale_reads: AtomicBool,
    pace: Mutex<Option<Duration>>,
    next_value: AtomicU64,
    records: Mutex<Records>,
    tenancies: Mutex<Tenancies>,
}

impl Shared {
    /// Nodes that start from now on have shared state, and clients of it.
    pub fn turn_on(&self, stale_reads: bool) {
        self.0.on.store(true, Ordering::Relaxed);
        self.0.stale_reads.store(stale_reads, Ordering::Relaxed);
    }

    /// Whether nodes have shared state.
    pub fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    /// Sets the mean time between two requests of one client; `None` for no requests.
    pub fn set_pace(&self, pace: Option<Duration>) {
        *self.0.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
    }

    fn pace(&self) -> Option<Duration> {
        *self.0.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reads_stale(&self) -> bool {
        self.0.stale_reads.load(Ordering::Relaxed)
    }

    /// A value that no other request sets.
    fn new_value(&self) -> u64 {
        self.0.next_value.fetch_add(1, Ordering::Relaxed)
    }

    /// What clients of keys were told.
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who held which lock when.
    pub fn tenancies(&self) -> MutexGuard<'_, Tenancies> {
        self.0.tenancies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the clients of one life of a node.
pub fn begin(blueprint: &Blueprint, state: &State) {
    let mut rng = StdRng::seed_from_u64(blueprint.seed ^ 0x5ead_57a7_e000_0000);
    for _ in 0..CLIENTS {
        tokio::spawn(keys::client(blueprint.clone(), state.clone(), rng.random()));
        tokio::spawn(locks::client(blueprint.clone(), state.clone(), rng.random()));
    }
}

/// Waits about as long as the pace says; the pace, if anybody is to ask.
async fn turn(shared: &Shared, rng: &mut StdRng) -> bool {
    let mean = shared.pace().unwrap_or(REST);
    tokio::time::sleep(mean.mul_f64(rng.random_range(0.5..1.5))).await;
    shared.pace().is_some()
}
