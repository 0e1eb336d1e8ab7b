//! How far the other copies were sent what was made here, and who waits for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_cluster::NodeId;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::LooseCopy;
use crate::ReplicateError;

/// A writer waits while a copy that answers lacks what was made here so long ago: what is made faster than it is sent
/// would be lacking for longer and longer. A copy that was away catches up while writes go on.
pub(super) const LAG_MAX: Duration = Duration::from_millis(500);
/// A copy that took nothing for so long is waited for no longer.
pub(super) const SILENT_AFTER: Duration = Duration::from_millis(500);

/// How long a write waits for them that another node passes on: with the disk, less than that one waits for an answer.
pub(crate) const PASSED_ON_PATIENCE: Duration = Duration::from_millis(1500);

/// How far the other copies were sent what was made here.
#[derive(Default)]
pub(super) struct Cursors {
    of: Mutex<BTreeMap<NodeId, Cursor>>,
    moved: Notify,
    /// Writers wait one after the other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Default)]
struct Cursor {
    /// Everything up to here.
    place: u64,
    /// When it took something last, if it took the last that was sent.
    answered: Option<Instant>,
    /// It has caught up since it did not take something.
    is_level: bool,
}

impl Cursors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Cursor>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy is sent what is made from here on.
    pub(super) fn begin(&self, node: &NodeId, place: u64) {
        self.lock().insert(node.clone(), Cursor { place, ..Cursor::default() });
    }

    /// A copy took what was sent, and has everything up to a place.
    pub(super) fn took(&self, node: &NodeId, place: u64) {
        self.moves(node, |cursor| Cursor { place, answered: Some(Instant::now()), ..cursor });
    }

    /// There was nothing for a copy up to a place.
    pub(super) fn passed(&self, node: &NodeId, place: u64) {
        self.moves(node, |cursor| Cursor { place, ..cursor });
    }

    /// A copy has caught up.
    pub(super) fn caught_up(&self, node: &NodeId) {
        self.moves(node, |cursor| Cursor { is_level: true, ..cursor });
    }

    /// A copy did not take what was sent.
    pub(super) fn lost(&self, node: &NodeId) {
        self.moves(node, |cursor| Cursor { answered: None, is_level: false, ..cursor });
    }

    fn moves(&self, node: &NodeId, change: impl FnOnce(Cursor) -> Cursor) {
        if let Some(cursor) = self.lock().get_mut(node) {
            *cursor = change(*cursor);
        }
        self.moved.notify_waiters();
    }

    /// A copy is no longer one.
    pub(super) fn retain(&self, nodes: &[NodeId]) {
        self.lock().retain(|node, _| nodes.contains(node));
        self.moved.notify_waiters();
    }

    /// What was made up to here is for nobody any more.
    pub(super) fn forget(&self, place: u64) {
        self.lock().values_mut().for_each(|cursor| cursor.place = place);
    }

    pub(super) fn of(&self, node: &NodeId) -> Option<u64> {
        self.lock().get(node).map(|cursor| cursor.place)
    }
}

impl LooseCopy {
    /// How many changes that were made here another copy lacks, and since when.
    pub(super) fn left_for(&self, node: &NodeId) -> (u64, Option<Instant>) {
        let cursor = self.inner.cursors.of(node);
        cursor.map_or((0, None), |cursor| self.runs().above(cursor))
    }

    /// Whether a copy that answers, and had caught up, lacks what was made here longer ago than this.
    pub(super) fn lags(&self, longer: Duration) -> bool {
        let (cursors, runs) = (self.inner.cursors.lock(), self.runs());
        cursors.values().any(|cursor| {
            cursor.is_level
                && cursor.answered.is_some_and(|at| at.elapsed() < SILENT_AFTER)
                && runs.above(cursor.place).1.is_some_and(|since| since.elapsed() > longer)
        })
    }

    /// Waits until no copy that keeps up lacks what was made here too long ago, or says that there is too much.
    /// Cancel-safe.
    pub(crate) async fn until_sent(&self, patience: Duration) -> Result<(), ReplicateError> {
        if !self.lags(LAG_MAX) {
            return Ok(());
        }
        timeout(patience, self.sent()).await.map_err(|_| {
            let reason = "another copy does not keep up with what is written: ask again later".to_owned();
            ReplicateError::NotReplicated { reason }
        })
    }

    async fn sent(&self) {
        let _turn = self.inner.cursors.turn.lock().await;
        loop {
            let moved = self.inner.cursors.moved.notified();
            if !self.lags(LAG_MAX) {
                return;
            }
            // One that answers no more says nothing either.
            let _ = timeout(SILENT_AFTER, moved).await;
        }
    }
}
