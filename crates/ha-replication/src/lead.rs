//! What a leader owes the copies: it looks at them, and puts on the log which are in step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use ha_cluster::{Cluster, HeldBy, MemberState, NodeId, Replicated, View};
use tokio::time::Instant;

use crate::copy::Copy;
use crate::in_step::{self, Seen};
use crate::loose::LooseCopy;
use crate::message::{Command, Report};
use crate::status::{Heard, History};
use crate::{Config, Records, fetch};

/// How often copies are asked how they are.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// How far the horizon moves at least, in milliseconds of stamps.
const HORIZON_STEP_MS: u64 = 10_000;

/// What is known of the copies. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<Mutex<Inner>>);

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) copies: BTreeMap<NodeId, Heard>,
    pub(crate) history: History,
}

impl Known {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all copies but this one how they are.
    pub(crate) async fn ask(&self, cluster: &Cluster, view: &View, copies: impl Iterator<Item = NodeId>) {
        let others: Vec<NodeId> = copies.filter(|node| *node != view.node_id).collect();
        let reports = join_all(others.iter().map(|node| fetch::report(cluster, node))).await;
        let at = Instant::now();
        let mut known = self.lock();
        for (node, report) in others.into_iter().zip(reports) {
            match (report, known.copies.get_mut(&node)) {
                (Some(report), _) => drop(known.copies.insert(node, Heard { report, at, answers: true })),
                (None, Some(heard)) => heard.answers = false,
                (None, None) => {}
            }
        }
    }
}

/// Looks at the copies while this node leads. Ends when dropped.
pub(crate) struct Leader {
    pub(crate) cluster: Cluster,
    pub(crate) log: Replicated<Records>,
    pub(crate) copy: Copy,
    pub(crate) known: Known,
    pub(crate) loose: Option<LooseCopy>,
    pub(crate) config: Config,
}

/// How far each disk was, and since when.
type Progress = BTreeMap<NodeId, (u64, Instant)>;

impl Leader {
    pub(crate) async fn run(self) {
        let copies = self.cluster.copies();
        let mut progress = Progress::new();
        let mut asked: Option<Instant> = None;
        loop {
            tokio::time::sleep(self.config.look_interval).await;
            let now = Instant::now();
            self.known.lock().history.remember(now, self.copy.memory().position().items);
            let Some(held) = copies.now() else {
                progress.clear();
                asked = None;
                continue;
            };
            let view = self.cluster.watch().borrow().clone();
            let nodes: BTreeSet<NodeId> =
                held.members.iter().filter(|(_, held)| held.is_copy).map(|(node, _)| node.clone()).collect();
            if asked.is_none_or(|at| now - at >= ASK_INTERVAL) {
                self.known.ask(&self.cluster, &view, nodes.iter().cloned()).await;
                self.known.lock().copies.retain(|node, _| nodes.contains(node));
                asked = Some(now);
            }
            if !nodes.contains(&view.node_id) {
                // A witness that leads hands over by itself.
                continue;
            }
            if let Some(loose) = &self.loose {
                if self.config.is_leaderless_quorum() {
                    self.agree_on_replicas(loose, &held, &view, &nodes).await;
                }
                self.move_horizon(loose, &held, &view, &nodes).await;
                continue;
            }
            if self.hand_over(&view, &nodes).await {
                continue;
            }
            self.agree(&held, &view, &mut progress).await;
        }
    }

    /// Puts on the log which copies are in step, when that has changed.
    async fn agree(&self, held: &HeldBy, view: &View, progress: &mut Progress) {
        let now = Instant::now();
        let last = held.members.get(&view.node_id).map_or(0, |held| held.index);
        progress.retain(|node, _| held.members.contains_key(node));
        let mut seen = BTreeMap::new();
        for (node, held) in held.members.iter().filter(|(_, held)| held.is_copy) {
            let at = progress.entry(node.clone()).or_insert((held.index, now));
            if held.index != at.0 || held.index >= last {
                *at = (held.index, now);
            }
            let stuck = now - at.1 >= self.config.sync_timeout;
            let is_me = *node == view.node_id;
            let state = view.members.iter().find(|member| member.node_id == *node).map(|member| member.state);
            let is_complete = if is_me {
                self.copy.is_complete()
            } else {
                let known = self.known.lock();
                known.copies.get(node).is_some_and(|heard| heard.answers && heard.report.is_complete())
            };
            let is_alive = is_me || (state == Some(MemberState::Alive) && !stuck);
            seen.insert(node.clone(), Seen { index: held.index, is_alive, is_complete });
        }
        let agreed = self.copy.memory().agreed().sync.clone();
        let decided = in_step::decide(&seen, &agreed.members, last, self.config.on_sync_loss);
        let Some((members, why)) = decided else { return };
        tracing::info!("copies in step change: {why}");
        let command = Command::SyncSet { seen: agreed.generation, members };
        let proposed = self.log.write_as_leader(held.term, &command);
        // Longer than that, something is wrong that the next look will see.
        if let Ok(Err(error)) = tokio::time::timeout(self.config.sync_timeout, proposed).await {
            tracing::debug!("copies in step did not change: {error}");
        }
    }

