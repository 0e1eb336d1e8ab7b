//! How roles move.

use std::time::Duration;

use crate::role::{GroupId, RoleId};

/// How the roles of a cluster lie on its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Each group runs on the best node; the others stand by.
    #[default]
    ActivePassive,
    /// Every node is active: each group is cut into shards, and these are spread evenly.
    ActiveActive,
    /// Many groups, spread by count and priority.
    Distributed,
}

/// Who starts a failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The cluster.
    #[default]
    Automatic,
    /// A person: without one, a role returns to the node that had it, and to no other.
    Manual,
}

/// Whether roles return to the node of the highest priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failback {
    /// When a person asks.
    #[default]
    Manual,
    /// Once it has been well for [`Config::recovery_wait`].
    Automatic,
}

/// How roles move. What takes part in the node lease must equal the cluster's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// How the roles lie.
    pub strategy: Strategy,
    /// The groups that this node brings along.
    pub groups: Vec<GroupId>,
    /// Who starts a failover.
    pub mode: Mode,
    /// Whether roles return.
    pub failback: Failback,
    /// A promotion, or a planned stop, that takes longer has failed.
    pub timeout: Duration,
    /// How often a node judges itself.
    pub check_interval: Duration,
    /// How often in a row it must be unwell before it says so.
    pub failure_threshold: u32,
    /// How long a node that lost a role must stay well before it may have it back while others can; doubled with each
    /// further loss.
    pub recovery_wait: Duration,
    /// Promotions of one role that may fail on a node before it is left out, for [`Self::recovery_wait`]; another node is
    /// tried after each of them.
    pub attempts_max: u32,
    /// Records that a new primary may lack.
    pub lag_items_max: u64,
    /// The length of a node's lease: the cluster's node timeout.
    pub lease: Duration,
    /// How long before the end of a lease that is not renewed the service is stopped.
    pub stop_time: Duration,
    /// Whether this node holds roles at all: a witness does not.
    pub takes_part: bool,
    /// Run with the id and the address of a node that has failed; when it ends well, that node is certainly stopped.
    pub fence_command: Option<String>,
    /// Run before the service starts; see [`crate::Service::promote`] for how long it may take.
    pub promote_command: Option<String>,
    /// Run after the service has stopped, and once at the start of this node, to end what a former life left.
    pub demote_command: Option<String>,
    /// Whether one of two nodes goes on alone when the other has been silent for long enough, although it may live:
    /// then both may act at once, and what one of them did is set aside later.
    pub goes_on_alone: bool,
}

impl Default for Config {
    fn default() -> Self {
        let lease = Duration::from_secs(15);
        Self {
            strategy: Strategy::default(),
            groups: vec![GroupId::default()],
            mode: Mode::default(),
            failback: Failback::default(),
            timeout: Duration::from_secs(30),
            check_interval: Duration::from_secs(5),
            failure_threshold: 3,
            recovery_wait: Duration::from_secs(60),
            attempts_max: 3,
            lag_items_max: 1000,
            lease,
            stop_time: Self::stop_time_of(lease),
            takes_part: true,
            fence_command: None,
            promote_command: None,
            demote_command: None,
            goes_on_alone: false,
        }
    }
}

impl Config {
    /// The part of a lease that is kept for stopping: a quarter. Three renewals fit into a lease, so that one which is
    /// lost does not stop anything.
    pub fn stop_time_of(lease: Duration) -> Duration {
        lease / 4
    }

    /// What of a group one node at a time may hold: the whole, or each shard of it.
    pub(crate) fn roles_of(&self, group: &GroupId) -> Vec<RoleId> {
        match self.strategy {
            Strategy::ActiveActive => RoleId::shards(group).collect(),
            Strategy::ActivePassive | Strategy::Distributed => vec![group.clone().into()],
        }
    }

    /// What this node would decide by if it led, one `name=value` each: all nodes should agree on it.
    pub(crate) fn rules(&self) -> Vec<String> {
        let strategy = match self.strategy {
            Strategy::ActivePassive => "active_passive",
            Strategy::ActiveActive => "active_active",
            Strategy::Distributed => "distributed",
        };
        let automatic = |is_automatic| if is_automatic { "automatic" } else { "manual" };
        vec![
            format!("strategy={strategy}"),
            format!("mode={}", automatic(self.mode == Mode::Automatic)),
            format!("failback={}", automatic(self.failback == Failback::Automatic)),
            format!("timeout={}", self.timeout.as_secs_f64()),
            format!("recovery_wait_time={}", self.recovery_wait.as_secs_f64()),
            format!("max_attempts={}", self.attempts_max),
            format!("fence_command={}", if self.fence_command.is_some() { "set" } else { "none" }),
            format!("split_brain_prevention={}", !self.goes_on_alone),
        ]
    }

    /// Finds values that cannot work, alone or together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.stop_time >= self.lease / 2 {
            return Err(ConfigError::StopTimeTooLong);
        }
        if self.failure_threshold == 0 || self.attempts_max == 0 {
            return Err(ConfigError::ZeroCount);
        }
        if self.check_interval.is_zero() || self.timeout.is_zero() {
            return Err(ConfigError::ZeroTime);
        }
        Ok(())
    }
}

/// Values that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Nothing would ever be started, for fear of its stop.
    #[error("the stop time must be shorter than half of the lease")]
    StopTimeTooLong,
    /// Nothing would ever be tried, or everything be a failure.
    #[error("the failure threshold and the number of attempts must be at least 1")]
    ZeroCount,
    /// Nothing could end in time.
    #[error("the timeout and the check interval must be longer than nothing")]
    ZeroTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_one_role_or_as_many_as_it_has_shards() {
        let group: GroupId = "orders".parse().unwrap();
        for (strategy, count) in
            [(Strategy::ActivePassive, 1), (Strategy::Distributed, 1), (Strategy::ActiveActive, 16)]
        {
            let roles = Config { strategy, ..Config::default() }.roles_of(&group);
            assert!(roles.len() == count && roles.iter().all(|role| role.group == group), "{roles:?}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        let too_long = Config { stop_time: Duration::from_secs(8), ..config.clone() };
        assert_eq!(too_long.validate(), Err(ConfigError::StopTimeTooLong));
        assert_eq!(Config { attempts_max: 0, ..config.clone() }.validate(), Err(ConfigError::ZeroCount));
        assert_eq!(Config { timeout: Duration::ZERO, ..config }.validate(), Err(ConfigError::ZeroTime));
    }
}
