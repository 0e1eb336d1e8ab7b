//! Openraft's own suite for logs and state machines, on ours; and what its defaults would do to us.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, StorageError};
use tempfile::TempDir;

use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::{Body, Entry, LogId, PeerRecord, SnapshotMeta, Types};
use crate::disk::faulty::{FaultyDisk, Operation};
use crate::disk::{Disk, RealDisk};
use crate::machine::{Applied, Capture, Host, Machine, MachineId, Machines};
use crate::snapshot::SnapshotStore;
use crate::wal::{self, Wal};

impl Default for PeerRecord {
    fn default() -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into();
        Self { address, priority: 100, role: crate::Role::Member, disk: 1 }
    }
}

struct Stores;

impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<Types>> {
        let directory = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        // Small segments, so that the suite crosses from one to the next.
        let config = wal::Config { segment_bytes: 64 * 1024, ..wal::Config::default() };
        let (wal, _) = Wal::open(disk.clone(), directory.path().join("log"), config).await.unwrap();
        let store = SnapshotStore::open(disk.clone(), directory.path().join("snapshots")).await.unwrap();
        let machine = StateMachine::open(Host::new(Machines::new(), false), store).await.unwrap();
        Ok((directory, LogStore::new(wal), machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_log_and_state_machine_pass_openrafts_suite() {
    Suite::test_all(Stores).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_that_is_overtaken_while_it_is_built_is_not_the_newest() {
    let (_directory, _log, mut machine) = Stores.build().await.unwrap();
    let mut overtaken = machine.get_snapshot_builder().await;
    machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let body = machine.get_current_snapshot().await.unwrap().unwrap().snapshot;
    let last = LogId::new_term_index(1, 9);
    let meta = SnapshotMeta { last_log_id: Some(last), ..SnapshotMeta::default() };
    machine.install_snapshot(&meta, body).await.unwrap();
    overtaken.build_snapshot().await.unwrap();
    let newest = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(newest.meta.last_log_id, Some(last));
}

/// The first time that it is captured, its bytes have no end.
#[derive(Default)]
struct EndlessOnce(AtomicBool);

impl Machine for EndlessOnce {
    const ID: MachineId = MachineId(9);
    const NAME: &'static str = "endless";
    type Command = ();
    type Reply = ();

    fn apply(&mut self, _: Applied, (): ()) {}

    fn capture(&self) -> Capture {
        let pieces = if self.0.swap(true, Ordering::Relaxed) { 0 } else { usize::MAX };
        Box::new(std::iter::repeat_n(vec![7; 4096], pieces))
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test]
async fn a_snapshot_that_is_received_while_one_is_written_takes_its_place() {
    let disk = FaultyDisk::default();
    disk.set_capacity(Some(64 * 1024 * 1024));
    let store = SnapshotStore::open(Arc::new(disk.clone()), "/snapshots".into()).await.unwrap();
    let host = Host::new(Machines::new().with(EndlessOnce::default()), false);
    let mut machine = StateMachine::open(host, store).await.unwrap();
    let mut endless = machine.get_snapshot_builder().await;
    let under_way = tokio::spawn(async move { endless.build_snapshot().await.map(drop) });
    while disk.paths().is_empty() {
        tokio::task::yield_now().await;
    }
    let other = EndlessOnce(AtomicBool::new(true));
    let received = Host::new(Machines::new().with(other), false).capture().pieces().collect::<Vec<_>>().concat();
    let last = LogId::new_term_index(1, 9);
    let meta = SnapshotMeta { last_log_id: Some(last), ..SnapshotMeta::default() };
    machine.install_snapshot(&meta, Body::Whole(received.into())).await.unwrap();
    under_way.await.unwrap().unwrap();
    let newest = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!((newest.meta.last_log_id, disk.paths().len()), (Some(last), 1));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_written_leaves_the_one_before_the_newest() {
    let disk = FaultyDisk::default();
    let store = SnapshotStore::open(Arc::new(disk.clone()), "/snapshots".into()).await.unwrap();
    let mut machine = StateMachine::open(Host::new(Machines::new(), false), store).await.unwrap();
    let build = async |machine: &mut StateMachine| {
        machine.get_snapshot_builder().await.build_snapshot().await.unwrap().meta.last_log_id
    };
    let blank = |index| {
        let log_id = LogId::new_term_index(1, index);
        futures::stream::iter([Ok((Entry { log_id, payload: EntryPayload::Blank }, None))])
    };
    machine.apply(blank(4)).await.unwrap();
    disk.set_capacity(Some(0));
    let began = tokio::time::Instant::now();
    assert_eq!(build(&mut machine).await, None, "there is none");
    assert!(began.elapsed().as_secs() >= 10, "the next one is not tried at once");
    assert_eq!(disk.paths().len(), 0);
    disk.set_capacity(None);
    assert_eq!(build(&mut machine).await.map(|id| id.index), Some(4));
    machine.apply(blank(5)).await.unwrap();
    for operation in [Operation::Open, Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir] {
        disk.fail(operation, 1, std::io::ErrorKind::StorageFull);
        assert_eq!(build(&mut machine).await.map(|id| id.index), Some(4), "{operation:?}");
    }
    assert_eq!(build(&mut machine).await.map(|id| id.index), Some(5));

    let store = SnapshotStore::open(Arc::new(disk.clone()), "/snapshots".into()).await.unwrap();
    let mut machine = StateMachine::open(Host::new(Machines::new(), false), store).await.unwrap();
    machine.apply(blank(6)).await.unwrap();
    disk.set_capacity(Some(0));
    assert_eq!(build(&mut machine).await.map(|id| id.index), Some(5), "also that of an earlier life");
}
