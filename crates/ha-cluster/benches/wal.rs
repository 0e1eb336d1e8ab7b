//! Durable appends per second: closed-loop writers of 256-byte entries, beside the floor that the disk sets.
//!
//! Every writer waits for its entry to be durable before it appends the next one, as a client does.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use ha_cluster::disk::RealDisk;
use ha_cluster::wal::{Config, Record, Wal};

const ENTRY_BYTES: usize = 256;
const WRITERS: [usize; 4] = [1, 16, 64, 256];

/// One index after the other, appended in that order.
struct Log {
    wal: Wal,
    next: Mutex<u64>,
}

impl Log {
    fn append(&self, payload: Bytes, durable: mpsc::Sender<()>) {
        let mut next = self.next.lock().unwrap();
        let record = Record { index: *next, term: 1, payload };
        *next += 1;
        let done = Box::new(move |outcome: std::io::Result<()>| {
            outcome.unwrap();
            durable.send(()).unwrap();
        });
        self.wal.append(vec![record], done);
    }

    /// What the state machine does from time to time.
    fn purge(&self) {
        let next = *self.next.lock().unwrap();
        block_on(self.wal.purge(next - 1, 1)).unwrap();
    }
}

/// The time that it takes these writers to append so many entries together.
fn append(log: &Arc<Log>, writers: usize, entries: u64) -> Duration {
    let each = entries.div_ceil(writers as u64);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                let payload = Bytes::from(vec![7; ENTRY_BYTES]);
                let (sender, durable) = mpsc::channel();
                for _ in 0..each {
                    log.append(payload.clone(), sender.clone());
                    durable.recv().unwrap();
                }
            });
        }
    });
    let took = begun.elapsed();
    log.purge();
    took
}

fn benches(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut group = criterion.benchmark_group("durable");
    group.throughput(Throughput::Elements(1));

    let raw = File::options().create_new(true).read(true).write(true).open(directory.path().join("raw")).unwrap();
    raw.write_all_at(&vec![0; 4 << 20], 0).unwrap();
    raw.sync_all().unwrap();
    let block = [1; 4096];
    let mut offset = 0;
    group.bench_function("raw 4 KiB write and fdatasync", |bencher| {
        bencher.iter(|| {
            raw.write_all_at(&block, offset).unwrap();
            raw.sync_data().unwrap();
            offset = (offset + 4096) % (4 << 20);
        });
    });

    let wal = Wal::open(Arc::new(RealDisk), directory.path().join("wal"), Config::default());
    let wal = block_on(wal).unwrap().0;
    let log = Arc::new(Log { wal, next: Mutex::new(1) });
    for writers in WRITERS {
        group.bench_function(format!("{writers} writers"), |bencher| {
            bencher.iter_custom(|entries| append(&log, writers, entries));
        });
    }
    group.finish();
    println!("{:?}", log.wal.sync_times());
}

criterion_group! {
    name = wal;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    targets = benches
}
criterion_main!(wal);
