//! What the log promises, tried on a disk that loses, tears and refuses.

mod basics;
mod crashes;
mod faults;
mod flips;
mod model;
mod real;
mod torn;

use std::path::{Path, PathBuf};

use futures::channel::oneshot;

use super::*;
use crate::disk::faulty::{FaultyDisk, Survival};

const DIRECTORY: &str = "/wal";

/// Small, so that tests see many segments.
fn config() -> Config {
    Config { segment_bytes: 4096, freed_bytes: 2 * 4096, cache_bytes: 2048, salt: 0x5a17 }
}

async fn try_open(disk: &FaultyDisk) -> Result<(Wal, Recovered), OpenError> {
    Wal::open(Arc::new(disk.clone()), PathBuf::from(DIRECTORY), config()).await
}

async fn open(disk: &FaultyDisk) -> Wal {
    try_open(disk).await.unwrap().0
}

/// A payload that tells which write it came from.
fn record(index: u64, term: u64, bytes: usize) -> Record {
    let text = format!("{index}/{term} ");
    let payload: Vec<u8> = text.bytes().cycle().take(bytes).collect();
    Record { index, term, payload: payload.into() }
}

/// Submits at once; the future tells when it is durable.
fn append(wal: &Wal, records: Vec<Record>) -> impl Future<Output = io::Result<()>> + use<> {
    let (sender, receiver) = oneshot::channel();
    wal.append(records, Box::new(move |outcome| drop(sender.send(outcome))));
    async move { receiver.await.unwrap_or_else(|_| Err(io::Error::other("never called back"))) }
}

async fn all(wal: &Wal) -> Vec<Record> {
    wal.read(0..u64::MAX, usize::MAX).await.unwrap()
}

fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| files::sequence_of(Path::new(path.file_name().unwrap())).is_some();
    disk.paths().into_iter().filter(is_segment).collect()
}

/// Ends this life as a clean stop of the process does.
async fn stop(disk: &FaultyDisk, wal: Wal) -> FaultyDisk {
    wal.close().await;
    disk.crash(Survival::Nothing)
}

/// What is in a log, for comparison.
#[derive(Clone, Debug, PartialEq)]
struct Contents {
    purged: Option<Position>,
    hard_state: Option<Bytes>,
    records: Vec<Record>,
}

async fn contents(wal: &Wal) -> Contents {
    Contents { purged: wal.state().purged, hard_state: wal.hard_state(), records: all(wal).await }
}

/// Lets the workers do whatever they have to do.
async fn quiet(wal: &Wal) {
    while wal.desk.is_busy() {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
