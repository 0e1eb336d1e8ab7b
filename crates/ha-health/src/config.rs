//! How a monitor behaves.

use std::time::Duration;

/// How a monitor behaves; a component may have rules of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// How often a component is checked, from the beginning of one check to that of the next; one that takes longer delays
    /// the next.
    pub interval: Duration,
    /// A check that takes longer is stopped, and has failed.
    pub timeout: Duration,
    /// Consecutive failures after which a component is unhealthy, at least 1.
    pub failure_threshold: u32,
    /// Consecutive successes after which an unhealthy component is healthy again, at least 1.
    pub success_threshold: u32,
    /// How often a critical component is checked; as any other when `None`.
    pub critical_interval: Option<Duration>,
    /// Consecutive failures after which a critical component is unhealthy; as any other when `None`.
    pub critical_failure_threshold: Option<u32>,
    /// Whether recovery actions are run.
    pub recovery_enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            failure_threshold: 3,
            success_threshold: 1,
            critical_interval: None,
            critical_failure_threshold: None,
            recovery_enabled: true,
        }
    }
}

impl Config {
    /// Finds values that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let times = [Some(self.interval), Some(self.timeout), self.critical_interval];
        if times.into_iter().flatten().any(|time| time.is_zero()) {
            return Err(ConfigError::NoTime);
        }
        let counts = [Some(self.failure_threshold), Some(self.success_threshold), self.critical_failure_threshold];
        if counts.into_iter().flatten().any(|count| count == 0) {
            return Err(ConfigError::NoThreshold);
        }
        Ok(())
    }
}

/// Values that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Checks would run without a pause, or be stopped before they begin.
    #[error("an interval or a timeout of a check must be longer than nothing")]
    NoTime,
    /// A component would be unhealthy, or healthy, without any check.
    #[error("a threshold counts checks, and is at least 1")]
    NoThreshold,
}
