//! Fetches the changes that this copy lacks from another copy, piece by piece and not too fast, while the log goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_cluster::{Cluster, Lane, MemberRole, MemberState, NodeId, encoding};
use tokio::time::Instant;

use crate::copy::Copy;
use crate::gate::ROOM;
use crate::message::{Ask, Page, Report, Told};
use crate::record::Kept;
use crate::store::Place;
use crate::{Config, Key};

/// Beside everything else, so that nothing waits behind it.
const LANE: Lane = Lane::Bulk(2);
/// Changes that are asked for at once.
const ITEMS_MAX: u32 = 4096;
/// Bytes that are asked for at once.
const BYTES_MAX: u32 = 512 * 1024;
/// How long a page may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(10);
/// The longest pause between tries that bring nothing, as where this disk is full.
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a copy may take to say how it is.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// Asks a copy how it is.
pub(crate) async fn report(cluster: &Cluster, node: &NodeId) -> Option<Report> {
    let ask = encoding::encode(&Ask::Report).unwrap_or_default().into();
    let answer = cluster.ask_room(node, Lane::Control, ROOM, ask, REPORT_PATIENCE).await.ok()?;
    match encoding::decode(&answer) {
        Ok(Told::Report(report)) => Some(report),
        _ => None,
    }
}

/// Fetches what is missing, whenever something is. Ends when dropped.
pub(crate) async fn run(cluster: Cluster, copy: Copy, config: Config) {
    let mut failed = BTreeSet::new();
    let mut pause = config.look_interval;
    loop {
        let Some(hole) = copy.hole() else {
            tokio::time::sleep(config.look_interval).await;
            continue;
        };
        let Some(source) = source(&cluster, hole.upto, &mut failed).await else {
            tokio::time::sleep(config.look_interval).await;
            continue;
        };
        tracing::info!(%source, from = hole.after, upto = hole.upto, "fetching changes that this copy lacks");
        if let Err(reason) = from(&cluster, &copy, &source, config.fetch_bytes_per_second).await {
            tracing::info!(%source, "fetching goes on elsewhere: {reason}");
            failed.insert(source);
            let brought = copy.hole() != Some(hole);
            pause = if brought { config.look_interval } else { (pause * 2).min(FAILED_PAUSE_MAX) };
            tokio::time::sleep(pause).await;
        } else {
            tracing::info!("this copy is complete");
            failed.clear();
            pause = config.look_interval;
        }
    }
}

/// A copy that has everything: one from which fetching has failed, or the leader, only when there is no other.
async fn source(cluster: &Cluster, upto: u64, failed: &mut BTreeSet<NodeId>) -> Option<NodeId> {
    let view = cluster.watch().borrow().clone();
    let leader = view.leader.as_ref().map(|leader| &leader.node_id);
    let others = view.members.iter().filter(|member| {
        member.node_id != view.node_id && member.role != MemberRole::Witness && member.state == MemberState::Alive
    });
    for node in in_turn(others.map(|member| &member.node_id).collect(), leader, failed) {
        let fits = |report: Report| report.is_complete() && report.position.epoch >= upto;
        if report(cluster, node).await.is_some_and(fits) {
            return Some(node.clone());
        }
    }
    None
}

/// The order in which copies are asked. Once fetching has failed from all, none counts as failed any more.
fn in_turn<'a>(mut nodes: Vec<&'a NodeId>, leader: Option<&NodeId>, failed: &mut BTreeSet<NodeId>) -> Vec<&'a NodeId> {
    if nodes.iter().all(|node| failed.contains(*node)) {
        failed.clear();
    }
    nodes.sort_by_key(|node| (failed.contains(*node), Some(*node) == leader, *node));
    nodes
}

