//! The cluster as one value: start, hurt, wait.
//!
//! Nodes are numbered from 1, as their ids are; a witness has the number after the last node.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::http::Client;
use super::lab::Lab;
use super::node::{Ended, Node, NodeError};
use super::ports::PortBlock;
use super::process::ProcessState;
use super::settings::{PrepareError, Settings};
use super::status::{NodeStatus, agreed_leader};

/// How long a cluster may take to form on a busy machine.
pub const FORM_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an election may take on a busy machine.
pub const LEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a node may take to hand over and leave.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a process that was told to stand still is looked at: it does when it is next scheduled.
const STOP_POLL: Duration = Duration::from_micros(200);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(15);

/// A running local cluster. Dropping it kills the processes that it started, and no others.
#[derive(Debug)]
pub struct LocalCluster {
    nodes: Vec<Node>,
    directory: TempDir,
    tells_logs: bool,
    ground: Ground,
}

/// What the nodes stand on; held for as long as they do.
#[derive(Debug)]
enum Ground {
    /// One network, a block of ports.
    Loopback { _ports: PortBlock },
    /// A network each.
    Networks(Lab),
}

/// What was waited for did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Not in time.
    #[error("{what} did not happen within {} ms; last seen:\n{seen}", .after.as_millis())]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// What was there instead.
        seen: String,
    },
    /// A node ended meanwhile.
    #[error("{node_id} ended while {what} was waited for; its last lines:\n{log}")]
    Ended {
        /// The node.
        node_id: String,
        /// What was waited for.
        what: String,
        /// What it printed last.
        log: String,
    },
}

impl LocalCluster {
    /// Makes folders and takes ports, and starts nothing.
    pub fn prepare(settings: Settings) -> Result<Self, PrepareError> {
        let below = settings.below.clone().unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new().prefix("ha-cluster-").tempdir_in(below);
        let directory = directory.map_err(|source| PrepareError::Io { doing: "making a folder", source })?;
        let io = |doing| move |source| PrepareError::Io { doing, source };
        let (ground, specs) = if settings.networks {
            let nodes = u8::try_from(settings.processes()).unwrap_or(u8::MAX);
            let lab = Lab::set_up(nodes).map_err(io("making networks"))?;
            let specs = settings.specs_in_lab(directory.path(), &lab)?;
            (Ground::Networks(lab), specs)
        } else {
            let mut ports = PortBlock::take().map_err(io("taking test ports"))?;
            let specs = settings.specs_on_block(directory.path(), &mut ports)?;
            (Ground::Loopback { _ports: ports }, specs)
        };
        let nodes = specs.into_iter().map(Node::new).collect();
        Ok(Self { nodes, directory, tells_logs: settings.tells_logs, ground })
    }

    /// Starts all nodes at the same moment, and waits for none of them.
    pub async fn start(settings: Settings) -> Result<Self, Box<dyn std::error::Error>> {
        let mut cluster = Self::prepare(settings)?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Starts all nodes that do not run.
    pub fn start_all(&mut self) -> Result<(), NodeError> {
        self.nodes.iter_mut().filter(|node| node.state() == ProcessState::Gone).try_for_each(Node::start)
    }

    /// The folder of all nodes.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// How many nodes there are, running or not, the witness included.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node `number`, from 1. Panics when there is none: a number is written by the author of a test.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// As [`Self::node`], to change what it is started with.
    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }

    /// The HTTP API of node `number`.
    pub fn http(&self, number: usize) -> Client {
        self.node(number).http()
    }

