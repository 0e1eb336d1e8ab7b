//! Openraft's own suite for logs and state machines, on ours; and what its defaults would do to us.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::StorageError;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::{LogId, PeerRecord, SnapshotMeta, Types};
use crate::disk::faulty::FaultyDisk;
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
    let received = Host::new(Machines::new(), false).capture().pieces().collect::<Vec<_>>().concat();
    let last = LogId::new_term_index(1, 9);
    let meta = SnapshotMeta { last_log_id: Some(last), ..SnapshotMeta::default() };
    machine.install_snapshot(&meta, received.into()).await.unwrap();
    under_way.await.unwrap().unwrap();
    let newest = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!((newest.meta.last_log_id, disk.paths().len()), (Some(last), 1));
}
