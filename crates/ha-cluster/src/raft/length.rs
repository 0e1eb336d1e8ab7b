//! How long the log is: when a snapshot is due, what may be purged then, and of whom to let go for that.

use std::sync::atomic::Ordering;

use ha_net::NodeId;

use super::engine::Engine;
use super::server::SNAPSHOT_BYTES_MAX;
use super::status::RaftStatus;
use crate::Config;
use crate::wal::Wal;

/// Applied entries that stay in the log behind the newest snapshot, so that a node away for a moment needs no snapshot.
const KEEP_ENTRIES: u64 = 10_000;
/// Fewer entries than this are not worth a purge, unless they have many bytes.
const PURGE_ENTRIES_MIN: u64 = 1_000;
const PURGE_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// So many times the bytes of the last snapshot, or of the next if it were taken now, are written to the log before that
/// is due by its bytes.
const LOG_TO_SNAPSHOT: u64 = 4;
/// But not more than this, or the bytes of one snapshot, unless more is configured: a start applies it all again.
const REPLAYED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// So many times what is kept behind a snapshot, and a follower is so far behind that it is better off with a snapshot.
const LAG_TO_KEPT: u64 = 4;
/// The same of the bytes of that snapshot, which takes its time.
const LAG_TO_SNAPSHOT: u64 = 2;

/// How much of the log a snapshot of so many bytes is worth.
fn log_for(snapshot_bytes: u64) -> u64 {
    snapshot_bytes.saturating_mul(LOG_TO_SNAPSHOT).min(REPLAYED_BYTES_MAX.max(snapshot_bytes))
}

impl Engine {
    /// Whether so much of the log follows the last snapshot that a new one is due.
    pub(crate) fn is_snapshot_due(&self, status: &RaftStatus, config: &Config, log: &Wal) -> bool {
        let last = self.last_snapshot_bytes.load(Ordering::Relaxed);
        // Not known while a command is applied: the next look asks again.
        let Some(image) = self.host.image_bytes() else { return false };
        let enough = config.snapshot_bytes.max(log_for(image.max(last)));
        let applied = *self.applied_index.borrow();
        // What is not applied yet would not be in it.
        log.bytes_behind(status.snapshot_index).saturating_sub(log.bytes_behind(applied)) >= enough
    }

    /// Has a snapshot taken, unless one is under way.
    pub(crate) async fn take_snapshot(&self) {
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::warn!("no snapshot is taken: {error}");
        }
    }

    /// The log index up to which nothing is needed any more, when it is worth a purge: a snapshot has long had it, or has
    /// it and there is much behind it; every machine with a store of its own holds it, and so does every copy below the
    /// floor.
    pub(crate) fn purgeable(&self, status: &RaftStatus, config: &Config, log: &Wal, floor: Option<u64>) -> Option<u64> {
        let long_ago = status.snapshot_index.saturating_sub(KEEP_ENTRIES);
        let far_back = log.first_of_last(config.kept_bytes).saturating_sub(1).min(status.snapshot_index);
        let durable = self.host.durable_index().unwrap_or(u64::MAX);
        let upto = long_ago.max(far_back).min(durable).min(floor.unwrap_or(u64::MAX));
        let freed_bytes = || log.bytes_behind(status.purged_index).saturating_sub(log.bytes_behind(upto));
        let is_worth_it = upto >= status.purged_index + PURGE_ENTRIES_MIN
            || (upto > status.purged_index && freed_bytes() >= PURGE_BYTES_MIN);
        is_worth_it.then_some(upto)
    }

    /// Purges the log, and lets go of followers who hold that up.
    pub(crate) async fn purge(&self, upto: u64, laggards: Vec<NodeId>) {
        if let Err(error) = self.raft.trigger().purge_log(upto).await {
            tracing::warn!("the log is not purged: {error}");
        }
        // Queued behind the order: whoever were let go of before it would begin again with the log.
        if laggards.is_empty() || self.raft.with_raft_state(|_| ()).await.is_err() {
            return;
        }
        for node in laggards {
            tracing::info!("{node} is too far behind for the log to be kept for it: it gets a snapshot");
            self.streams.end(&node);
        }
    }

    /// Followers for whose sake alone the log is kept up to an index, and who are too far behind for that. Openraft
    /// purges nothing that lies before a follower as long as that one answers, however late.
    pub(crate) fn laggards(&self, status: &RaftStatus, config: &Config, log: &Wal, upto: u64) -> Vec<NodeId> {
        let snapshot = self.last_snapshot_bytes.load(Ordering::Relaxed);
        if self.witness || snapshot > SNAPSHOT_BYTES_MAX {
            return Vec::new();
        }
        let room = config.kept_bytes.saturating_mul(LAG_TO_KEPT).max(snapshot.saturating_mul(LAG_TO_SNAPSHOT));
        // 0 is not known yet. Before what is purged, the log is of no use to a follower, who waits for a snapshot.
        let lags = |at: u64| at > 0 && at >= status.purged_index && at < upto && log.bytes_behind(at) > room;
        status.matched.iter().filter(|(_, at)| lags(**at)).map(|(node, _)| node.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_worth_several_times_its_bytes_of_log_unless_a_start_would_take_too_long() {
        const MIB: u64 = 1024 * 1024;
        for (snapshot, log) in [(0, 0), (10, 40), (128, 512), (300, 512), (512, 512), (1024, 1024)] {
            assert_eq!(log_for(snapshot * MIB), log * MIB);
        }
    }
}
