//! Bench nodes, the writers inside them, and what those saw.

pub(crate) mod bench_node;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde_json::{Value, json};
use xtask::local_cluster::{LocalCluster, NodeSpec, Settings};

use self::bench_node::BenchNode;

/// Bytes of a proposal.
pub(crate) const PROPOSAL_BYTES: usize = 256;

/// Bench nodes, and a conversation with each that runs.
pub(crate) struct Writers {
    /// The processes.
    pub(crate) cluster: LocalCluster,
    talks: Vec<Option<BenchNode>>,
}

/// What was found when every acknowledged proposal was read back.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Verified {
    /// Proposals that were acknowledged to a client.
    pub(crate) checked: usize,
    /// Those of them that are not there.
    pub(crate) missing: usize,
    /// Proposals, acknowledged or not, that were applied more than once.
    pub(crate) twice: usize,
}

impl Verified {
    /// Whether all is as promised, and there was something to check.
    pub(crate) fn holds(&self) -> bool {
        self.checked > 0 && self.missing == 0 && self.twice == 0
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} acknowledged, {} missing, {} applied twice", self.checked, self.missing, self.twice)
    }
}

/// An instant on the clock that all processes of this machine share, in nanoseconds.
pub(crate) fn now_nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

impl Writers {
    /// Starts this many nodes of a program below a folder, and waits for one cluster of them.
    pub(crate) async fn start(nodes: usize, program: &Path, folder: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        Self::start_on(Settings::new(nodes), program, folder).await
    }

    /// As [`Self::start`], with settings of the caller's.
    pub(crate) async fn start_on(
        settings: Settings,
        program: &Path,
        folder: &Path,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        Self::start_each(settings, program, folder, |_| ()).await
    }

    /// As [`Self::start_on`], and each node with what it alone is given.
    pub(crate) async fn start_each(
        mut settings: Settings,
        program: &Path,
        folder: &Path,
        mut give: impl FnMut(&mut NodeSpec),
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let nodes = settings.nodes;
        settings.binary = Some(program.to_owned());
        settings.below = Some(folder.to_owned());
        settings.tells_logs = false;
        let mut cluster = LocalCluster::prepare(settings)?;
        for number in 1..=nodes {
            cluster.node_mut(number).talk();
            give(&mut cluster.node_mut(number).spec);
        }
        let mut writers = Self { cluster, talks: Vec::new() };
        for number in 1..=nodes {
            writers.talks.push(None);
            writers.restart(number)?;
        }
        writers.cluster.wait_formed().await?;
        Ok(writers)
    }

    /// Starts a node that has ended, and talks to its new life.
    pub(crate) fn restart(&mut self, number: usize) -> Result<(), Box<dyn std::error::Error>> {
        self.cluster.restart(number)?;
        self.talks[number - 1] = Some(BenchNode::attach(self.cluster.node_mut(number))?);
        Ok(())
    }

    /// Asks the node for something that takes `work`.
    pub(crate) async fn ask(
        &mut self,
        number: usize,
        request: Value,
        work: Duration,
    ) -> Result<Value, Box<dyn std::error::Error>> {
        let talk = self.talks[number - 1].as_mut().ok_or("nobody talks to this node")?;
        talk.ask(request, work).await
    }

    /// Lets one client in each of these nodes propose, one proposal after the other, until the node ends or rests.
    pub(crate) async fn write(&mut self, numbers: &[usize]) -> Result<(), Box<dyn std::error::Error>> {
        for number in numbers {
            let request = json!({"do": "write", "clients": 1, "bytes": PROPOSAL_BYTES});
            self.ask(*number, request, Duration::ZERO).await?;
        }
        Ok(())
    }

    /// Ends the writers of all nodes that run.
    pub(crate) async fn rest(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        for number in 1..=self.cluster.size() {
            if self.cluster.node(number).is_running() {
                self.ask(number, json!({"do": "rest"}), Duration::ZERO).await?;
            }
        }
        Ok(())
    }

    /// The longest time without an acknowledged proposal that a client in one of these nodes saw since an instant: the
    /// worst of them, so that every client is served again.
    pub(crate) async fn gap(&mut self, numbers: &[usize], since: u64) -> Result<Duration, Box<dyn std::error::Error>> {
        let mut worst = Duration::ZERO;
        for number in numbers {
            let answer = self.ask(*number, json!({"do": "gap", "since_ns": since}), Duration::ZERO).await?;
            let gap = answer["gap_ns"].as_u64().ok_or_else(|| format!("no gap in {answer}"))?;
            worst = worst.max(Duration::from_nanos(gap));
        }
        Ok(worst)
    }

    /// Reads every proposal that was ever acknowledged to a client back through one node.
    pub(crate) async fn verify(&mut self, number: usize) -> Result<Verified, Box<dyn std::error::Error>> {
        let files: Vec<PathBuf> =
            self.cluster.nodes().iter().map(|node| node.spec.directory.join("acknowledged")).collect();
        let answer = self.ask(number, json!({"do": "verify", "files": files}), Duration::from_secs(60)).await?;
        Ok(serde_json::from_value(answer)?)
    }

    /// All numbers but one.
    pub(crate) fn others(&self, number: usize) -> Vec<usize> {
        (1..=self.cluster.size()).filter(|other| *other != number).collect()
    }
}