    /// The number of the node with this id.
    pub fn number_of(&self, node_id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.spec.node_id == node_id).map(|index| index + 1)
    }

    /// The data directory of node `number`.
    pub fn data_directory(&self, number: usize) -> PathBuf {
        self.node(number).spec.data_directory()
    }

    /// SIGKILL; returns once the process has ended.
    pub async fn kill9(&mut self, number: usize) -> Result<(), NodeError> {
        let node = self.node_mut(number);
        node.signal(Signal::KILL)?;
        node.wait_exit(STOP_TIMEOUT).await?;
        Ok(())
    }

    /// SIGKILL to every running node before any of them is waited for.
    pub async fn kill9_all(&mut self) -> Result<(), NodeError> {
        let alive = || |node: &&mut Node| node.state() != ProcessState::Gone;
        for node in self.nodes.iter_mut().filter(alive()) {
            node.signal(Signal::KILL)?;
        }
        for node in &mut self.nodes {
            node.wait_exit(STOP_TIMEOUT).await?;
        }
        Ok(())
    }

    /// SIGSTOP; returns once the process stands still.
    pub async fn pause(&mut self, number: usize) -> Result<(), NodeError> {
        let node = self.node(number);
        node.signal(Signal::STOP)?;
        while node.state() == ProcessState::Running {
            sleep(STOP_POLL).await;
        }
        Ok(())
    }

    /// SIGCONT.
    pub fn resume(&mut self, number: usize) -> Result<(), NodeError> {
        self.node(number).signal(Signal::CONT)
    }

    /// SIGTERM; returns how it ended.
    pub async fn terminate(&mut self, number: usize) -> Result<Ended, NodeError> {
        let node = self.node_mut(number);
        node.signal(Signal::TERM)?;
        node.wait_exit(STOP_TIMEOUT).await
    }

    /// Starts a node that has ended, on its old folder and ports.
    pub fn restart(&mut self, number: usize) -> Result<(), NodeError> {
        self.node_mut(number).start()
    }

    /// Loses everything that node `from` sends to node `to`. Only with [`Settings::with_networks`].
    pub fn cut(&self, from: usize, to: usize) -> io::Result<()> {
        self.lab()?.cut(from, to)
    }

    /// Lets it through again.
    pub fn mend(&self, from: usize, to: usize) -> io::Result<()> {
        self.lab()?.mend(from, to)
    }

    /// Cuts every wire of node `number`, in both directions. Its HTTP API is still reached from outside.
    pub fn isolate(&self, number: usize) -> io::Result<()> {
        self.wires_of(number).try_for_each(|(from, to)| self.cut(from, to))
    }

    /// Mends every wire of node `number`.
    pub fn rejoin(&self, number: usize) -> io::Result<()> {
        self.wires_of(number).try_for_each(|(from, to)| self.mend(from, to))
    }

    fn wires_of(&self, number: usize) -> impl Iterator<Item = (usize, usize)> {
        let others = (1..=self.size()).filter(move |other| *other != number);
        others.flat_map(move |other| [(number, other), (other, number)])
    }

    fn lab(&self) -> io::Result<&Lab> {
        match &self.ground {
            Ground::Networks(lab) => Ok(lab),
            Ground::Loopback { .. } => Err(io::Error::other("the nodes of this cluster share one network")),
        }
    }

    /// One look at every node.
    pub async fn status(&self) -> Vec<NodeStatus> {
        look(&self.nodes.iter().collect::<Vec<_>>()).await
    }

    /// Waits until all running nodes agree on one of them as the leader; returns its number.
    pub async fn wait_leader(&self) -> Result<usize, WaitError> {
        let everybody: Vec<usize> = (1..=self.size()).collect();
        self.wait_leader_among(&everybody).await
    }

    /// Waits until those of these nodes that run agree on one of them as the leader; returns its number.
    pub async fn wait_leader_among(&self, numbers: &[usize]) -> Result<usize, WaitError> {
        let nodes: Vec<&Node> = numbers.iter().map(|number| self.node(*number)).collect();
        wait_for("a leader that all running nodes agree on", LEADER_TIMEOUT, async || {
            let statuses = look(&nodes).await;
            let leader = agreed_leader(&statuses).and_then(|id| self.number_of(id));
            leader.ok_or_else(|| lines(&statuses))
        })
        .await
    }

    /// Waits until every node runs, all are members of one cluster and agree on its leader; returns the cluster's id.
    /// Fails at once when a node ends.
    pub async fn wait_formed(&self) -> Result<String, WaitError> {
        let what = "one cluster of all nodes";
        if let Some(node) = self.nodes.iter().find(|node| node.state() == ProcessState::Gone) {
            return Err(WaitError::Ended {
                node_id: node.spec.node_id.clone(),
                what: what.to_owned(),
                log: node.log_tail(),
            });
        }
        let (nodes, size) = (self.nodes.iter().collect::<Vec<_>>(), self.nodes.len());
        wait_for(what, FORM_TIMEOUT, async || {
            let statuses = look(&nodes).await;
            let complete = statuses.iter().all(|s| s.cluster.as_ref().is_some_and(|c| c.active_nodes == size));
            let first = statuses.first().and_then(|s| s.cluster_id.clone());
            let same = statuses.iter().all(|s| s.cluster_id.is_some() && s.cluster_id == first);
            match first.filter(|_| complete && same && agreed_leader(&statuses).is_some()) {
                Some(cluster_id) => Ok(cluster_id),
                None => Err(lines(&statuses)),
            }
        })
        .await
    }

    /// Waits until a look at node `number` passes a test.
    pub async fn wait_node(
        &self,
        number: usize,
        what: &str,
        bound: Duration,
        mut holds: impl FnMut(&NodeStatus) -> bool,
    ) -> Result<NodeStatus, WaitError> {
        wait_for(what, bound, async || {
            let status = NodeStatus::of(self.node(number)).await;
            if holds(&status) { Ok(status) } else { Err(status.line()) }
        })
        .await
    }
}

/// Looks until a look succeeds; the error quotes the last look that did not.
pub async fn wait_for<T>(
    what: &str,
    bound: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, WaitError> {
    let deadline = Instant::now() + bound;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(seen) if Instant::now() >= deadline => {
                return Err(WaitError::Late { what: what.to_owned(), after: bound, seen });
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

async fn look(nodes: &[&Node]) -> Vec<NodeStatus> {
    let mut statuses = Vec::with_capacity(nodes.len());
    for node in nodes {
        statuses.push(NodeStatus::of(node).await);
    }
    statuses
}

fn lines(statuses: &[NodeStatus]) -> String {
    statuses.iter().map(NodeStatus::line).collect::<Vec<_>>().join("\n")
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.abandon();
        }
        if self.tells_logs {
            for node in &self.nodes {
                eprintln!("--- last lines of {}\n{}", node.spec.node_id, node.log_tail());
            }
        }
    }
}
