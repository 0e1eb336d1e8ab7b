//! Closed loops that write records, and one that reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ha_cluster::clock::{BootClock, Clock};
use ha_replication::Replication;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::writers::Load;

/// The type of all records.
const TYPE: &str = "bench";
/// Records that reads go over.
const READ_RECORDS: u64 = 10_000;

/// Clients that write, each record once, until they are told to end.
pub(crate) struct Writing {
    began: Instant,
    ending: Arc<AtomicBool>,
    running: JoinSet<Load>,
}

impl Writing {
    /// Lets this many clients write.
    pub(crate) fn begin(replication: &Replication, clients: usize, bytes: usize) -> Self {
        let (began, run) = (Instant::now(), BootClock.now().as_nanos());
        let ending = Arc::new(AtomicBool::new(false));
        let mut running = JoinSet::new();
        for client in 0..clients {
            let (replication, ending) = (replication.clone(), ending.clone());
            running.spawn(async move {
                let payload = Bytes::from(vec![b'1'; bytes]);
                let mut load = Load::default();
                for serial in 0.. {
                    if ending.load(Ordering::Relaxed) {
                        break;
                    }
                    let asked = Instant::now();
                    let id = format!("{run}-{client}-{serial}");
                    match replication.replicate_bytes(TYPE, &id, payload.clone()).await {
                        Ok(_) => load.latencies.push(asked.elapsed()),
                        Err(_) => load.failed += 1,
                    }
                }
                load
            });
        }
        Self { began, ending, running }
    }

    /// Lets each finish its record.
    pub(crate) async fn end(mut self) -> Load {
        self.ending.store(true, Ordering::Relaxed);
        let mut all = Load::default();
        while let Some(Ok(load)) = self.running.join_next().await {
            all.failed += load.failed;
            all.latencies.extend(load.latencies);
        }
        all.took = self.began.elapsed();
        all.latencies.sort();
        all
    }
}

/// Lets this many clients write for a while, each record once.
pub(crate) async fn write(replication: &Replication, clients: usize, time: Duration, bytes: usize) -> Load {
    let writing = Writing::begin(replication, clients, bytes);
    tokio::time::sleep(time).await;
    writing.end().await
}

/// Writes so many records with ids from 0 on; returns how many were not acknowledged.
pub(crate) async fn fill(replication: &Replication, clients: usize, records: u64, bytes: usize) -> u64 {
    let (next, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (replication, next, failed) = (replication.clone(), next.clone(), failed.clone());
        running.spawn(async move {
            let payload = Bytes::from(vec![b'1'; bytes]);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= records {
                    return;
                }
                if replication.replicate_bytes(TYPE, &format!("{number:010}"), payload.clone()).await.is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while running.join_next().await.is_some() {}
    failed.load(Ordering::Relaxed)
}

/// Reads records that [`fill`] wrote, one after the other.
pub(crate) fn read(replication: &Replication, time: Duration) -> Result<(u64, Duration), String> {
    let ids: Vec<String> = (0..READ_RECORDS).map(|number| format!("{number:010}")).collect();
    let (began, mut reads) = (BootClock.now(), 0_u64);
    loop {
        for id in &ids {
            let found = replication.get_local(TYPE, id).map_err(|error| error.to_string())?;
            found.ok_or_else(|| format!("{id} is not there"))?;
            reads += 1;
        }
        let took = BootClock.now() - began;
        if took >= time {
            return Ok((reads, took));
        }
    }
}

/// Memory of this process, as a line of its status says; `None` where the system does not.
pub(crate) fn memory_bytes(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
