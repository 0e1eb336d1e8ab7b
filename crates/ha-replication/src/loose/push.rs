//! Pushes the changes that were made here to the other copies, as soon as they are made.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_cluster::{Cluster, Lane, MemberRole, MemberState, NodeId, encoding};
use tokio_util::task::AbortOnDropHandle;

use super::cursors::LAG_MAX;
use super::{LooseCopy, loose};
use crate::copy::Changes;
use crate::gate::ROOM;
use crate::message::{Ask, Loose, Told};
use crate::record::Kept;
use crate::{Config, Key};

/// Beside what the log sends.
const LANE: Lane = Lane::Bulk(3);
/// Pushes that are under way to one copy at once.
const PUSHES_MAX: usize = 16;
/// Bytes in all of them, about.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long a push may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a master that has nothing to push says so.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// How often a copy notices that it runs, and sees the master.
const BEAT: Duration = Duration::from_millis(200);
/// Pause before a push that did not arrive is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause before one that was turned away is.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

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
        let seen = others(&cluster);
        copy.beat(&seen);
        let others: Vec<NodeId> = seen.into_iter().map(|(node, _)| node).collect();
        tasks.retain(|node, _| others.contains(node));
        copy.inner.cursors.retain(&others);
        for node in others {
            let task = || tokio::spawn(to(cluster.clone(), copy.clone(), config.clone(), node.clone()));
            tasks.entry(node.clone()).or_insert_with(|| AbortOnDropHandle::new(task()));
        }
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(BEAT), if config.has_loose_master() => {}
        }
    }
}

