//! Records without a leader: each copy takes changes by itself, stamps them, and tells the others.
//!
//! The change with the later stamp wins, on every copy. Changes are pushed as soon as they are made; whatever a push
//! missed is found by comparing copies, now and then.

mod ahead;
mod behind;
mod clock;
mod compare;
mod cursors;
mod master;
mod push;
mod restamp;
mod rewind;
mod runs;
mod seat;
mod seen;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod wall;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ha_cluster::NodeId;
use tokio::time::Instant;

use crate::copy::Copy;
use crate::message::{Loose, Report as CopyReport};
use crate::record::Kept;
use crate::{Alarm, Change, Config, Key, ReplicateError, StoreError, Version};
#[cfg(feature = "testing")]
pub(crate) use clock::Clock as FuzzedClock;
use clock::{Clock, TooFarAhead};
pub(crate) use compare::{buckets, groups, run as compare, slots, wanted};
pub(crate) use cursors::PASSED_ON_PATIENCE;
pub(crate) use master::{Lost, Master};
pub(crate) use push::run as push;
pub(crate) use seat::{Named, Seat};
pub use tail::{Applied as TailApplied, Tail};
#[cfg(feature = "testing")]
pub(crate) use tail::{fuzz_line, fuzzing_lines};
pub use wall::{SystemWall, Wall};

/// How long a stamp that was turned away is told of.
const ALARM_TIME: Duration = Duration::from_secs(60);

/// Copies of which one waits for changes for so long, or was told so recently that there are more, are not compared now.
const FLOW_TIME: Duration = Duration::from_millis(100);

/// How long a master's word of what this copy lacks is believed, in times of the silence after which a node counts as
/// failed: the master may be silent for one of them before it is missed.
const WORD_AGE_MAX: u32 = 4;

/// How long a write waits for the disk: less than a node that passed it on waits for an answer.
const STORE_PATIENCE: Duration = Duration::from_secs(3);

/// Changes of this copy that no leader orders. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LooseCopy {
    inner: Arc<Inner>,
}

struct Inner {
    copy: Copy,
    node: NodeId,
    async_writes: bool,
    /// Values that did not see each other are all kept.
    keeps_siblings: bool,
    /// One node takes writes at a time.
    has_master: bool,
    /// The changes that were made here.
    runs: Mutex<runs::Runs>,
    cursors: cursors::Cursors,
    /// How many changes the master has for this copy.
    behind: behind::Behind,
    /// When another copy pushed last that had more.
    pushed: Mutex<Option<Instant>>,
    /// Held while a change is compared with what is here and put there, so that two never cross.
    clock: Mutex<Clock>,
    wall: Mutex<wall::Reckoning>,
    /// When this copy last held everything that another one had, by its own stamps.
    seen: Mutex<BTreeMap<NodeId, seen::Seen>>,
    report: Mutex<Report>,
    /// Whether the others take what is stamped here.
    ahead: Mutex<ahead::Ahead>,
    /// Whether this copy takes what the others stamp.
    others_ahead: Mutex<ahead::Ahead>,
    /// When a stamp was turned away last, and how many milliseconds it was ahead.
    turned_away: Mutex<Option<(Instant, u64)>>,
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
    pub(crate) fn new(copy: Copy, node: NodeId, life: u64, config: &Config) -> Result<Self, StoreError> {
        let last = copy.state()?.stamp;
        // A life that lost its last stamps must not be taken for the one that gave them, where they stand for what was
        // seen.
        let life = if config.is_leaderless_quorum() { life } else { 0 };
        let inner = Inner {
            clock: Mutex::new(Clock::new(&node, life, last)),
            wall: Mutex::new(wall::Reckoning::new(config.wall.clone(), config.clock.clone())),
            copy,
            node,
            async_writes: config.async_writes,
            keeps_siblings: config.is_leaderless_quorum(),
            has_master: config.has_loose_master(),
            runs: Mutex::default(),
            cursors: cursors::Cursors::default(),
            behind: behind::Behind::new(WORD_AGE_MAX * config.sync_timeout),
            pushed: Mutex::default(),
            seen: Mutex::default(),
            report: Mutex::default(),
            ahead: Mutex::default(),
            others_ahead: Mutex::default(),
            turned_away: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn copy(&self) -> &Copy {
        &self.inner.copy
    }

    /// This node.
    pub(crate) fn node(&self) -> &NodeId {
        &self.inner.node
    }

    fn keeps_siblings(&self) -> bool {
        self.inner.keeps_siblings
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of day; no earlier than the horizon, which every copy has seen.
    fn now_ms(&self) -> u64 {
        self.wall_ms().max(clock::milliseconds(self.inner.copy.memory().agreed().horizon))
    }

    fn wall_ms(&self) -> u64 {
        self.inner.wall.lock().unwrap_or_else(PoisonError::into_inner).milliseconds()
    }

    fn counts(&self) -> MutexGuard<'_, Report> {
        self.inner.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done so far to changes that met here.
    pub(crate) fn report(&self) -> Report {
        *self.counts()
    }

    fn turn_away(&self, TooFarAhead { milliseconds }: TooFarAhead) {
        self.counts().quarantined += 1;
        let mut last = self.inner.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), milliseconds));
    }

