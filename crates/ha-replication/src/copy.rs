//! One copy of the records: what waits in memory, and what the store holds.

mod reading;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};

pub(crate) use reading::Changes;
#[cfg(test)]
pub(crate) use reading::tests;

use crate::damage::Damage;
use crate::memory::Memory;
use crate::message::Report;
use crate::record::Kept;
use crate::store::{Hole, Place, State, Store, StoreError};
use crate::work::{Fill, Work};
use crate::{CheckReport, Config, Key};

/// Bytes that may wait for the store; above that, the node applies nothing more.
const MEMORY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Pages that are read at once.
const LISTS_MAX: usize = 8;

/// One copy of the records. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Copy {
    inner: Arc<Inner>,
}

struct Inner {
    memory: RwLock<Memory>,
    store: Store,
    is_loose: bool,
    fills: Mutex<Vec<Fill>>,
    /// There may be something to write, or a failed write may be tried again.
    wake: Notify,
    durable: watch::Sender<u64>,
    /// Counts up with every applied batch: what follows changes waits for it.
    applied: watch::Sender<u64>,
    /// The last place that the store holds, where this copy orders changes by itself.
    stored: watch::Sender<u64>,
    /// Held by the first of those who wait for room.
    turn: tokio::sync::Mutex<()>,
    /// Somebody waits for the disk.
    is_wanted: AtomicBool,
    trouble: watch::Sender<Option<StoreError>>,
    stopping: watch::Sender<bool>,
    ended: watch::Sender<bool>,
    is_full: AtomicBool,
    damage: Damage,
    /// One at a time reads everything.
    checking: Arc<Semaphore>,
    /// A few at a time read a page.
    listing: Arc<Semaphore>,
}

impl Copy {
    pub(crate) fn new(store: Store, state: &State, config: &Config) -> Self {
        let memory = Memory::at(state.position, state.agreed.clone())
            .with_place(state.place, state.stamp)
            .with_layer_bytes(config.layer_bytes);
        let inner = Inner {
            memory: RwLock::new(memory),
            store,
            is_loose: config.is_loose(),
            fills: Mutex::default(),
            wake: Notify::new(),
            durable: watch::Sender::new(state.position.index),
            applied: watch::Sender::new(state.position.epoch),
            stored: watch::Sender::new(state.place),
            turn: tokio::sync::Mutex::default(),
            is_wanted: AtomicBool::new(false),
            trouble: watch::Sender::new(None),
            stopping: watch::Sender::new(false),
            ended: watch::Sender::new(false),
            is_full: AtomicBool::new(false),
            damage: Damage::default(),
            checking: Arc::new(Semaphore::new(1)),
            listing: Arc::new(Semaphore::new(LISTS_MAX)),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.inner.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.inner.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn fills(&self) -> MutexGuard<'_, Vec<Fill>> {
        self.inner.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what waits; whatever is frozen by that goes to the store.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory_mut();
        let result = change(&mut memory);
        let work = memory.next().is_some();
        let (empty, index) = (memory.is_empty(), memory.position().index);
        if empty {
            self.durable_to(index);
        }
        drop(memory);
        if work {
            self.inner.wake.notify_one();
        }
        result
    }

    /// Tells those who follow changes that there may be some.
    pub(crate) fn tell(&self) {
        let seen_so_far = {
            let memory = self.memory();
            memory.position().epoch + memory.place()
        };
        self.inner.applied.send_if_modified(|seen| std::mem::replace(seen, seen_so_far) != seen_so_far);
    }

    fn durable_to(&self, index: u64) {
        self.inner.durable.send_if_modified(|durable| {
            let moved = index > *durable;
            *durable = index.max(*durable);
            moved
        });
    }

    /// The last log entry that the store holds, to follow.
    pub(crate) fn durable(&self) -> watch::Receiver<u64> {
        self.inner.durable.subscribe()
    }

    /// The epoch of the last applied change, to follow.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.inner.applied.subscribe()
    }

    /// Why the store does not take anything now, to follow.
    pub(crate) fn trouble(&self) -> watch::Receiver<Option<StoreError>> {
        self.inner.trouble.subscribe()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.memory().bytes() < MEMORY_BYTES_MAX
    }