    /// Puts on the log which copies take part, when that should change.
    async fn agree_on_replicas(&self, loose: &LooseCopy, held: &HeldBy, view: &View, nodes: &BTreeSet<NodeId>) {
        let agreed = self.copy.memory().agreed().sync.clone();
        let settled: BTreeSet<NodeId> = {
            let known = self.known.lock();
            let is_settled = |node: &NodeId| match *node == view.node_id {
                true => loose.settled() == Some(agreed.generation),
                false => known.copies.get(node).is_some_and(|heard| heard.report.settled == agreed.generation),
            };
            agreed.members.iter().filter(|node| is_settled(node)).cloned().collect()
        };
        let Some((members, why)) = crate::quorum::next_replicas(&agreed.members, nodes, &settled) else { return };
        tracing::info!("the copies that take part change: {why}");
        let command = Command::SyncSet { seen: agreed.generation, members };
        let proposed = self.log.write_as_leader(held.term, &command);
        if let Ok(Err(error)) = tokio::time::timeout(self.config.sync_timeout, proposed).await {
            tracing::debug!("the copies that take part did not change: {error}");
        }
    }

    /// Puts on the log below which stamp every copy has seen everything: graves below it can go. A copy that has been
    /// silent for longer than graves are kept is left out, and must begin anew when it comes back.
    async fn move_horizon(&self, loose: &LooseCopy, held: &HeldBy, view: &View, nodes: &BTreeSet<NodeId>) {
        let now = Instant::now();
        let (mut horizon, mut resets) = (u64::MAX, BTreeSet::new());
        {
            let known = self.known.lock();
            for node in nodes.iter().filter(|node| **node != view.node_id) {
                match known.copies.get(node) {
                    Some(heard) if !heard.answers && now - heard.at >= self.config.grave_time => {
                        resets.insert(node.clone());
                    }
                    Some(heard) => horizon = horizon.min(heard.report.seen_below),
                    None => horizon = 0,
                }
            }
        }
        let others = nodes.iter().filter(|node| **node != view.node_id && !resets.contains(*node));
        horizon = horizon.min(loose.seen_below(others.cloned()));
        let (agreed, known_resets) = {
            let memory = self.copy.memory();
            (memory.agreed().horizon, memory.agreed().resets.clone())
        };
        let moved = horizon.saturating_sub(agreed) >> 16 >= HORIZON_STEP_MS && horizon < u64::MAX;
        if !moved {
            return;
        }
        // Named once for each absence: a copy that has begun anew is not told so again.
        resets.retain(|node| !known_resets.contains_key(node));
        let command = Command::Horizon { horizon, resets };
        let proposed = self.log.write_as_leader(held.term, &command);
        if let Ok(Err(error)) = tokio::time::timeout(self.config.sync_timeout, proposed).await {
            tracing::debug!("the horizon did not move: {error}");
        }
    }

    /// Hands leadership to a copy that is better fit for records: one that is complete, and whose disk has room.
    async fn hand_over(&self, view: &View, nodes: &BTreeSet<NodeId>) -> bool {
        let me = self.copy.report();
        let fit = |report: &Report| report.is_complete() && !report.is_full && report.trouble.is_none();
        if fit(&me) {
            return false;
        }
        let better = {
            let known = self.known.lock();
            nodes
                .iter()
                .find(|node| known.copies.get(*node).is_some_and(|heard| heard.answers && fit(&heard.report)))
                .cloned()
        };
        let Some(better) = better.filter(|node| *node != view.node_id) else { return false };
        tracing::warn!(to = %better, "this copy is not fit to lead: handing leadership over");
        match self.cluster.transfer_leader(Some(better)).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!("leadership was not handed over: {error}");
                false
            }
        }
    }
}