/// Fetches until nothing is missing.
async fn from(cluster: &Cluster, copy: &Copy, source: &NodeId, bytes_per_second: u64) -> Result<(), String> {
    let begun = Instant::now();
    let mut fetched = 0_u64;
    while let Some(hole) = copy.hole() {
        let after = (hole.after, hole.after_tie);
        let upto = (hole.upto, u64::MAX);
        let ask = Ask::Changes { after, upto, anew: hole.anew, limit: ITEMS_MAX, bytes_max: BYTES_MAX };
        let ask = encoding::encode(&ask).map_err(|error| error.to_string())?.into();
        let answer = cluster.ask_room(source, LANE, ROOM, ask, PAGE_PATIENCE).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let Ok(Told::Changes(page)) = encoding::decode(&answer) else {
            return Err("its answer cannot be read".to_owned());
        };
        match page {
            Page::Some { changes, last, floor } => {
                fetched += answer.len() as u64;
                let changes = decode(changes)?;
                let reached = changes.values().map(Kept::order).max().unwrap_or(after);
                if !last && reached <= after {
                    return Err("it sends nothing new".to_owned());
                }
                // What is forgotten there this copy does not know either, unless it was here to see it.
                let floor = if hole.anew { floor } else { (0, 0) };
                let filled = copy.fill(changes, reached, last, hole.upto, false, floor).await;
                filled.map_err(|error| error.to_string())?;
            }
            Page::Compacted(_) if !hole.anew => {
                tracing::warn!("this copy was away for so long that deletions are forgotten: it begins anew");
                let filled = copy.fill(BTreeMap::new(), (0, 0), false, hole.upto, true, (0, 0)).await;
                filled.map_err(|error| error.to_string())?;
            }
            Page::Compacted(_) => return Err("deletions are forgotten there".to_owned()),
            Page::NotYet => return Err("it has not stored that much itself yet".to_owned()),
            Page::Failed(reason) => return Err(reason),
        }
        let due = Duration::from_secs_f64(fetched as f64 / bytes_per_second.max(1) as f64);
        tokio::time::sleep_until(begun + due).await;
    }
    Ok(())
}

fn decode(changes: Vec<(bytes::Bytes, bytes::Bytes)>) -> Result<BTreeMap<Key, Kept>, String> {
    let mut decoded = BTreeMap::new();
    for (key, kept) in changes {
        let key = Key::from_bytes(key).map_err(|error| error.to_string())?;
        let kept = Kept::decode(&key, &kept).map_err(|_| format!("{key} arrived damaged"))?;
        decoded.insert(key, kept);
    }
    Ok(decoded)
}

/// Answers another copy that fetches.
pub(crate) fn page(copy: &Copy, after: Place, upto: Place, anew: bool, limit: u32, bytes_max: u32) -> Page {
    let state = match copy.state() {
        Ok(state) => state,
        Err(error) => return error.into(),
    };
    if state.hole.is_some() || state.position.epoch < upto.0 {
        copy.flush();
        return Page::NotYet;
    }
    if !anew && after < state.floor {
        return Page::Compacted(state.floor);
    }
    let (limit, bytes_max) = (limit.min(ITEMS_MAX) as usize, bytes_max.min(BYTES_MAX) as usize);
    match copy.stored_changes(after, upto, limit, bytes_max) {
        Ok(found) => {
            let bytes: usize = found.iter().map(|(key, kept)| kept.bytes(key)).sum();
            let last = found.len() < limit && bytes < bytes_max;
            let encoded = found.iter().map(|(key, kept)| (key.bytes().clone(), kept.encode(key).freeze()));
            // Read again: some may have been forgotten meanwhile.
            let floor = match copy.state() {
                Ok(state) => state.floor,
                Err(error) => return error.into(),
            };
            if !anew && after < floor {
                return Page::Compacted(floor);
            }
            Page::Some { changes: encoded.collect(), last, floor }
        }
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_from_which_fetching_failed_is_asked_last_until_it_has_failed_from_all() {
        let [a, b, c]: [NodeId; 3] = ["node-1", "node-2", "node-3"].map(|node| node.parse().unwrap());
        let mut failed = BTreeSet::new();
        let order = |failed: &mut BTreeSet<NodeId>| in_turn(vec![&c, &b, &a], Some(&a), failed);
        assert_eq!(order(&mut failed), [&b, &c, &a], "the leader last");
        failed.insert(b.clone());
        assert_eq!(order(&mut failed), [&c, &a, &b]);
        failed.insert(c.clone());
        assert_eq!(order(&mut failed), [&a, &b, &c]);
        failed.insert(a.clone());
        assert_eq!(order(&mut failed), [&b, &c, &a]);
        assert!(failed.is_empty(), "each is tried again");
    }
}
