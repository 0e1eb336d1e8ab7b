//! What this copy has seen of the others, and what it may say because of that.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use ha_cluster::NodeId;

use super::LooseCopy;
use crate::StoreError;

/// A moment at which this copy held everything that another one had.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// By this copy's stamps.
    stamp: u64,
    /// Which set of copies both knew then.
    epoch: u64,
}

impl LooseCopy {
    /// This copy holds everything that another one had when it was at this stamp.
    pub(super) fn saw(&self, node: &NodeId, stamp: u64, epoch: u64) {
        let known = Seen { stamp, epoch };
        self.seen().insert(node.clone(), known);
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, BTreeMap<NodeId, Seen>> {
        self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stamp below which this copy holds everything that any of these had.
    pub(crate) fn seen_below(&self, others: impl Iterator<Item = NodeId>) -> u64 {
        let seen = self.seen();
        others.map(|node| seen.get(&node).map_or(0, |seen| seen.stamp)).min().unwrap_or(u64::MAX)
    }

    /// The set of copies that this one knows, if it holds everything that a majority of them had when they came to know
    /// it: so everything that was acknowledged before.
    pub(crate) fn settled(&self) -> Option<u64> {
        let set = self.inner.copy.memory().agreed().sync.clone();
        let is_loaded = self.inner.copy.state().is_ok_and(|state| state.loaded);
        let met = set.members.iter().filter(|node| self.has_met(node, set.generation)).count();
        let own = usize::from(is_loaded && set.members.contains(&self.inner.node));
        (set.generation > 0 && met + own >= crate::quorum::majority(set.members.len())).then_some(set.generation)
    }

    /// Whether this copy held everything that another one had since both knew this set of copies.
    fn has_met(&self, node: &NodeId, epoch: u64) -> bool {
        self.seen().get(node).is_some_and(|seen| seen.epoch == epoch)
    }

    /// Whether this copy has been compared with so many others that it knows everything that was acknowledged, even if
    /// it had lost what it acknowledged itself.
    fn knows_all(&self) -> bool {
        let set = self.inner.copy.memory().agreed().sync.clone();
        if set.generation == 0 {
            return false;
        }
        let others: Vec<&NodeId> = set.members.iter().filter(|node| **node != self.inner.node).collect();
        let met = others.iter().filter(|node| self.has_met(node, set.generation)).count();
        // Any that a majority without this copy must have, and one more where nobody else is.
        let needed = (set.members.len() + 1 - crate::quorum::majority(set.members.len())).min(others.len());
        met >= needed
    }

    /// This copy was compared with all the others that are alive.
    pub(crate) async fn compared_with_all(&self) -> Result<(), StoreError> {
        if self.inner.keeps_siblings && !self.knows_all() {
            return Ok(());
        }
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
        // What it held once, it holds no more.
        self.seen().clear();
        self.inner.copy.wipe(told).await?;
        Ok(true)
    }
}