    /// Whether so much waits that nothing more should be proposed here.
    pub(crate) fn is_crowded(&self) -> bool {
        self.memory().bytes() >= MEMORY_BYTES_MAX / 2
    }

    /// Whether whoever comes now waits in [`Self::until_room`].
    pub(crate) fn must_wait(&self) -> bool {
        self.is_crowded() || self.inner.turn.try_lock().is_err()
    }

    /// Waits until so little waits that more can be taken; in turn, so that whoever comes again at once leaves some
    /// room to those who came before. Cancel-safe.
    pub(crate) async fn until_room(&self) {
        let _turn = self.inner.turn.lock().await;
        let mut stored = self.inner.stored.subscribe();
        while self.is_crowded() {
            if stored.changed().await.is_err() {
                return;
            }
        }
    }

    /// Remembers whether there is room on the disk for more.
    pub(crate) fn set_full(&self, full: bool) {
        self.inner.is_full.store(full, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.inner.is_full.load(Ordering::Relaxed)
    }

    /// Why the disk could not keep what is written now.
    pub(crate) fn fault(&self) -> Option<StoreError> {
        let trouble = self.inner.trouble.borrow().clone();
        trouble.or_else(|| self.is_full().then(|| self.inner.store.full()))
    }

    /// Sends what waits on its way to the store, and lets a failed write be tried again.
    pub(crate) fn flush(&self) {
        self.change(|memory| memory.freeze());
        self.inner.wake.notify_one();
    }

    /// Waits until the disk holds everything up to a place. Many that wait share one write. Cancel-safe.
    pub(crate) async fn until_stored(&self, place: u64) {
        let mut stored = self.inner.stored.subscribe();
        while *stored.borrow_and_update() < place {
            let idle = self.memory().next().is_none();
            if idle {
                self.flush();
            } else {
                self.inner.is_wanted.store(true, Ordering::Relaxed);
            }
            if stored.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the disk holds everything that is here.
    pub(crate) async fn settle(&self) {
        let place = self.memory().place();
        self.until_stored(place).await;
    }

    /// Has something written beside the layers. Cancelled, it is not known whether it is there.
    async fn filled(&self, what: impl FnOnce(Fill) -> Fill) -> Result<(), StoreError> {
        let (done, written) = oneshot::channel();
        self.fills().push(what(Fill::new(done)));
        self.inner.wake.notify_one();
        written.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Removes everything, because this copy was away for too long. Nothing is left of it when this returns.
    pub(crate) async fn wipe(&self, horizon: u64) -> Result<(), StoreError> {
        self.filled(|fill| Fill { wipes: Some(horizon), ..fill }).await
    }

    /// Remembers that this copy has been compared with the others since it began.
    pub(crate) async fn loaded(&self) -> Result<(), StoreError> {
        self.filled(|fill| Fill { loaded: true, ..fill }).await
    }

    /// Remembers that what this copy had alone before an epoch is set aside.
    pub(crate) async fn rewound(&self, epoch: u64) -> Result<(), StoreError> {
        self.filled(|fill| Fill { rewound: Some(epoch), ..fill }).await
    }

    /// Remembers that nothing here has a stamp that is later than those in memory.
    pub(crate) async fn restamped(&self) -> Result<(), StoreError> {
        self.filled(|fill| Fill { restamped: true, ..fill }).await
    }

    /// Whether no leader orders what is written.
    pub(crate) fn is_loose(&self) -> bool {
        self.inner.is_loose
    }

    /// The store, to compare with another copy's.
    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Writes fetched changes. Cancelled, it is not known whether they are there; writing them again is harmless.
    pub(crate) async fn fill(
        &self,
        changes: std::collections::BTreeMap<Key, Kept>,
        upto: Place,
        last: bool,
        hole_upto: u64,
        anew: bool,
        floor: Place,
    ) -> Result<(), StoreError> {
        self.filled(|fill| Fill { changes, upto, last, hole_upto, anew, floor, ..fill }).await
    }

    /// What is written next; waits until there is something.
    pub(crate) async fn work(&self) -> Work {
        loop {
            if let Some(layer) = self.memory().next() {
                return Work::Layer(layer);
            }
            if let Some(fill) = self.fills().pop() {
                return Work::Fill(fill);
            }
            if *self.inner.stopping.borrow() {
                return Work::Stop;
            }
            self.inner.wake.notified().await;
        }
    }

    /// A write failed: waits until it is time to try again. False when the copy is closed meanwhile.
    pub(crate) async fn failed(&self, error: StoreError) -> bool {
        self.inner.trouble.send_if_modified(|trouble| {
            if trouble.as_ref() == Some(&error) {
                return false;
            }
            tracing::error!("this node cannot store records: {error}");
            *trouble = Some(error);
            true
        });
        if *self.inner.stopping.borrow() {
            return false;
        }
        self.inner.wake.notified().await;
        !*self.inner.stopping.borrow()
    }

    /// A write has succeeded.
    pub(crate) fn mended(&self) {
        self.inner.trouble.send_if_modified(|trouble| {
            let was = trouble.take();
            if was.is_some() {
                tracing::info!("this node stores records again");
            }
            was.is_some()
        });
    }

    /// The store holds the oldest layer now.
    pub(crate) fn stored(&self, index: u64, place: u64) {
        let mut memory = self.memory_mut();
        memory.stored();
        if self.inner.is_wanted.swap(false, Ordering::Relaxed) {
            // Whoever asked while this was written goes next, all together.
            memory.freeze();
        }
        self.inner.stored.send_if_modified(|stored| {
            let moved = place > *stored;
            *stored = place.max(*stored);
            moved
        });
        // What waits no more may have been all: then entries that were no changes are held too.
        let upto = if memory.is_empty() { memory.position().index } else { index };
        drop(memory);
        self.durable_to(upto);
    }

    /// Lets the one that writes end, once everything is written.
    pub(crate) fn stop(&self) {
        self.change(|memory| memory.freeze());
        self.inner.stopping.send_replace(true);
        self.inner.wake.notify_one();
    }

    /// Whether it was told to stop, to follow.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stopping.subscribe()
    }

    /// The one that writes has ended.
    pub(crate) fn end(&self) {
        self.inner.ended.send_replace(true);
    }

    /// Waits until the one that writes has ended.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.inner.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// What the store knows of itself.
    pub(crate) fn state(&self) -> Result<Arc<State>, StoreError> {
        self.inner.store.state()
    }

    /// What is missing, as far as the store knows.
    pub(crate) fn hole(&self) -> Option<Hole> {
        self.state().ok().and_then(|state| state.hole)
    }

    /// Whether everything up to the position can be read here.
    pub(crate) fn is_complete(&self) -> bool {
        !self.memory().jumps() && self.state().is_ok_and(|state| state.hole.is_none())
    }

    pub(crate) fn report(&self) -> Report {
        let (position, jumps, stamp, changes) = {
            let memory = self.memory();
            (memory.position(), memory.jumps(), memory.stamp(), memory.place())
        };
        let state = self.state();
        // A copy that cannot read its own store does not know what it lacks.
        let jumps = jumps || (state.is_err() && !self.inner.is_loose);
        let state = state.unwrap_or_default();
        let trouble = self.inner.trouble.borrow().as_ref().map(ToString::to_string);
        let totals = state.totals;
        Report {
            position,
            hole: state.hole,
            jumps,
            records: totals.records,
            bytes: totals.bytes,
            digest: totals.digest,
            trouble,
            is_full: self.is_full(),
            seen_below: 0,
            settled: 0,
            stamp,
            changes,
            behind: None,
            is_rewound: true,
            pending: Vec::new(),
            began_at: state.began_at,
        }
    }

    /// Waits until nobody else reads everything; until it is dropped, nobody else does.
    pub(crate) async fn turn_to_check(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.inner.checking.clone().acquire_owned().await.ok()
    }

    /// Reads everything that is stored, and says whether it fits together.
    pub(crate) fn check(&self) -> Result<CheckReport, StoreError> {
        let report = self.inner.damage.noted(self.inner.store.check())?;
        self.inner.damage.checked(&report);
        Ok(report)
    }

    pub(crate) fn damage(&self) -> &Damage {
        &self.inner.damage
    }
}
