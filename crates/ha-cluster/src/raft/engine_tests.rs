//! One node's consensus alone, on disks and stores that refuse on demand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ha_net::NodeId;
use ha_net::wire::memory::MemoryNetwork;
use tokio::sync::watch;

use super::codec::{AppendRequest, put_append};
use super::engine::{Engine, EngineParts};
use super::network_tests::net;
use super::types::{LogId, PeerRecord, Vote};
use crate::disk::faulty::FaultyDisk;
use crate::machine::{
    Applied, Batch, Capture, Command, Host, Machine, MachineId, Machines, OpenSession, Propose as _, SessionId,
    SystemCommand,
};
use crate::snapshot::SnapshotStore;
use crate::wal::{self, Wal};
use crate::{Config, service};

/// A node that leads itself.
pub(super) struct Alone {
    pub(super) engine: Engine,
    pub(super) wal: Wal,
    /// Where its snapshots are.
    snapshots: FaultyDisk,
}

impl Alone {
    pub(super) async fn start(machines: Machines) -> Self {
        let snapshots = FaultyDisk::default();
        let (disk, kept) = (FaultyDisk::default(), Arc::new(snapshots.clone()));
        let (wal, _) = Wal::open(Arc::new(disk), "/wal".into(), wal::Config::default()).await.unwrap();
        let parts = EngineParts {
            node_id: NodeId::from(1),
            net: net(&MemoryNetwork::new(), 1).await,
            wal: wal.clone(),
            snapshots: SnapshotStore::open(kept, "/snapshots".into()).await.unwrap(),
            host: Host::new(machines, false),
            witness: false,
            forgetful: Arc::new(|_| ()),
        };
        let engine = Engine::start(&Config { quorum_size: 1, ..Config::default() }, parts).await.unwrap();
        engine.initialize(BTreeMap::from([(NodeId::from(1), PeerRecord::default())])).await.unwrap();
        engine.elect_by_choice(true);
        engine.set_live_voters(1);
        let mut changes = engine.changes();
        while !engine.leader().1 {
            changes.next().await;
        }
        Self { engine, wal, snapshots }
    }

    /// Waits until it is so, for a minute at most.
    async fn becomes(&self, is_so: impl Fn(&Engine) -> bool) -> bool {
        for _ in 0..6000 {
            if is_so(&self.engine) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

/// A batch that is applied on its own.
pub(super) fn batch() -> Bytes {
    let open = SystemCommand::OpenSession(OpenSession { node: NodeId::from(1), incarnation: 1 });
    let command = Command { serial: 0, machine: MachineId::SYSTEM, body: crate::codec::record(&open) };
    Batch { session: SessionId::NONE, acknowledged_below: 0, commands: vec![command] }.encode()
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_for_snapshots_stops_nothing_and_they_go_on_when_there_is_room() {
    let node = Alone::start(Machines::new()).await;
    node.snapshots.set_capacity(Some(0));
    for _ in 0..3 {
        node.engine.propose(batch()).await.unwrap();
        node.engine.take_snapshot().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let status = node.engine.status();
        assert_eq!((status.stopped, status.snapshot_index), (None, 0), "nothing is on disk that the log could rely on");
    }
    node.snapshots.set_capacity(None);
    node.engine.take_snapshot().await;
    assert!(node.becomes(|engine| engine.status().snapshot_index > 0).await);
    let durable = node.engine.status().snapshot_index;
    node.snapshots.set_capacity(Some(0));
    node.engine.propose(batch()).await.unwrap();
    node.engine.take_snapshot().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = node.engine.status();
    assert_eq!((status.stopped, status.snapshot_index), (None, durable), "the one before still counts");
}

/// Its store takes nothing.
struct Full(watch::Sender<u64>);

impl Machine for Full {
    const ID: MachineId = MachineId(9);
    const NAME: &'static str = "full";
    type Command = ();
    type Reply = ();

    fn apply(&mut self, _: Applied, (): ()) {}

    fn capture(&self) -> Capture {
        Box::new(std::iter::empty())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn durable(&self) -> Option<watch::Receiver<u64>> {
        Some(self.0.subscribe())
    }

    fn has_room(&self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_store_takes_nothing_more_can_be_stopped() {
    let node = Alone::start(Machines::new().with(Full(watch::Sender::new(0)))).await;
    // One by one, until the consensus itself waits for what is to be applied.
    loop {
        let before = node.engine.status().committed_index;
        let engine = node.engine.clone();
        tokio::spawn(async move { engine.propose(batch()).await });
        if !node.becomes(|engine| engine.status().committed_index > before).await {
            break;
        }
    }
    assert!(node.engine.status().committed_index > 1000, "it waits with many, not with the first");
    tokio::time::timeout(Duration::from_secs(60), node.engine.stop()).await.expect("it stops");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_has_lost_what_is_committed_is_not_followed() {
    let node = Alone::start(Machines::new()).await;
    for _ in 0..3 {
        node.engine.propose(batch()).await.unwrap();
    }
    let (term, committed) = (node.engine.status().term.0, node.engine.status().committed_index);
    let (two, contradiction) = (NodeId::from(2), node.engine.contradiction());
    let ask = |vote: u64, prev: LogId| {
        let vote = Vote::new_committed(vote, two.clone());
        let request = AppendRequest { vote, prev_log_id: Some(prev), entries: Vec::new(), leader_commit: None };
        node.engine.asked(&two, service::RAFT_HEARTBEAT, put_append(&request))
    };
    let deposed = ask(term - 1, LogId::new_term_index(term + 5, committed - 1)).await;
    assert!(deposed.is_ok() && contradiction.borrow().is_none(), "one that leads no longer may: {deposed:?}");
    let refused = ask(term + 5, LogId::new_term_index(term + 5, committed - 1)).await.unwrap_err();
    assert!(refused.message.contains(&format!("contradicts the entry {committed}")), "{refused}");
    assert!(contradiction.borrow().is_some());
    assert_eq!(node.engine.status().stopped, None, "openraft did not hear of it");
    assert_eq!(node.engine.status().term.0, term);
    let taken = ask(term + 5, LogId::new_term_index(term, committed)).await;
    assert!(taken.is_ok(), "one that has everything is followed: {taken:?}");
}
