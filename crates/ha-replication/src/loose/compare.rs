//! Compares this copy with others, now and then, so that whatever a push missed arrives.
//!
//! Sums of groups of buckets are compared first, then those of the buckets of groups that differ, then the versions in
//! buckets that differ; then each side gets what the other has newer.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_cluster::{Cluster, Lane, NodeId, encoding};
use tokio::time::Instant;

use super::push::{others, send};
use super::{LooseCopy, Seat, loose};
use crate::gate::ROOM;
use crate::message::{Ask, Loose, Slot, Told};
use crate::store::{BUCKETS, GROUP};
use crate::{Config, Version};

const LANE: Lane = Lane::Bulk(2);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a copy compares itself that has not been compared since it began.
const HURRY: Duration = Duration::from_millis(200);
/// How long a comparison is put off, at most, while changes are under way that it would carry a second time.
const PUT_OFF_MAX: Duration = Duration::from_secs(60);
/// Buckets whose slots are asked for at once.
pub(super) const BUCKETS_AT_ONCE: usize = 64;
/// Records that are asked for, or sent, at once.
const RECORDS_AT_ONCE: usize = 64;
/// Records of a bucket that are named at most.
const SLOTS_MAX: usize = 100_000;

/// Compares with each other copy once in an interval. Ends when dropped.
pub(crate) async fn run(cluster: Cluster, copy: LooseCopy, seat: Option<Seat>, config: Config) {
    if let Some(seat) = &seat {
        seat.look().await;
    }
    let mut compared_at = Instant::now();
    loop {
        // A copy that cannot answer for anything yet is in a hurry.
        let is_loaded = copy.copy().state().is_ok_and(|state| state.loaded);
        let hurries = (config.is_leaderless_quorum() && !is_loaded) || copy.lost().is_some() || !copy.knows_its_time();
        let interval = if hurries { config.sync_interval.min(HURRY) } else { config.sync_interval };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = called(seat.as_ref()) => {}
        }
        let can_wait = !hurries && can_wait(&copy, seat.as_ref(), &config);
        if can_wait && copy.is_in_flow() && compared_at.elapsed() < PUT_OFF_MAX {
            continue;
        }
        let others = others(&cluster);
        copy.retain_told(&others.iter().map(|(node, _)| node.clone()).collect::<Vec<_>>());
        let alive: Vec<NodeId> = others.into_iter().filter_map(|(node, alive)| alive.then_some(node)).collect();
        if let Err(error) = copy.restamp_if_due().await {
            tracing::warn!("what was stamped with the wrong time cannot be stamped again yet: {error}");
            continue;
        }
        // Before it begins anew, which would remove that too.
        if let (Some(seat), Some(_)) = (&seat, copy.lost()) {
            let master = copy.copy().memory().agreed().master.as_ref().map(|master| master.node.clone());
            // Where the master is gone too, whoever followed it knows what it had.
            let master = master.filter(|master| alive.contains(master)).or_else(|| alive.first().cloned());
            let Some(master) = master else { continue };
            if let Err(reason) = super::rewind::run(&cluster, &copy, seat, &master).await {
                tracing::info!("what this node had alone is not set aside yet: {reason}");
                continue;
            }
        }
        match copy.begin_anew_if_told().await {
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("this copy cannot begin anew yet: {error}");
                continue;
            }
        }
        // A new master first holds what the others hold.
        let takes_over = seat.as_ref().and_then(|seat| seat.takes_over(&copy));
        let mut compared = 0;
        for node in &alive {
            match with(&cluster, &copy, node).await {
                Ok(()) => compared += 1,
                Err(reason) => tracing::debug!(%node, "not compared: {reason}"),
            }
        }
        if let (Some(seat), Some(epoch)) = (&seat, takes_over) {
            seat.begin(epoch, compared == alive.len());
        }
        let is_all = compared > 0 && compared == alive.len();
        if is_all {
            compared_at = Instant::now();
        }
        if (is_all || config.is_leaderless_quorum())
            && let Err(error) = copy.compared_with_all().await
        {
            tracing::warn!("it cannot be remembered that this copy is complete: {error}");
        }
    }
}