    /// What somebody should look at.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let last = *self.inner.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, milliseconds)) = last.filter(|(at, _)| at.elapsed() < ALARM_TIME) {
            alarms.push(Alarm::Quarantined { milliseconds });
        }
        alarms.extend(self.wrong_time());
        // Whether it has jumped is seen when it is looked at.
        self.now_ms();
        if self.inner.wall.lock().unwrap_or_else(PoisonError::into_inner).has_jumped() {
            alarms.push(Alarm::TimeJumped);
        }
        alarms
    }

    /// What marks the changes that were made here.
    fn tie(&self) -> u64 {
        self.clock().tie()
    }

    /// A stamp later than all that was given or seen here.
    fn stamp(&self) -> u64 {
        self.version().time
    }

    /// A version later than all that was given or seen here.
    pub(crate) fn version(&self) -> Version {
        let (now, horizon) = (self.now_ms(), self.inner.copy.memory().agreed().horizon);
        let mut clock = self.clock();
        // What is earlier than the horizon would be taken for something that was deleted since.
        clock.raise(horizon);
        clock.stamp(now)
    }

    /// Takes note of a stamp of another node, or says that it cannot be.
    pub(crate) fn see(&self, time: u64) -> Result<(), String> {
        self.notes(time).map_err(|TooFarAhead { milliseconds }| {
            format!("a stamp is {milliseconds} ms ahead of the time here: check the clocks")
        })
    }

    fn notes(&self, time: u64) -> Result<(), TooFarAhead> {
        let now = self.now_ms();
        let seen = self.clock().see(time, now);
        seen.inspect_err(|ahead| self.turn_away(*ahead))
    }

    fn ahead(&self) -> MutexGuard<'_, ahead::Ahead> {
        self.inner.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others_ahead(&self) -> MutexGuard<'_, ahead::Ahead> {
        self.inner.others_ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That the time of this node is not that of most others. Where a majority is asked before a write, one that is behind
    /// is refused there.
    fn wrong_time(&self) -> Option<Alarm> {
        let alarm = self.ahead().of_most();
        alarm.or_else(|| self.others_ahead().behind_most().filter(|_| !self.inner.keeps_siblings))
    }

    /// Takes note of the present time of another node, or says by how many milliseconds it is too far ahead.
    fn hears_time(&self, node: &NodeId, stamp: u64) -> Result<(), u64> {
        // The horizon hides how far behind this machine is.
        let heard = self.notes(stamp).map_err(|_| clock::milliseconds(stamp).saturating_sub(self.wall_ms()));
        let milliseconds = heard.err().unwrap_or(0);
        self.others_ahead().tell(node, ahead::Told { milliseconds, agrees: false });
        heard
    }

    fn retain_told(&self, others: &[NodeId]) {
        self.ahead().retain(others);
        self.others_ahead().retain(others);
    }

    /// Whether another copy has said what it makes of this node's time.
    fn knows_its_time(&self) -> bool {
        !self.ahead().is_unknown()
    }

    /// The set of copies that this one knows.
    pub(crate) fn epoch(&self) -> u64 {
        let memory = self.inner.copy.memory();
        match &memory.agreed().master {
            Some(master) if self.inner.has_master => master.epoch,
            _ => memory.agreed().sync.generation,
        }
    }

    /// What this copy must set aside before it takes part again.
    pub(crate) fn lost(&self) -> Option<Lost> {
        let lost = self.inner.copy.memory().agreed().lost.get(&self.inner.node).copied()?;
        let rewound = self.inner.copy.state().map_or(0, |state| state.rewound);
        (self.inner.has_master && lost.epoch > rewound).then_some(lost)
    }

    /// Puts something else in the place of a change that this copy has alone, be it earlier, unless another one has taken
    /// that place since.
    fn put_back(&self, key: Key, alone: Version, kept: Kept) -> Result<(), StoreError> {
        let _clock = self.clock();
        if self.inner.copy.get(&key)?.is_some_and(|held| held.version == alone) {
            self.inner.copy.change(|memory| {
                memory.put_next(key, kept);
                memory.advance_loose();
            });
            self.inner.copy.tell();
        }
        Ok(())
    }

    fn runs(&self) -> MutexGuard<'_, runs::Runs> {
        self.inner.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was made here so far is for nobody any more.
    fn forget_cursor(&self) {
        let place = self.inner.copy.memory().place();
        self.inner.cursors.forget(place);
    }

    /// How many changes that were made here lie above a place.
    fn above(&self, place: u64) -> u64 {
        self.runs().above(place).0
    }

    /// A copy that makes changes says how many more it has for this one.
    pub(crate) fn told_left(&self, epoch: u64, left: u64) {
        self.inner.behind.told(Instant::now(), epoch, left);
        if left > 0 {
            *self.inner.pushed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// The other copies, and whether each is seen.
    fn beat(&self, others: &[(NodeId, bool)]) {
        let master = self.inner.copy.memory().agreed().master.as_ref().map(|master| master.node.clone());
        let is_seen = |master: NodeId| master == self.inner.node || others.contains(&(master, true));
        self.inner.behind.beat(Instant::now(), master.is_some_and(is_seen));
    }

    /// Whether so many changes are under way, from here or to here, that a comparison would only carry them twice.
    fn is_in_flow(&self) -> bool {
        let pushed = *self.inner.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        self.lags(FLOW_TIME) || pushed.is_some_and(|at| at.elapsed() < FLOW_TIME)
    }

    /// Adds to a report what is known here.
    pub(crate) fn tell_report(&self, report: &mut CopyReport, others: Vec<NodeId>) {
        report.behind = self.inner.behind.left(Instant::now(), self.epoch());
        report.is_rewound = self.lost().is_none();
        report.settled = self.settled().unwrap_or(0);
        let left = |node: NodeId| {
            let (items, since) = self.left_for(&node);
            let waits = since.map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
            (node, items, waits)
        };
        report.pending = others.iter().cloned().map(left).collect();
        report.seen_below = self.seen_below(others.into_iter());
    }

    /// Refuses what was asked on behalf of another set of copies.
    pub(crate) fn is_of(&self, epoch: u64) -> Result<(), String> {
        if self.lost().is_some() {
            return Err("it must set aside first what it had alone when another node took over".to_owned());
        }
        let known = self.epoch();
        if known == epoch { Ok(()) } else { Err(format!("it knows the copies of epoch {known}, not of {epoch}")) }
    }

    /// Refuses questions that this copy cannot answer for.
    pub(crate) fn takes_part(&self, epoch: u64) -> Result<(), String> {
        self.is_of(epoch)?;
        match self.inner.copy.state() {
            Ok(state) if state.loaded => Ok(()),
            Ok(_) => Err("it is loading what the other copies hold".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether a change is so old that what it brought may have been deleted, and forgotten, since.
    pub(crate) fn is_buried(&self, key: &Key, time: u64) -> Result<bool, String> {
        let is_loaded = self.inner.copy.state().is_ok_and(|state| state.loaded);
        let is_old = is_loaded && time < self.inner.copy.memory().agreed().horizon;
        Ok(is_old && self.inner.copy.version(key).map_err(|error| error.to_string())?.is_none())
    }

    /// Makes a change here; returns its version, and the nodes whose disk has it.
    pub(crate) async fn write(&self, change: Change) -> Result<(Version, BTreeSet<NodeId>), ReplicateError> {
        if let Some(alarm) = self.wrong_time() {
            return Err(ReplicateError::NotReplicated { reason: alarm.to_string() });
        }
        let (now, horizon) = (self.now_ms(), self.inner.copy.memory().agreed().horizon);
        let (version, place) = {
            let mut clock = self.clock();
            clock.raise(horizon);
            let version = clock.stamp(now);
            let mut runs = self.runs();
            let place = self.inner.copy.change(|memory| {
                memory.put_next(change.key, Kept { version, place: 0, data: change.data, past: Bytes::new() });
                memory.advance_loose();
                memory.place()
            });
            runs.add(place, Instant::now());
            (version, place)
        };
        self.inner.copy.tell();
        if self.inner.async_writes {
            return Ok((version, BTreeSet::new()));
        }
        if tokio::time::timeout(STORE_PATIENCE, self.inner.copy.until_stored(place)).await.is_err() {
            let trouble = self.inner.copy.trouble().borrow().as_ref().map(ToString::to_string);
            let reason =
                trouble.unwrap_or_else(|| format!("the disk of this node did not take it within {STORE_PATIENCE:?}"));
            return Err(ReplicateError::Unconfirmed { version, acknowledged_by: BTreeSet::new(), needed: 1, reason });
        }
        Ok((version, BTreeSet::from([self.inner.node.clone()])))
    }

    /// Takes changes that were made elsewhere.
    pub(crate) fn merge(&self, changes: Vec<Loose>) -> Result<(), String> {
        let now = self.now_ms();
        let horizon = self.inner.copy.memory().agreed().horizon;
        let is_loaded = self.inner.copy.state().is_ok_and(|state| state.loaded);
        let mut refused = None;
        for change in changes {
            let Loose { key, time, tie, .. } = &change;
            let (time, version) = (*time, Version { time: *time, tie: *tie });
            if !key.is_valid() || !version.is_stamp() {
                return Err("that is no change of a record".to_owned());
            }
            let mut clock = self.clock();
            if let Err(TooFarAhead { milliseconds }) = clock.see(time, now) {
                self.turn_away(TooFarAhead { milliseconds });
                refused = Some(format!("{key} has a stamp {milliseconds} ms ahead of the time here: check the clocks"));
                continue;
            }
            let held = self.inner.copy.version(key).map_err(|error| error.to_string())?;
            match &held {
                Some(held) if *held == version => continue,
                Some(held) if !self.inner.keeps_siblings && !self.gives_way(held, &version, now) => {
                    self.counts().outdated += 1;
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
            let kept = if self.inner.keeps_siblings {
                let held = self.inner.copy.get(key).map_err(|error| error.to_string())?;
                let Some(kept) = crate::quorum::merged(held.as_ref(), &change)? else { continue };
                kept
            } else {
                Kept { version, place: 0, data: change.data, past: Bytes::new() }
            };
            self.inner.copy.change(|memory| {
                memory.put_next(change.key, kept);
                memory.advance_loose();
            });
        }
        self.inner.copy.tell();
        refused.map_or(Ok(()), Err)
    }
}

/// A record as it is sent.
pub(crate) fn loose(key: Key, kept: crate::record::Kept) -> Loose {
    Loose { key, time: kept.version.time, tie: kept.version.tie, data: kept.data, past: kept.past }
}
