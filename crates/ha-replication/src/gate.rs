//! Waits until enough disks hold a log entry, wherever the leader is that knows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ha_cluster::{Cluster, Copies, Lane, NodeId, Room, encoding};
use tokio::time::Instant;

use crate::Consistency;
use crate::copy::Copy;
use crate::held::{Rules, judge};
use crate::message::{Ask, NotHeld, Told};

/// Where copies talk to one another.
pub(crate) const ROOM: Room = Room(2);
/// Questions to the leader have a connection of their own, beside what it replicates.
pub(crate) const LANE: Lane = Lane::Bulk(3);
/// How long a leader lets another node wait before it says how far it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause before a leader is looked for anew.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for disks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate {
    cluster: Cluster,
    copies: Copies,
    copy: Copy,
    rules: Rules,
    /// The highest entry that is known to be held at the strong level.
    strong: Arc<AtomicU64>,
}

impl Gate {
    pub(crate) fn new(cluster: Cluster, copy: Copy, rules: Rules) -> Self {
        let copies = cluster.copies();
        Self { cluster, copies, copy, rules, strong: Arc::default() }
    }

    /// The copies whose disks hold a log entry, once they are enough; or how far it is at the deadline.
    pub(crate) async fn wait(
        &self,
        level: Consistency,
        index: u64,
        deadline: Instant,
    ) -> Result<BTreeSet<NodeId>, NotHeld> {
        let mut last = nobody("no leader says how far the copies are");
        loop {
            let told = tokio::time::timeout_at(deadline, self.attempt(level, index)).await;
            match told {
                Ok(Ok(by)) => {
                    if level == Consistency::Strong {
                        self.strong.fetch_max(index, Ordering::Relaxed);
                    }
                    return Ok(by);
                }
                Ok(Err(not_held)) => last = not_held,
                Err(_) => return Err(last),
            }
            if tokio::time::timeout_at(deadline, tokio::time::sleep(PAUSE)).await.is_err() {
                return Err(last);
            }
        }
    }

    /// Waits until everything that could be read here just now is held by every copy in step.
    pub(crate) async fn frontier(&self, deadline: Instant) -> Result<(), NotHeld> {
        let index = self.copy.memory().begun();
        if self.strong.load(Ordering::Relaxed) >= index {
            return Ok(());
        }
        self.wait(Consistency::Strong, index, deadline).await.map(drop)
    }

    async fn attempt(&self, level: Consistency, index: u64) -> Result<BTreeSet<NodeId>, NotHeld> {
        let leader = self.cluster.leader().map(|leader| leader.node_id);
        if self.copies.now().is_some() {
            return self.here(level, index).await;
        }
        let leader = leader.ok_or_else(|| nobody("there is no leader now"))?;
        let ask = encoding::encode(&Ask::Held { index, level }).unwrap_or_default().into();
        let answer = self.cluster.ask_room(&leader, LANE, ROOM, ask, PATIENCE * 2).await;
        let answer = answer.map_err(|error| nobody(&error.to_string()))?;
        match encoding::decode(&answer) {
            Ok(Told::Held(told)) => told,
            _ => Err(nobody("the leader's answer cannot be read")),
        }
    }

    /// As [`Self::wait`], on the leader, and with a patience of its own.
    pub(crate) async fn here(&self, level: Consistency, index: u64) -> Result<BTreeSet<NodeId>, NotHeld> {
        let mut last = nobody("this node does not lead");
        let waited = tokio::time::timeout(PATIENCE, async {
            let mut copies = self.copies.clone();
            let mut applied = self.copy.applied();
            loop {
                applied.borrow_and_update();
                let Some(held) = copies.now() else { return Err(nobody("this node does not lead")) };
                // Which copies are in step is known as of the last entry that was applied here: a new leader may have
                // some to catch up.
                let (sync, applied_upto) = {
                    let memory = self.copy.memory();
                    (memory.agreed().sync.clone(), memory.begun())
                };
                if applied_upto < index {
                    last = nobody("the leader has not applied it yet");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                match judge(&held, &sync, self.rules, level, index) {
                    Ok(by) => return Ok(by),
                    Err(not_held) => last = not_held,
                }
                tokio::select! {
                    () = copies.changed() => {}
                    _ = applied.changed() => {}
                }
            }
        });
        waited.await.unwrap_or(Err(last))
    }
}

fn nobody(reason: &str) -> NotHeld {
    NotHeld { by: BTreeSet::new(), needed: 0, reason: reason.to_owned(), elsewhere: true }
}