/// Whether nothing depends on the next comparison.
fn can_wait(copy: &LooseCopy, seat: Option<&Seat>, config: &Config) -> bool {
    let is_loaded = copy.copy().state().is_ok_and(|state| state.loaded);
    let takes_over = seat.is_some_and(|seat| seat.takes_over(copy).is_some());
    is_loaded && !takes_over && copy.ahead().of_most().is_none() && !config.is_leaderless_quorum()
}

/// Waits until somebody wants a comparison now.
async fn called(seat: Option<&Seat>) {
    match seat {
        Some(seat) => seat.called().await,
        None => std::future::pending().await,
    }
}

/// Compares with one copy. When this succeeds, this copy holds everything that the other one had before.
async fn with(cluster: &Cluster, copy: &LooseCopy, node: &NodeId) -> Result<(), String> {
    let (stamp, epoch) = (copy.stamp(), copy.epoch());
    let mut all_came = true;
    for chunk in differing(cluster, copy, node, stamp).await?.chunks(BUCKETS_AT_ONCE) {
        for (bucket, theirs) in chunk.iter().zip(slots_of(cluster, node, chunk).await?) {
            all_came &= bucket_with(cluster, copy, node, *bucket, theirs, epoch).await?;
        }
    }
    if all_came {
        copy.saw(node, stamp, epoch);
        Ok(())
    } else {
        Err("some changes were turned away".to_owned())
    }
}

/// What another copy has in these buckets.
pub(super) async fn slots_of(cluster: &Cluster, node: &NodeId, buckets: &[u16]) -> Result<Vec<Vec<Slot>>, String> {
    match ask(cluster, node, &Ask::Slots { buckets: buckets.to_vec() }).await? {
        Told::Slots(slots) if slots.len() == buckets.len() => Ok(slots),
        _ => Err("its slots cannot be read".to_owned()),
    }
}

/// The buckets in which this copy and another one differ.
pub(super) async fn differing(
    cluster: &Cluster,
    copy: &LooseCopy,
    node: &NodeId,
    stamp: u64,
) -> Result<Vec<u16>, String> {
    let epoch = copy.epoch();
    copy.copy().settle().await;
    let theirs = match ask(cluster, node, &Ask::Groups { stamp, epoch }).await? {
        Told::Sums(sums) => sums.into_iter().next().unwrap_or_default(),
        Told::Ahead(milliseconds) => {
            copy.told_ahead(node, stamp, milliseconds);
            return Err(format!("the time here is {milliseconds} ms ahead of its own"));
        }
        _ => return Err("its sums cannot be read".to_owned()),
    };
    copy.told_ahead(node, stamp, 0);
    let ours = copy.copy().store().group_sums();
    if theirs.len() != ours.len() {
        return Err("it has other groups".to_owned());
    }
    let differ = (0..BUCKETS / GROUP).filter(|group| ours[*group] != theirs[*group]);
    let groups: Vec<u8> = differ.filter_map(|group| u8::try_from(group).ok()).collect();
    let mut buckets = Vec::new();
    if !groups.is_empty() {
        let Told::Sums(theirs) = ask(cluster, node, &Ask::Buckets { groups: groups.clone() }).await? else {
            return Err("its sums cannot be read".to_owned());
        };
        for (group, theirs) in groups.iter().zip(theirs) {
            let ours = copy.copy().store().bucket_sums(*group);
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                if *ours != theirs {
                    buckets.push((usize::from(*group) * GROUP + at) as u16);
                }
            }
        }
    }
    Ok(buckets)
}

