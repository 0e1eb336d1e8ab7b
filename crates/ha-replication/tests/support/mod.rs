//! Three whole nodes in one process, over TCP and real files.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{Applied, Capture, Cluster, Machine, MachineId, Machines, Seams, Seed};
use ha_replication::{Config, Consistency, Mode, Replication, SystemWall, Wall};

/// What a node may take to get somewhere.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A room that writes to the log, and changes no record.
pub(crate) struct Other;

impl Machine for Other {
    const ID: MachineId = MachineId(200);
    const NAME: &'static str = "another room";
    type Command = u64;
    type Reply = ();

    fn apply(&mut self, _at: Applied, _command: u64) {}

    fn capture(&self) -> Capture {
        Box::new(std::iter::empty())
    }

    fn restore(&mut self, _image: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// A running node.
pub(crate) struct Node {
    pub(crate) cluster: Cluster,
    pub(crate) replication: Replication,
}

impl Node {
    pub(crate) async fn stop(self) {
        self.replication.stop().await;
        self.cluster.stop().await;
    }
}

/// Nodes to be.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
    pub(crate) snapshot_entries: u64,
    pub(crate) consistency: Consistency,
    pub(crate) mode: Mode,
    pub(crate) batch_items: usize,
    /// How far ahead the time of day of a node is.
    pub(crate) ahead: Vec<Duration>,
}

/// A time of day that is wrong.
struct Ahead(Duration);

impl Wall for Ahead {
    fn milliseconds(&self) -> u64 {
        SystemWall.milliseconds() + u64::try_from(self.0.as_millis()).unwrap()
    }
}

impl Stage {
    pub(crate) fn new(nodes: usize) -> Self {
        let addresses = ha_cluster::loopback::addresses(nodes).unwrap();
        let directory = tempfile::tempdir().unwrap();
        Self {
            directory,
            addresses,
            snapshot_entries: 50_000,
            consistency: Consistency::Quorum,
            mode: Mode::MasterSlave,
            batch_items: Config::default().batch_items_max,
            ahead: vec![Duration::ZERO; nodes],
        }
    }

    pub(crate) fn directory(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("node-{index}"))
    }

    pub(crate) async fn start(&self, index: usize) -> Node {
        let mut config = ha_cluster::Config::default();
        config.node_id = Some(format!("node-{index}").parse().unwrap());
        config.data_dir = self.directory(index);
        config.listen = self.addresses[index];
        config.seeds = self.addresses.iter().map(|address| Seed::Address((*address).into())).collect();
        config.heartbeat_interval = Duration::from_millis(50);
        config.node_timeout = Duration::from_millis(1000);
        config.election_timeout = Duration::from_millis(400);
        config.min_nodes = self.addresses.len();
        config.quorum_size = self.addresses.len() / 2 + 1;
        config.segment_bytes = 1024 * 1024;
        config.snapshot_entries = self.snapshot_entries;
        let mut records = Config::default();
        records.directory = config.data_dir.join("replication");
        records.consistency = self.consistency;
        records.mode = self.mode;
        records.batch_items_max = self.batch_items;
        records.wall = Arc::new(Ahead(self.ahead[index]));
        records.async_writes = false;
        records.sync_interval = Duration::from_millis(300);
        records.sync_timeout = Duration::from_secs(1);
        records.free_bytes_min = 0;
        let seams = Seams::default();
        let (machine, copy) = ha_replication::open(records, seams.disk.clone()).await.unwrap();
        let cluster = ha_cluster::start(config, seams, Machines::new().with(machine).with(Other)).await.unwrap();
        Node { replication: copy.start(cluster.clone()).unwrap(), cluster }
    }

    pub(crate) async fn start_all(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for index in 0..self.addresses.len() {
            nodes.push(self.start(index).await);
        }
        for node in &nodes {
            let mut view = node.cluster.watch();
            let healthy = view.wait_for(|view| view.info().is_healthy && view.members.len() == self.addresses.len());
            tokio::time::timeout(PATIENCE, healthy).await.expect("a healthy cluster").unwrap();
        }
        nodes
    }
}

/// Asks again until it is so.
pub(crate) async fn until<T: std::fmt::Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<(), T>) {
    let asked = async {
        loop {
            match ask().await {
                Ok(()) => return,
                Err(seen) => {
                    if let Ok(mut last) = LAST.lock() {
                        *last = format!("{seen:?}");
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, asked).await.is_err() {
        panic!("not in time: {what}; last seen: {}", LAST.lock().unwrap());
    }
}

static LAST: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());
