//! Closed loops that propose: each waits for its answer before it proposes again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ha_cluster::Replicated;
use ha_cluster::clock::{BootClock, Clock};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::acknowledged::Acknowledged;
use crate::ledger::{Ledger, Proposal};

/// How long a proposal may wait for its answer. Longer than any election here, so that a slow answer is seen as a gap.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What writers share.
pub(crate) struct Bench {
    pub(crate) node_id: String,
    pub(crate) log: Replicated<Ledger>,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) writers: AtomicU64,
}

impl Bench {
    /// A writer that no other life of any node is.
    fn new_writer(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.node_id, std::process::id(), BootClock.now(), self.writers.fetch_add(1, Ordering::Relaxed))
            .hash(&mut hasher);
        hasher.finish()
    }
}

/// What a load of fixed length came to.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) failed: u64,
    pub(crate) latencies: Vec<Duration>,
    pub(crate) took: Duration,
}

/// Lets this many clients propose for a while.
pub(crate) async fn propose(bench: &Arc<Bench>, clients: usize, time: Duration, bytes: usize) -> Load {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let bench = bench.clone();
        running.spawn(async move {
            let (writer, payload) = (bench.new_writer(), Bytes::from(vec![0x5a; bytes]));
            let mut load = Load::default();
            for serial in 0.. {
                let asked = Instant::now();
                if asked - began >= time {
                    break;
                }
                let proposal = Proposal { writer, serial, payload: payload.clone() };
                match bench.log.write_within(&proposal, ANSWER_LIMIT).await {
                    Ok(()) => load.latencies.push(asked.elapsed()),
                    Err(_) => load.failed += 1,
                }
            }
            load
        });
    }
    let mut all = Load::default();
    while let Some(Ok(load)) = running.join_next().await {
        all.failed += load.failed;
        all.latencies.extend(load.latencies);
    }
    all.took = began.elapsed();
    all.latencies.sort();
    all
}

/// Writers that go on until told to rest, and when each of their proposals was acknowledged.
#[derive(Default)]
pub(crate) struct Background {
    resting: Arc<AtomicBool>,
    running: JoinSet<()>,
    acknowledged_at: Arc<Mutex<Vec<Duration>>>,
}

impl Background {
    /// Starts clients.
    pub(crate) fn start(bench: &Arc<Bench>, clients: usize, bytes: usize) -> Self {
        let mut background = Self::default();
        for _ in 0..clients {
            let (bench, resting) = (bench.clone(), background.resting.clone());
            let acknowledged_at = background.acknowledged_at.clone();
            background.running.spawn(async move {
                let (writer, payload) = (bench.new_writer(), Bytes::from(vec![0x5a; bytes]));
                for serial in 0.. {
                    if resting.load(Ordering::Relaxed) {
                        return;
                    }
                    let proposal = Proposal { writer, serial, payload: payload.clone() };
                    if bench.log.write_within(&proposal, ANSWER_LIMIT).await.is_err() {
                        // Not acknowledged, so it may be there or not; the next one has a serial of its own.
                        continue;
                    }
                    acknowledged_at.lock().unwrap_or_else(PoisonError::into_inner).push(BootClock.now());
                    if bench.acknowledged.add(writer, serial).is_err() {
                        return;
                    }
                }
            });
        }
        background
    }

    /// Lets each client finish its proposal; returns how many were acknowledged.
    pub(crate) async fn rest(&mut self) -> usize {
        self.resting.store(true, Ordering::Relaxed);
        while self.running.join_next().await.is_some() {}
        self.acknowledged_at.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The longest time without an acknowledgement that ended, or has not ended, after `since`.
    pub(crate) fn gap(&self, since: Duration, now: Duration) -> Duration {
        let mut instants = self.acknowledged_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        instants.push(now);
        instants.sort();
        longest_gap(&instants, since)
    }
}

fn longest_gap(instants: &[Duration], since: Duration) -> Duration {
    let pairs = instants.windows(2).filter(|pair| pair[1] >= since);
    pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_when_it_ends_after_the_blow() {
        let instants: Vec<Duration> = [0, 50, 60, 100, 110].map(Duration::from_millis).to_vec();
        assert_eq!(longest_gap(&instants, Duration::from_millis(55)), Duration::from_millis(40));
        assert_eq!(longest_gap(&instants, Duration::from_millis(40)), Duration::from_millis(50));
        assert_eq!(longest_gap(&[], Duration::ZERO), Duration::ZERO);
    }
}
