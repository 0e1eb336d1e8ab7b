//! Openraft's own suite for logs and state machines, on ours; and what its defaults would do to us.

use std::sync::Arc;

use openraft::StorageError;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::{LogId, PeerRecord, SnapshotMeta, Types};
use crate::disk::{Disk, RealDisk};
use crate::machine::{Host, Machines};
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
