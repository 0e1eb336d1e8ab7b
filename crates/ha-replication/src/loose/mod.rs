//! Records without a leader: each copy takes changes by itself, stamps them, and tells the others.
//!
//! The change with the later stamp wins, on every copy. Changes are pushed as soon as they are made; whatever a push
//! missed is found by comparing copies, now and then.

mod clock;
mod compare;
mod push;
mod wall;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ha_cluster::NodeId;
use tokio::time::Instant;

use crate::copy::Copy;
use crate::message::Loose;
use crate::store::bucket_of;
use crate::{Change, Key, ReplicateError, StoreError, Version};
#[cfg(feature = "testing")]
pub(crate) use clock::Clock as FuzzedClock;
use clock::{Clock, TooFarAhead};
pub(crate) use compare::{buckets, groups, run as compare, slots, wanted};
pub(crate) use push::run as push;
pub use wall::{SystemWall, Wall};

/// Changes of this copy that no leader orders. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LooseCopy {
    inner: Arc<Inner>,
}

struct Inner {
    copy: Copy,
    node: NodeId,
    async_writes: bool,
    /// Held while a change is compared with what is here and put there, so that two never cross.
    clock: Mutex<Clock>,
    wall: Mutex<wall::Reckoning>,
    /// When this copy last held everything that another one had, by its own stamps.
    seen: Mutex<std::collections::BTreeMap<NodeId, u64>>,
    report: Mutex<Report>,
}

/// What was done to changes that met here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Changes of other nodes that were later than what was here, and took its place.
    pub overwritten: u64,
    /// Changes of other nodes that were earlier than what is here.
    pub outdated: u64,
    /// Changes with a stamp too far ahead of this node's time, which were turned away.
    pub quarantined: u64,
    /// Changes from before the horizon, which would have brought back what was deleted.
    pub buried: u64,
}

impl LooseCopy {
    pub(crate) fn new(copy: Copy, node: NodeId, async_writes: bool, wall: Arc<dyn Wall>) -> Result<Self, StoreError> {
        let last = copy.state()?.stamp;
        let inner = Inner {
            clock: Mutex::new(Clock::new(&node, last)),
            wall: Mutex::new(wall::Reckoning::new(wall, Instant::now())),
            copy,
            node,
            async_writes,
            seen: Mutex::default(),
            report: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn copy(&self) -> &Copy {
        &self.inner.copy
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.inner.wall.lock().unwrap_or_else(PoisonError::into_inner).milliseconds(Instant::now())
    }

    fn counts(&self) -> MutexGuard<'_, Report> {
        self.inner.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done so far to changes that met here.
    pub(crate) fn report(&self) -> Report {
        *self.counts()
    }

    /// What marks the changes that were made here.
    fn tie(&self) -> u64 {
        self.clock().tie()
    }

    /// A stamp later than all that was given or seen here.
    fn stamp(&self) -> u64 {
        let now = self.now_ms();
        self.clock().stamp(now).time
    }

    /// Makes a change here; returns its version, and the nodes whose disk has it.
    pub(crate) async fn write(&self, change: Change) -> Result<(Version, BTreeSet<NodeId>), ReplicateError> {
        let now = self.now_ms();
        let (version, place) = {
            let mut clock = self.clock();
            let version = clock.stamp(now);
            let place = self.inner.copy.change(|memory| {
                memory.put_next(change.key, version, change.data);
                memory.advance_loose();
                memory.place()
            });
            (version, place)
        };
        self.inner.copy.tell();
        if self.inner.async_writes {
            return Ok((version, BTreeSet::new()));
        }
        self.inner.copy.until_stored(place).await;
        Ok((version, BTreeSet::from([self.inner.node.clone()])))
    }

    /// Takes changes that were made elsewhere.
    pub(crate) fn merge(&self, changes: Vec<Loose>) -> Result<(), String> {
        let now = self.now_ms();
        let horizon = self.inner.copy.memory().agreed().horizon;
        let is_loaded = self.inner.copy.state().is_ok_and(|state| state.loaded);
        let mut refused = None;
        for Loose { key, time, tie, data } in changes {
            let version = Version { time, tie };
            if !key.is_valid() || !version.is_stamp() {
                return Err("that is no change of a record".to_owned());
            }
            let mut clock = self.clock();
            if let Err(TooFarAhead { milliseconds }) = clock.see(time, now) {
                self.counts().quarantined += 1;
                refused = Some(format!("{key} has a stamp {milliseconds} ms ahead of the time here: check the clocks"));
                continue;
            }
            let held = self.inner.copy.get(&key).map_err(|error| error.to_string())?;
            match &held {
                Some(held) if held.version >= version => {
                    self.counts().outdated += u64::from(held.version != version);
                    continue;
                }
                None if time < horizon && is_loaded => {
                    // Everybody had seen it, and its grave was dug up since: it must not come back.
                    self.counts().buried += 1;
                    continue;
                }
                Some(_) => self.counts().overwritten += 1,
                None => {}
            }
            self.inner.copy.change(|memory| {
                memory.put_next(key, version, data);
                memory.advance_loose();
            });
        }
        self.inner.copy.tell();
        refused.map_or(Ok(()), Err)
    }

    /// This copy holds everything that another one had when it was at this stamp.
    fn saw(&self, node: &NodeId, stamp: u64) {
        let mut seen = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.entry(node.clone()).or_default();
        *known = stamp.max(*known);
    }

    /// The stamp below which this copy holds everything that any of these had.
    pub(crate) fn seen_below(&self, others: impl Iterator<Item = NodeId>) -> u64 {
        let seen = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
        others.map(|node| seen.get(&node).copied().unwrap_or(0)).min().unwrap_or(u64::MAX)
    }

    /// This copy was compared with all the others that are alive.
    pub(crate) async fn compared_with_all(&self) -> Result<(), StoreError> {
        if self.inner.copy.state()?.loaded { Ok(()) } else { self.inner.copy.loaded().await }
    }

    /// Begins anew when the horizon has passed this copy while it was away. True when it did.
    pub(crate) async fn begin_anew_if_told(&self) -> Result<bool, StoreError> {
        let told = self.inner.copy.memory().agreed().resets.get(&self.inner.node).copied().unwrap_or(0);
        if told <= self.inner.copy.state()?.began_at {
            return Ok(false);
        }
        tracing::warn!(
            "this copy was away for longer than deletions are remembered: its records are removed and loaded anew"
        );
        self.inner.copy.wipe(told).await?;
        Ok(true)
    }
}

/// A record as it is sent.
pub(crate) fn loose(key: Key, kept: crate::record::Kept) -> Loose {
    Loose { key, time: kept.version.time, tie: kept.version.tie, data: kept.data }
}

/// Used where a bucket is named by a peer.
pub(crate) fn is_in(key: &Key, bucket: u16) -> bool {
    bucket_of(key) == bucket
}