/// Pushes to one copy what is made from now on; what was made before is found by comparing.
async fn to(cluster: Cluster, copy: LooseCopy, config: Config, node: NodeId) {
    let mut applied = copy.copy().applied();
    let mut after = (copy.copy().memory().place(), u64::MAX);
    copy.inner.cursors.begin(&node, after.0);
    loop {
        applied.borrow_and_update();
        // Known before anything is looked up: whoever knows a later master takes nothing of this.
        let epoch = copy.epoch();
        if copy.lost().is_some() {
            // What was made here until now is set aside.
            tokio::time::sleep(PAUSE).await;
            after = (copy.copy().memory().place(), u64::MAX);
            continue;
        }
        let found = match copy.copy().changes(after, (0, 0), PUSHES_MAX * config.batch_items_max, BYTES_MAX) {
            Ok(Changes::Found(found)) => found,
            Ok(Changes::Compacted(floor)) => {
                after = floor;
                continue;
            }
            Ok(Changes::Incomplete) | Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(last) = found.last().map(|(_, kept)| kept.order()) else {
            copy.inner.cursors.caught_up(&node);
            tokio::select! {
                changed = applied.changed() => if changed.is_err() { return },
                // A copy that hears nothing does not know how far behind it is.
                () = tokio::time::sleep(TELL_INTERVAL), if config.has_loose_master() => {
                    push(&cluster, &node, Vec::new(), epoch, 0).await;
                }
            }
            continue;
        };
        let pushed = push_own(&cluster, &copy, &node, &found, after.0, epoch, config.batch_items_max).await;
        match pushed {
            None => copy.inner.cursors.passed(&node, last.0),
            Some(Pushed::Taken) => {
                copy.inner.cursors.took(&node, last.0);
                if copy.left_for(&node).1.is_none_or(|since| since.elapsed() < LAG_MAX) {
                    copy.inner.cursors.caught_up(&node);
                }
            }
            // What was made here later has a later stamp: it would be turned away too, so that nothing waits in vain.
            Some(Pushed::TurnedAway) => {
                copy.inner.cursors.lost(&node);
                tokio::time::sleep(REFUSED_PAUSE).await;
                continue;
            }
            Some(Pushed::Lost) => {
                copy.inner.cursors.lost(&node);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        after = last;
    }
}

/// Pushes what was made here of the changes above a place, several batches at once; `None` when nothing was.
async fn push_own(
    cluster: &Cluster,
    copy: &LooseCopy,
    node: &NodeId,
    found: &[(Key, Kept)],
    after: u64,
    epoch: u64,
    items_max: usize,
) -> Option<Pushed> {
    let (tie, upto) = (copy.tie(), found.last()?.1.place);
    let of_these = copy.above(after).saturating_sub(copy.above(upto));
    let mut batches: Vec<Vec<Loose>> = Vec::new();
    for changes in found.chunks(items_max) {
        let own = changes.iter().filter(|(_, kept)| kept.version.tie == tie);
        batches.push(own.map(|(key, kept)| loose(key.clone(), kept.clone())).collect());
    }
    batches.retain(|batch| !batch.is_empty());
    let last = batches.pop()?;
    let crossing = batches.into_iter().map(|changes| {
        // Whichever comes last must not say that less is left than there is.
        let left = (copy.above(upto) + of_these).saturating_sub(changes.len() as u64);
        push(cluster, node, changes, epoch, left)
    });
    match futures::future::join_all(crossing).await.into_iter().max() {
        Some(pushed @ (Pushed::TurnedAway | Pushed::Lost)) => Some(pushed),
        // Now that all others have arrived, this one says how much is left after it.
        Some(Pushed::Taken) | None => Some(push(cluster, node, last, epoch, copy.above(upto)).await),
    }
}

/// What became of a push; of several, the last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pushed {
    /// That copy has all of it, or has something later.
    Taken,
    /// It refused some of it, and has the rest.
    TurnedAway,
    /// Nobody knows.
    Lost,
}

/// Sends changes to a copy; false when they did not arrive. What that copy turns away for its stamp is left to a later
/// comparison, so that nothing else waits behind it.
pub(super) async fn send(cluster: &Cluster, node: &NodeId, changes: Vec<Loose>, epoch: u64, left: u64) -> bool {
    push(cluster, node, changes, epoch, left).await != Pushed::Lost
}

async fn push(cluster: &Cluster, node: &NodeId, changes: Vec<Loose>, epoch: u64, left: u64) -> Pushed {
    let mut pushed = Pushed::Taken;
    for ask in asks(changes, epoch, left) {
        let answer = cluster.ask_room(node, LANE, ROOM, ask.into(), PATIENCE).await;
        match answer.map(|answer| encoding::decode(&answer)) {
            Ok(Ok(Told::Done(Ok(())))) => {}
            Ok(Ok(Told::Done(Err(reason)))) => {
                tracing::warn!(%node, "a change was turned away: {reason}");
                pushed = Pushed::TurnedAway;
            }
            _ => return Pushed::Lost,
        }
    }
    pushed
}

/// Changes as messages that are not too long.
fn asks(changes: Vec<Loose>, epoch: u64, left: u64) -> Vec<Vec<u8>> {
    let (mut asks, mut waiting) = (Vec::new(), vec![(changes, left)]);
    while let Some((changes, left)) = waiting.pop() {
        let ask = Ask::Push { changes, epoch, left };
        let encoded = encoding::encode(&ask).ok().filter(|encoded| encoded.len() <= LANE.body_bytes_max());
        match (encoded, ask) {
            (Some(encoded), _) => asks.push(encoded),
            (None, Ask::Push { mut changes, .. }) if changes.len() > 1 => {
                let rest = changes.split_off(changes.len() / 2);
                let left_then = left + rest.len() as u64;
                waiting.push((rest, left));
                waiting.push((changes, left_then));
            }
            (None, Ask::Push { changes, .. }) => {
                for Loose { key, .. } in changes {
                    tracing::error!(%key, "this record is too long to be sent to another copy");
                }
            }
            (None, _) => {}
        }
    }
    asks
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_is_too_long_for_one_message_goes_in_several_and_each_says_what_is_left() {
        let data = Bytes::from(vec![7; crate::DATA_BYTES_MAX]);
        let change = |n: u64| Loose {
            key: crate::Key::new("t", &n.to_string()).unwrap(),
            time: n,
            tie: 1,
            data: Some(data.clone()),
            past: Bytes::new(),
        };
        let (mut next, mut lefts) = (0, Vec::new());
        for ask in asks((0..20).map(change).collect(), 3, 5) {
            assert!(ask.len() <= LANE.body_bytes_max());
            let Ok(Ask::Push { changes, epoch: 3, left }) = encoding::decode(&ask) else { panic!("no push") };
            assert!(changes.iter().map(|change| change.time).eq(next..next + changes.len() as u64), "in their order");
            next += changes.len() as u64;
            lefts.push(left);
            assert_eq!(next + left, 25);
        }
        assert_eq!((next, lefts.last()), (20, Some(&5)));
        assert_eq!(asks(Vec::new(), 3, 0).len(), 1, "to say that there is nothing");
    }
}
