//! What a leader owes the copies: it looks at them, and puts on the log which are in step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use ha_cluster::{Cluster, HeldBy, MemberState, NodeId, Replicated, View};
use tokio::time::Instant;

use crate::copy::Copy;
use crate::in_step::{self, Seen};
use crate::loose::{LooseCopy, Seat};
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
    pub(crate) seat: Option<Seat>,
    pub(crate) config: Config,
}

/// How far each disk was, and since when.
type Progress = BTreeMap<NodeId, (u64, Instant)>;

impl Leader {
    pub(crate) async fn run(self) {
        let copies = self.cluster.copies();
        let mut progress = Progress::new();
        let mut asked: Option<Instant> = None;
        let mut led_since = Instant::now();
        loop {
            tokio::time::sleep(self.config.look_interval).await;
            let now = Instant::now();
            self.known.lock().history.remember(now, self.copy.memory().position().items);
            let Some(held) = copies.now() else {
                progress.clear();
                asked = None;
                self.seat.iter().for_each(Seat::rest);
                continue;
            };
            let view = self.cluster.watch().borrow().clone();
            let nodes: BTreeSet<NodeId> =
                held.members.iter().filter(|(_, held)| held.is_copy).map(|(node, _)| node.clone()).collect();
            if asked.is_none() {
                led_since = now;
                if self.loose.is_some() {
                    // Who leads meanwhile may have heard of a copy what this node has not.
                    self.known.lock().copies.clear();
                }
            }
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
                if let Some(seat) = &self.seat {
                    // Where nobody else was named, whoever leads takes writes.
                    if seat.named.get().is_none() && self.hand_over(&view, &nodes).await {
                        continue;
                    }
                    seat.agree(&self, loose, &held, &view).await;
                }
                self.move_horizon(loose, &held, &view, &nodes, led_since).await;
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
    async fn move_horizon(
        &self,
        loose: &LooseCopy,
        held: &HeldBy,
        view: &View,
        nodes: &BTreeSet<NodeId>,
        led_since: Instant,
    ) {
        let others: Vec<&NodeId> = nodes.iter().filter(|node| **node != view.node_id).collect();
        let (agreed, told) = {
            let memory = self.copy.memory();
            (memory.agreed().horizon, memory.agreed().resets.clone())
        };
        let Horizon { seen_below, away, resets } = {
            let known = self.known.lock();
            let heard = others.iter().map(|node| (*node, known.copies.get(*node)));
            horizon(heard, &told, led_since, Instant::now(), self.config.grave_time)
        };
        let present = others.into_iter().filter(|node| !away.contains(*node)).cloned();
        let horizon = seen_below.min(loose.seen_below(present));
        let moved = horizon.saturating_sub(agreed) >> 16 >= HORIZON_STEP_MS && horizon < u64::MAX;
        if !moved {
            return;
        }
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

/// What the other copies let the leader say of the horizon.
#[derive(Debug, PartialEq, Eq)]
struct Horizon {
    /// Below this stamp, each that counts has seen everything.
    seen_below: u64,
    /// They do not count: they have been silent for longer than graves are kept.
    away: BTreeSet<NodeId>,
    /// Those of them that must be told so.
    resets: BTreeSet<NodeId>,
}

/// `told` says at which horizon a copy was told last to begin anew. One that has done so and is away again is told
/// again, and so is one that nobody has heard of: it may be that.
fn horizon<'a>(
    copies: impl Iterator<Item = (&'a NodeId, Option<&'a Heard>)>,
    told: &BTreeMap<NodeId, u64>,
    led_since: Instant,
    now: Instant,
    grave_time: Duration,
) -> Horizon {
    let (mut seen_below, mut away, mut resets) = (u64::MAX, BTreeSet::new(), BTreeSet::new());
    for (node, heard) in copies {
        let silent_since = heard.map_or(Some(led_since), |heard| (!heard.answers).then_some(heard.at));
        if silent_since.is_some_and(|since| now.saturating_duration_since(since) >= grave_time) {
            away.insert(node.clone());
            let waits = told.get(node).is_some_and(|told| heard.is_some_and(|heard| heard.report.began_at < *told));
            if !waits {
                resets.insert(node.clone());
            }
        } else {
            seen_below = seen_below.min(heard.map_or(0, |heard| heard.report.seen_below));
        }
    }
    Horizon { seen_below, away, resets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_copy_is_told_to_begin_anew_once_for_each_long_absence() {
        let (begun, grave_time) = (Instant::now(), Duration::from_secs(60));
        let now = begun + grave_time;
        let (node, here): (NodeId, NodeId) = ("away".parse().unwrap(), "here".parse().unwrap());
        let heard = |at: Instant, answers, began_at| Heard {
            report: Report { seen_below: 50, began_at, ..Report::default() },
            at,
            answers,
        };
        let here_heard = heard(now, true, 0);
        let asked = |heard: Option<&Heard>, told: Option<u64>| {
            let told = told.map(|told| (node.clone(), told)).into_iter().collect();
            let copies = [(&here, Some(&here_heard)), (&node, heard)];
            let found = horizon(copies.into_iter(), &told, begun, now, grave_time);
            (found.seen_below, found.away.contains(&node), found.resets.contains(&node))
        };
        assert_eq!(asked(Some(&heard(begun, false, 0)), None), (50, true, true));
        assert_eq!(asked(Some(&heard(begun, false, 0)), Some(9)), (50, true, false), "it knows when it comes back");
        assert_eq!(asked(Some(&heard(begun, false, 9)), Some(9)), (50, true, true), "a second absence");
        assert_eq!(asked(None, Some(9)), (50, true, true), "a leader that never heard it does not wait for ever");
        assert_eq!(asked(Some(&heard(begun, true, 0)), None), (50, false, false));
        let lately = heard(begun + Duration::from_secs(1), false, 0);
        assert_eq!(asked(Some(&lately), None), (50, false, false));
        let young = horizon([(&node, None)].into_iter(), &BTreeMap::new(), now, now, grave_time);
        assert_eq!((young.seen_below, young.away.len()), (0, 0), "until it has been waited for");
    }
}
