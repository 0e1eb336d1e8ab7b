//! Openraft's configuration from ours.

use std::time::Duration;

use crate::Config;

/// Shortest election timeout, as a factor of the configured one; for the highest priority.
const ELECTION_MIN: f64 = 0.8;
/// Longest election timeout, as a factor; also the length of a leader's and a voter's lease, so equal on all nodes.
const ELECTION_MAX: f64 = 1.6;
/// How much the lowest priority adds to [`ELECTION_MIN`].
const PRIORITY_SPREAD: f64 = 0.5;
/// The priority from which on the election timeout is shortest.
const PRIORITY_FULL: u16 = 200;

/// Openraft's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timers {
    pub(crate) heartbeat: Duration,
    pub(crate) election_min: Duration,
    pub(crate) election_max: Duration,
}

impl Timers {
    /// A higher priority waits less before it campaigns: the only thing that priority changes in an election.
    pub(crate) fn new(config: &Config) -> Self {
        let ease = 1.0 - f64::from(config.priority.min(PRIORITY_FULL)) / f64::from(PRIORITY_FULL);
        let election = config.election_timeout;
        Self {
            heartbeat: config.heartbeat_interval,
            election_min: election.mul_f64(ELECTION_MIN + PRIORITY_SPREAD * ease),
            election_max: election.mul_f64(ELECTION_MAX),
        }
    }

    pub(super) fn openraft(&self, cluster: &str, config: &Config) -> openraft::Config {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let election_max = millis(self.election_max);
        openraft::Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            heartbeat_min_interval: Some(0),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: election_max,
            enable_pre_vote: Some(true),
            // A restarted leader must be elected again: what it knew in memory is gone.
            enable_leader_restore: Some(false),
            // Turned on by the driver, once the log names this node with the disk that it has.
            enable_elect: false,
            // A leader without a quorum falls silent, so that followers that still hear it can elect another.
            quorum_loss_probe_interval: Some(2 * election_max),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
            // We purge by ourselves, to the lowest durable position.
            max_in_snapshot_log_to_keep: u64::MAX,
            max_payload_entries: 64,
            // Followers sync while the leader does, not after it.
            broadcast_submitted_on_append: Some(true),
            backoff: "10ms 20ms ...100ms".to_owned(),
            ..openraft::Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers(priority: u16) -> Timers {
        let config = Config { priority, ..Config::default() };
        let timers = Timers::new(&config);
        timers.openraft("c", &config).validate().unwrap();
        timers
    }

    #[test]
    fn priority_shortens_the_minimum_and_nothing_else() {
        assert!(timers(200).election_min < timers(100).election_min);
        assert!(timers(100).election_min < timers(0).election_min);
        assert_eq!(timers(1).election_max, timers(1000).election_max);
        assert_eq!(timers(200).election_min, Duration::from_secs(8));
        assert_eq!(timers(0).election_max, Duration::from_secs(16));
    }

    #[test]
    fn pre_vote_is_on_and_restored_leadership_off() {
        let config = Config::default();
        let raft = Timers::new(&config).openraft("c", &config);
        assert_eq!((raft.enable_pre_vote, raft.enable_leader_restore), (Some(true), Some(false)));
    }
}
