//! A master that another one replaced, and what it had alone: set aside in a file, then taken back.

use std::collections::BTreeMap;

use bytes::Bytes;
use ha_cluster::{Cluster, NodeId};

use super::compare::{ask, differing, slots_of};
use super::{LooseCopy, Seat};
use crate::message::{Ask, Loose, Told};
use crate::record::Kept;
use crate::store::name_of;
use crate::{Key, Version};

/// Records that are asked for at once.
const RECORDS_AT_ONCE: usize = 64;

/// Sets aside what this copy had alone when `master` took over, and takes from `master` what it has instead. Does what
/// is left when it was cut short before.
pub(super) async fn run(cluster: &Cluster, copy: &LooseCopy, seat: &Seat, master: &NodeId) -> Result<(), String> {
    let Some(lost) = copy.lost() else { return Ok(()) };
    let own = copy.tie();
    let (mut records, stamp) = (0, copy.stamp());
    for bucket in differing(cluster, copy, master, stamp).await? {
        let theirs = slots_of(cluster, master, &[bucket]).await?.pop().unwrap_or_default();
        let theirs: BTreeMap<u64, Version> =
            theirs.into_iter().map(|(name, time, tie)| (name, Version { time, tie })).collect();
        let ours = copy.copy().store().slots(bucket).map_err(|error| error.to_string())?;
        // By their names, which is how the master is asked for what it has.
        let mut alone: BTreeMap<u64, (Key, Kept)> = BTreeMap::new();
        let is_alone = |name: &u64, version: &Version| {
            version.tie == own && version.time > lost.seen && theirs.get(name) != Some(version)
        };
        let names: Vec<u64> =
            ours.into_iter().filter(|(name, version)| is_alone(name, version)).map(|(name, _)| name).collect();
        for key in copy.copy().store().keys(bucket, &names).map_err(|error| error.to_string())? {
            let (name, kept) = (name_of(&key), copy.copy().get(&key).map_err(|error| error.to_string())?);
            alone.extend(kept.filter(|kept| is_alone(&name, &kept.version)).map(|kept| (name, (key, kept))));
        }
        if alone.is_empty() {
            continue;
        }
        let changes: Vec<(Key, Version, Option<Bytes>)> =
            alone.values().map(|(key, kept)| (key.clone(), kept.version, kept.data.clone())).collect();
        seat.tails.add(lost.epoch, &changes).await.map_err(|error| format!("it cannot be set aside: {error}"))?;
        records += changes.len();
        let names: Vec<u64> = alone.keys().copied().filter(|name| theirs.contains_key(name)).collect();
        for names in names.chunks(RECORDS_AT_ONCE) {
            let Told::Wanted(found) = ask(cluster, master, &Ask::Wanted { bucket, names: names.to_vec() }).await?
            else {
                return Err("its records cannot be read".to_owned());
            };
            for Loose { key, time, tie, data, past } in found {
                let name = name_of(&key);
                if alone.get(&name).is_some_and(|(ours, _)| *ours == key)
                    && let Some((_, ours)) = alone.remove(&name)
                {
                    let kept = Kept { version: Version { time, tie }, place: 0, data, past };
                    copy.put_back(key, ours.version, kept).map_err(|error| error.to_string())?;
                }
            }
        }
        // What the master has nothing of: a grave that any other change is later than.
        for (key, ours) in alone.into_values().filter(|(key, _)| !theirs.contains_key(&name_of(key))) {
            let grave = Kept { version: Version { time: 1, tie: own }, place: 0, data: None, past: Bytes::new() };
            copy.put_back(key, ours.version, grave).map_err(|error| error.to_string())?;
        }
    }
    copy.copy().settle().await;
    copy.copy().rewound(lost.epoch).await.map_err(|error| error.to_string())?;
    copy.forget_cursor();
    seat.look().await;
    if records > 0 {
        tracing::warn!(
            records, epoch = lost.epoch, %master,
            "what this node had alone when another one took over is set aside: ha replication tails"
        );
    }
    Ok(())
}
