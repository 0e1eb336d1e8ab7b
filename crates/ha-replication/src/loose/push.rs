//! Pushes the changes that were made here to the other copies, as soon as they are made.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_cluster::{Cluster, Lane, MemberRole, MemberState, NodeId, encoding};
use tokio_util::task::AbortOnDropHandle;

use super::{LooseCopy, loose};
use crate::Config;
use crate::copy::Changes;
use crate::gate::ROOM;
use crate::message::{Ask, Loose, Told};

/// Beside what the log sends.
const LANE: Lane = Lane::Bulk(3);
/// Bytes after which a push takes no further change.
const BYTES_MAX: usize = 512 * 1024;
/// How long a push may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a master that has nothing to push says so.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// Pushes to one copy that may follow one another without a pause for others.
const PAUSE: Duration = Duration::from_millis(100);

/// The other copies, by id, those that do not answer too.
pub(super) fn others(cluster: &Cluster) -> Vec<(NodeId, bool)> {
    let view = cluster.watch().borrow().clone();
    let copies =
        view.members.iter().filter(|member| member.node_id != view.node_id && member.role != MemberRole::Witness);
    copies.map(|member| (member.node_id.clone(), member.state == MemberState::Alive)).collect()
}

/// Keeps a task per other copy. Ends when dropped.
pub(crate) async fn run(cluster: Cluster, copy: LooseCopy, config: Config) {
    let mut tasks: BTreeMap<NodeId, AbortOnDropHandle<()>> = BTreeMap::new();
    let mut view = cluster.watch();
    loop {
        let others: Vec<NodeId> = others(&cluster).into_iter().map(|(node, _)| node).collect();
        tasks.retain(|node, _| others.contains(node));
        for node in others {
            let task = || tokio::spawn(to(cluster.clone(), copy.clone(), config.clone(), node.clone()));
            tasks.entry(node.clone()).or_insert_with(|| AbortOnDropHandle::new(task()));
        }
        if view.changed().await.is_err() {
            return;
        }
    }
}

/// Pushes to one copy. What was made before this began, or is missed while that copy does not answer, is found by
/// comparing.
async fn to(cluster: Cluster, copy: LooseCopy, config: Config, node: NodeId) {
    let own = copy.tie();
    let mut applied = copy.copy().applied();
    let mut after = (copy.copy().memory().place(), 0);
    copy.cursors().insert(node.clone(), after.0);
    loop {
        applied.borrow_and_update();
        // Known before anything is looked up: whoever knows a later master takes nothing of this.
        let epoch = copy.epoch();
        if copy.lost().is_some() {
            // What was made here until now is set aside.
            tokio::time::sleep(PAUSE).await;
            after = (copy.copy().memory().place(), 0);
            continue;
        }
        let found = match copy.copy().changes(after, config.batch_items_max, BYTES_MAX) {
            Ok(Changes::Found(found)) => found,
            Ok(Changes::Compacted(floor)) => {
                after = floor;
                continue;
            }
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(last) = found.last().map(|(_, kept)| kept.order()) else {
            tokio::select! {
                changed = applied.changed() => if changed.is_err() { return },
                // A copy that hears nothing does not know how far behind it is.
                () = tokio::time::sleep(TELL_INTERVAL), if config.has_loose_master() => {
                    send(&cluster, &node, Vec::new(), epoch, 0).await;
                }
            }
            continue;
        };
        let own = found.into_iter().filter(|(_, kept)| kept.version.tie == own);
        let changes: Vec<_> = own.map(|(key, kept)| loose(key, kept)).collect();
        let left = copy.above(last.0);
        if !changes.is_empty() && !send(&cluster, &node, changes, epoch, left).await {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        after = last;
        copy.cursors().insert(node.clone(), after.0);
    }
}

/// Sends changes to a copy; false when they should be sent again. What that copy turns away for its stamp is left to a
/// later comparison, so that nothing else waits behind it.
pub(super) async fn send(cluster: &Cluster, node: &NodeId, changes: Vec<Loose>, epoch: u64, left: u64) -> bool {
    let Ok(ask) = encoding::encode(&Ask::Push { changes, epoch, left }) else { return true };
    let answer = cluster.ask_room(node, LANE, ROOM, ask.into(), PATIENCE).await;
    match answer.map(|answer| encoding::decode(&answer)) {
        Ok(Ok(Told::Done(Ok(())))) => true,
        Ok(Ok(Told::Done(Err(reason)))) => {
            tracing::warn!(%node, "a change was turned away: {reason}");
            true
        }
        _ => false,
    }
}
