//! What a leader owes the copies: it looks at them, and puts on the log which are in step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use ha_cluster::{Cluster, HeldBy, Member, MemberState, NodeId, Replicated, TransferError, View};
use tokio::time::Instant;

use crate::copy::Copy;
use crate::in_step::{self, Seen};
use crate::known::{Known, Round};
use crate::loose::{LooseCopy, Seat};
use crate::message::{Command, Report};
use crate::status::Heard;
use crate::{Config, Records};

/// How far the horizon moves at least, in milliseconds of stamps.
const HORIZON_STEP_MS: u64 = 10_000;

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

/// Notes how far each disk is now.
fn note(progress: &mut Progress, now: Instant, held: &HeldBy, me: &NodeId) {
    let last = held.members.get(me).map_or(0, |held| held.index);
    progress.retain(|node, _| held.members.contains_key(node));
    for (node, held) in &held.members {
        let at = progress.entry(node.clone()).or_insert((held.index, now));
        if held.index != at.0 || held.index >= last {
            *at = (held.index, now);
        }
    }
}

/// Who would not lead, and how it was refused.
type Refusals = Vec<(NodeId, Discriminant<TransferError>)>;

impl Leader {
    pub(crate) async fn run(self) {
        let copies = self.cluster.copies();
        let mut progress = Progress::new();
        let mut round = Round::none();
        let mut led_since = Instant::now();
        let mut told: Option<Refusals> = None;
        loop {
            round.goes_on_for(self.config.look_interval).await;
            let now = Instant::now();
            self.known.lock().history.remember(now, self.copy.memory().position().items);
            let Some(held) = copies.now() else {
                progress.clear();
                (round, told) = (Round::none(), None);
                self.seat.iter().for_each(Seat::rest);
                continue;
            };
            let view = self.cluster.watch().borrow().clone();
            let nodes: BTreeSet<NodeId> =
                held.members.iter().filter(|(_, held)| held.is_copy).map(|(node, _)| node.clone()).collect();
            if round.began.is_none() {
                led_since = now;
                if self.loose.is_some() {
                    // Who leads meanwhile may have heard of a copy what this node has not.
                    self.known.lock().copies.clear();
                }
            }
            if round.is_due(now) {
                let (known, cluster) = (self.known.clone(), self.cluster.clone());
                let (me, copies) = (view.node_id.clone(), nodes.clone());
                round.begin(now, async move { known.ask(&cluster, &me, copies).await });
            }
            self.known.lock().copies.retain(|node, _| nodes.contains(node));
            note(&mut progress, now, &held, &view.node_id);
            // A witness that leads hands over by itself.
            if !round.ever_ended || !nodes.contains(&view.node_id) {
                continue;
            }
            if let Some(loose) = &self.loose {
                if self.config.is_leaderless_quorum() {
                    self.agree_on_replicas(loose, &held, &view, &nodes).await;
                }
                if let Some(seat) = &self.seat {
                    // Where nobody else was named, whoever leads takes writes.
                    if seat.named.get().is_none() && self.hand_over(&view, &nodes, &mut told).await {
                        continue;
                    }
                    seat.agree(&self, loose, &held, &view).await;
                }
                self.move_horizon(loose, &held, &view, &nodes, led_since).await;
                continue;
            }
            if self.hand_over(&view, &nodes, &mut told).await {
                continue;
            }
            self.agree(now, &held, &view, &progress).await;
        }
    }