/// Makes one bucket equal; false when this copy turned something away.
async fn bucket_with(
    cluster: &Cluster,
    copy: &LooseCopy,
    node: &NodeId,
    bucket: u16,
    theirs: Vec<Slot>,
    epoch: u64,
) -> Result<bool, String> {
    let ours = copy.copy().store().slots(bucket).map_err(|error| error.to_string())?;
    let ours: BTreeMap<u64, Version> = ours.into_iter().collect();
    let theirs: BTreeMap<u64, Version> =
        theirs.into_iter().map(|(name, time, tie)| (name, Version { time, tie })).collect();
    // Where siblings are kept, neither of two states need be the newer one.
    let (joins, now) = (copy.keeps_siblings(), copy.now_ms());
    let newer = |held: &Version, other: &Version| if joins { held != other } else { copy.gives_way(held, other, now) };
    let newer_there = |name: &u64, version: &Version| ours.get(name).is_none_or(|ours| newer(ours, version));
    let missing: Vec<u64> =
        theirs.iter().filter(|(name, version)| newer_there(name, version)).map(|(name, _)| *name).collect();
    let newer_here = |name: &u64, version: &Version| theirs.get(name).is_none_or(|theirs| newer(theirs, version));
    let given: Vec<u64> =
        ours.iter().filter(|(name, version)| newer_here(name, version)).map(|(name, _)| *name).collect();
    let mut all_came = true;
    for names in missing.chunks(RECORDS_AT_ONCE) {
        let Told::Wanted(changes) = ask(cluster, node, &Ask::Wanted { bucket, names: names.to_vec() }).await? else {
            return Err("its records cannot be read".to_owned());
        };
        if let Err(reason) = copy.merge(changes) {
            tracing::warn!(%node, "a change was turned away: {reason}");
            all_came = false;
        }
    }
    for names in given.chunks(RECORDS_AT_ONCE) {
        let changes = wanted(copy, bucket, names)?;
        if !send(cluster, node, changes, epoch, copy.left_for(node).0).await {
            return Err("it did not take what is newer here".to_owned());
        }
    }
    Ok(all_came)
}

pub(super) async fn ask(cluster: &Cluster, node: &NodeId, ask: &Ask) -> Result<Told, String> {
    let ask = encoding::encode(ask).map_err(|error| error.to_string())?;
    let answer = cluster.ask_room(node, LANE, ROOM, ask.into(), PATIENCE).await;
    encoding::decode(&answer.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
}

/// Answers [`Ask::Groups`]: everything that was taken here before is in the sums.
pub(crate) async fn groups(copy: &LooseCopy, from: &NodeId, stamp: u64, epoch: u64) -> Result<Told, String> {
    copy.is_of(epoch)?;
    if let Err(milliseconds) = copy.hears_time(from, stamp) {
        return Ok(Told::Ahead(milliseconds));
    }
    copy.copy().settle().await;
    Ok(Told::Sums(vec![copy.copy().store().group_sums()]))
}

/// Answers [`Ask::Buckets`].
pub(crate) fn buckets(copy: &LooseCopy, groups: Vec<u8>) -> Vec<Vec<u64>> {
    let groups = groups.into_iter().take(BUCKETS / GROUP);
    groups.map(|group| copy.copy().store().bucket_sums(group)).collect()
}

/// Answers [`Ask::Slots`].
pub(crate) fn slots(copy: &LooseCopy, buckets: Vec<u16>) -> Result<Vec<Vec<Slot>>, String> {
    let slots = |bucket| {
        let slots = copy.copy().store().slots(bucket).map_err(|error| error.to_string())?;
        let named = slots.into_iter().take(SLOTS_MAX);
        Ok(named.map(|(name, version)| (name, version.time, version.tie)).collect())
    };
    buckets.into_iter().take(BUCKETS_AT_ONCE).map(slots).collect()
}

/// Answers [`Ask::Wanted`]: records of a bucket by their names.
pub(crate) fn wanted(copy: &LooseCopy, bucket: u16, names: &[u64]) -> Result<Vec<Loose>, String> {
    let names = &names[..names.len().min(RECORDS_AT_ONCE)];
    let keys = copy.copy().store().keys(bucket, names).map_err(|error| error.to_string())?;
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let kept = copy.copy().get(&key).map_err(|error| error.to_string())?;
        found.extend(kept.map(|kept| loose(key, kept)));
    }
    Ok(found)
}
