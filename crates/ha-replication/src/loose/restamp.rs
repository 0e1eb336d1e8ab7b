//! Stamps again what was stamped while this node had the wrong time, once it has the right one: until then the other
//! copies turn it away.

use std::time::Duration;

use ha_cluster::NodeId;

use super::LooseCopy;
use super::ahead::Told;
use super::clock::{OFFSET_MAX, is_too_far_ahead, last_of, milliseconds};
use crate::record::Kept;
use crate::store::BUCKETS;
use crate::{StoreError, Version};

/// How far the stamps that are left as they are may be ahead: every copy takes those, also one whose time is behind.
const LEFT_MAX: Duration = Duration::from_millis(250);

impl LooseCopy {
    /// Whether another version of a record takes the place of the one that is held: the later one stays, except that of
    /// two stamps of one node one that is too far ahead was replaced by it since.
    pub(super) fn gives_way(&self, held: &Version, other: &Version, now_ms: u64) -> bool {
        let is_ahead = |version: &Version| is_too_far_ahead(version.time, now_ms);
        if held.tie == other.tie && is_ahead(held) != is_ahead(other) { is_ahead(held) } else { held < other }
    }

    /// Another copy says how far too far ahead of its time a stamp of this node is, or 0.
    pub(super) fn told_ahead(&self, node: &NodeId, stamp: u64, told: u64) {
        let here = milliseconds(stamp).saturating_sub(self.now_ms());
        let agrees = u128::from(here.abs_diff(told)) <= OFFSET_MAX.as_millis();
        self.ahead().tell(node, Told { milliseconds: told, agrees });
    }

    /// Stamps again where most of the others say that this node's stamps are ahead, and its own time says so too.
    ///
    /// Cut short, it begins again: its latest stamp is known to be right only when everything else is. In what was
    /// written meanwhile elsewhere the later stamp decides, as ever; which of them was first cannot be known.
    pub(super) async fn restamp_if_due(&self) -> Result<(), StoreError> {
        if self.inner.keeps_siblings || !self.ahead().is_over() {
            return Ok(());
        }
        let copy = &self.inner.copy;
        copy.settle().await;
        let limit = last_of(self.now_ms() + LEFT_MAX.as_millis() as u64);
        // No write takes a stamp meanwhile: most of the others would turn it away.
        let by = {
            let mut clock = self.clock();
            copy.change(|memory| memory.go_back(limit));
            clock.go_back(limit)
        };
        let (mut records, mut damaged): (u64, u64) = (0, 0);
        for bucket in 0..BUCKETS {
            let bucket = bucket as u16;
            // What another node stamped, that one stamps again; see [`LooseCopy::gives_way`].
            let is_ahead = |version: &Version| version.time > limit && version.tie == self.tie();
            let slots = copy.store().slots(bucket)?;
            let names: Vec<u64> =
                slots.into_iter().filter(|(_, version)| is_ahead(version)).map(|(name, _)| name).collect();
            for key in copy.store().keys(bucket, &names)? {
                match copy.get(&key) {
                    Ok(Some(kept)) if is_ahead(&kept.version) => {
                        self.put_back(key, kept.version, Kept { version: self.version(), ..kept })?;
                        records += 1;
                    }
                    Ok(_) => {}
                    // One record must not keep all others from being compared.
                    Err(StoreError::Damaged { .. }) => damaged += 1,
                    Err(error) => return Err(error),
                }
            }
            copy.until_room().await;
        }
        copy.settle().await;
        copy.restamped().await?;
        self.seen().clear();
        self.ahead().forget();
        tracing::warn!(
            records,
            damaged,
            milliseconds = by,
            "this node had the wrong time: what it stamped then is stamped again"
        );
        Ok(())
    }
}
