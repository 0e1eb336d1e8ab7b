//! The log on files, with threads.

use std::sync::mpsc;
use std::thread;

use futures::executor::block_on;

use super::*;
use crate::disk::RealDisk;

fn open_real(directory: &Path) -> Wal {
    block_on(Wal::open(Arc::new(RealDisk), directory.join("wal"), config())).unwrap().0
}

#[test]
fn many_threads_append_and_read() {
    const THREADS: u64 = 4;
    const EACH: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let wal = open_real(directory.path());
    let (sender, order) = mpsc::channel();
    let next = std::sync::Mutex::new(1);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let (done, durable) = mpsc::channel();
                    let mut next = next.lock().unwrap();
                    let (index, sender) = (*next, sender.clone());
                    *next += 1;
                    wal.append(
                        vec![record(index, 1, 300)],
                        Box::new(move |outcome| {
                            sender.send(index).unwrap();
                            done.send(outcome).unwrap();
                        }),
                    );
                    drop(next);
                    durable.recv().unwrap().unwrap();
                    assert!(wal.state().durable_index >= Some(index));
                    let first = index.saturating_sub(50).max(1);
                    let found = block_on(wal.read(first..index + 1, usize::MAX)).unwrap();
                    let expected: Vec<_> = (first..=index).map(|index| record(index, 1, 300)).collect();
                    assert_eq!(found, expected);
                }
            });
        }
    });
    let order: Vec<u64> = order.try_iter().collect();
    assert_eq!(order, (1..=THREADS * EACH).collect::<Vec<_>>(), "called back in order");

    block_on(wal.purge(350, 1)).unwrap();
    block_on(wal.close());
    let wal = open_real(directory.path());
    assert_eq!(wal.state().purged, Some((350, 1)));
    assert_eq!(block_on(all(&wal)).len() as u64, THREADS * EACH - 350);
}

#[test]
fn what_is_queued_when_the_last_handle_goes_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let wal = open_real(directory.path());
    let written = append(&wal, (1..=50).map(|index| record(index, 1, 100)).collect());
    let mut ended = wal.ended.clone();
    drop(wal);
    block_on(written).unwrap();
    // Until both workers are gone, and their files with them.
    while block_on(ended.changed()).is_ok() {}
    assert_eq!(block_on(all(&open_real(directory.path()))).len(), 50);
}