    /// Puts on the log which copies are in step, when that has changed. Of what was seen `now`: whatever took long since
    /// is not to be laid at a copy's door.
    async fn agree(&self, now: Instant, held: &HeldBy, view: &View, progress: &Progress) {
        let last = held.members.get(&view.node_id).map_or(0, |held| held.index);
        let mut seen = BTreeMap::new();
        for (node, held) in held.members.iter().filter(|(_, held)| held.is_copy) {
            let stuck = progress.get(node).is_some_and(|(_, since)| now - *since >= self.config.sync_timeout);
            let is_me = *node == view.node_id;
            let state = view.members.iter().find(|member| member.node_id == *node).map(|member| member.state);
            let is_complete = if is_me {
                self.copy.is_complete()
            } else {
                let known = self.known.lock();
                known.copies.get(node).is_some_and(Heard::is_complete_and_close)
            };
            // Who is suspected may only have paused: that it makes no progress, or has failed, is told soon enough.
            let is_there = matches!(state, Some(MemberState::Alive | MemberState::Suspect));
            let is_alive = is_me || (is_there && !stuck);
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

    /// Hands leadership to a copy that is better fit for records, if one takes it. The log is `told` when it is others
    /// that do not, or for other reasons.
    async fn hand_over(&self, view: &View, nodes: &BTreeSet<NodeId>, told: &mut Option<Refusals>) -> bool {
        if is_fit(&self.copy.report()) {
            *told = None;
            return false;
        }
        let others = fitter(&view.members, &view.node_id, nodes, &self.known.lock().copies);
        let (mut refusals, mut reasons) = (Refusals::new(), Vec::new());
        for node in others {
            match self.cluster.transfer_leader(Some(node.clone())).await {
                Ok(to) => {
                    tracing::warn!(to = %to.node_id, "this copy is not fit to lead: leadership was handed over");
                    *told = None;
                    return true;
                }
                Err(error) => {
                    refusals.push((node, discriminant(&error)));
                    reasons.push(error.to_string());
                }
            }
            if self.cluster.copies().now().is_none() {
                // Whoever leads by now decides.
                break;
            }
        }
        if told.as_ref() != Some(&refusals) {
            let why = if reasons.is_empty() { "no other copy is fit".to_owned() } else { reasons.join("; ") };
            tracing::warn!("this copy is not fit to lead, and leadership was not handed over: {why}");
            *told = Some(refusals);
        }
        false
    }
}

/// Whether a copy is fit to lead: it is complete, and its disk has room.
fn is_fit(report: &Report) -> bool {
    report.is_complete() && !report.is_full && report.trouble.is_none()
}

/// The other copies that are fit to lead and may, the best first: by priority, by how far they are, then by id.
fn fitter(members: &[Member], me: &NodeId, nodes: &BTreeSet<NodeId>, copies: &BTreeMap<NodeId, Heard>) -> Vec<NodeId> {
    let may_lead = |member: &&Member| {
        let is_other_copy = member.node_id != *me && nodes.contains(&member.node_id);
        is_other_copy && member.voter && member.priority > 0 && member.state == MemberState::Alive
    };
    let fit = members.iter().filter(may_lead).filter_map(|member| {
        let heard = copies.get(&member.node_id).filter(|heard| heard.answers && is_fit(&heard.report))?;
        Some((Reverse(member.priority), Reverse(heard.report.position.index), member.node_id.clone()))
    });
    let mut fit: Vec<_> = fit.collect();
    fit.sort();
    fit.into_iter().map(|(.., node)| node).collect()
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
    use ha_cluster::MemberRole;

    use super::*;
    use crate::store::{Hole, Position};

    #[tokio::test(start_paused = true)]
    async fn leadership_goes_to_every_fit_voter_in_turn_the_best_first() {
        let (mut members, mut copies) = (Vec::new(), BTreeMap::new());
        let mut node = |name: &str, change: fn(&mut Member, &mut Heard)| {
            let node_id: NodeId = name.parse().unwrap();
            let mut member = Member {
                node_id: node_id.clone(),
                address: "127.0.0.1".to_owned(),
                port: 1,
                state: MemberState::Alive,
                role: MemberRole::Follower,
                priority: 100,
                voter: true,
                fit: true,
            };
            let position = Position { index: 7, ..Position::default() };
            let report = Report { position, ..Report::default() };
            let mut heard = Heard { report, at: Instant::now(), answers: true, last: None };
            change(&mut member, &mut heard);
            members.push(member);
            copies.insert(node_id, heard);
        };
        node("a-learner", |member, _| member.voter = false);
        node("b-never", |member, _| member.priority = 0);
        node("c-suspect", |member, _| member.state = MemberState::Suspect);
        node("d-full", |_, heard| heard.report.is_full = true);
        node("e-broken", |_, heard| heard.report.trouble = Some("the disk".to_owned()));
        node("f-fetching", |_, heard| {
            heard.report.hole = Some(Hole { after: 0, after_tie: 0, upto: 1, anew: true });
        });
        node("g-silent", |_, heard| heard.answers = false);
        node("h-behind", |_, heard| heard.report.position.index = 3);
        node("i-well", |_, _| {});
        node("j-well", |_, _| {});
        node("k-first", |member, _| member.priority = 200);
        node("l-witness", |_, _| {});
        node("me", |_, _| {});
        let nodes = copies.keys().filter(|node| node.as_str() != "l-witness").cloned().collect();
        let found = fitter(&members, &"me".parse().unwrap(), &nodes, &copies);
        let names: Vec<_> = found.iter().map(NodeId::as_str).collect();
        assert_eq!(names, ["k-first", "i-well", "j-well", "h-behind"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_is_told_to_begin_anew_once_for_each_long_absence() {
        let (begun, grave_time) = (Instant::now(), Duration::from_secs(60));
        let now = begun + grave_time;
        let (node, here): (NodeId, NodeId) = ("away".parse().unwrap(), "here".parse().unwrap());
        let heard = |at: Instant, answers, began_at| Heard {
            report: Report { seen_below: 50, began_at, ..Report::default() },
            at,
            answers,
            last: None,
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
