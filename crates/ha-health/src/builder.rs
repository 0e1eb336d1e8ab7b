//! How a component is registered.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::book::{Kind, RecoveryRules, Rules};
use crate::health::Work;
use crate::limits::{COMPONENTS_MAX, NAME_BYTES_MAX};
use crate::{Action, Check, CommandCheck, DiskCheck, Health, Heartbeat, HttpCheck, TcpCheck};

/// A component on its way into the monitor: first what is special about it, then how it is checked.
#[must_use = "nothing is registered before it is said how the component is checked"]
pub struct Builder {
    health: Health,
    name: String,
    critical: bool,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    failure_threshold: Option<u32>,
    success_threshold: Option<u32>,
    action: Option<Arc<dyn Action>>,
    recovery: RecoveryRules,
}

impl Builder {
    pub(crate) fn new(health: Health, name: &str) -> Self {
        Self {
            health,
            name: name.to_owned(),
            critical: false,
            interval: None,
            timeout: None,
            failure_threshold: None,
            success_threshold: None,
            action: None,
            recovery: RecoveryRules::default(),
        }
    }

    /// All is unhealthy when this component is.
    pub fn critical(self) -> Self {
        Self { critical: true, ..self }
    }

    /// How often it is checked.
    pub fn every(self, interval: Duration) -> Self {
        Self { interval: Some(interval), ..self }
    }

    /// A check that takes longer is stopped, and has failed.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Consecutive failures after which it is unhealthy; 1 for a component that reports by itself, unless said otherwise.
    pub fn failures(self, threshold: u32) -> Self {
        Self { failure_threshold: Some(threshold), ..self }
    }

    /// Consecutive successes after which it is healthy again.
    pub fn successes(self, threshold: u32) -> Self {
        Self { success_threshold: Some(threshold), ..self }
    }

    /// What is tried when it turns unhealthy: at once, then with doubled pauses, a limited number of times.
    pub fn recover(self, action: impl Action) -> Self {
        Self { action: Some(Arc::new(action)), ..self }
    }

    /// As [`Self::recover`], with a line for `/bin/sh -c`. What it starts may live on.
    pub fn recover_command(self, line: &str) -> Self {
        self.recover(CommandCheck::shell(line))
    }

    /// Most attempts to recover it, and the pause after the first of them.
    pub fn recovery_limits(self, attempts_max: u32, pause: Duration) -> Self {
        Self { recovery: RecoveryRules { attempts_max, pause }, ..self }
    }

    /// Checks it with an async function.
    pub fn check(self, check: impl Check) -> Result<(), RegisterError> {
        self.add(Kind::Checked, Some(Arc::new(check)))
    }

    /// Checks that somebody listens on `HOST:PORT`.
    pub fn tcp(self, address: &str) -> Result<(), RegisterError> {
        let check = TcpCheck::new(address)?;
        self.check(check)
    }

    /// Checks that `http://HOST[:PORT][/PATH]` answers with a status code from 200 to 299.
    pub fn http(self, url: &str) -> Result<(), RegisterError> {
        let check = HttpCheck::new(url)?;
        self.check(check)
    }

    /// Checks that a line for `/bin/sh -c` exits with 0.
    pub fn command(self, line: &str) -> Result<(), RegisterError> {
        self.check(CommandCheck::shell(line))
    }

    /// Checks that at least a part, from 0 to 1, of the file system that holds `path` is free.
    pub fn disk(self, path: impl AsRef<Path>, free_min: f64) -> Result<(), RegisterError> {
        let check = DiskCheck::new(path, free_min)?;
        self.check(check)
    }

    /// Expects the component to report by itself, at least this often.
    pub fn heartbeat(self, within: Duration) -> Result<Heartbeat, RegisterError> {
        if within.is_zero() {
            return Err(RegisterError::Rules);
        }
        let (health, name) = (self.health.clone(), self.name.clone());
        self.add(Kind::Reports { within }, None)?;
        Ok(Heartbeat::new(health, name))
    }

    fn add(self, kind: Kind, check: Option<Arc<dyn Check>>) -> Result<(), RegisterError> {
        check_name(&self.name)?;
        let mut rules = Rules::new(self.health.config(), self.critical);
        if matches!(kind, Kind::Reports { .. }) {
            rules.failure_threshold = 1;
        }
        rules.kind = kind;
        rules.interval = self.interval.unwrap_or(rules.interval);
        rules.timeout = self.timeout.unwrap_or(rules.timeout);
        rules.failure_threshold = self.failure_threshold.unwrap_or(rules.failure_threshold);
        rules.success_threshold = self.success_threshold.unwrap_or(rules.success_threshold);
        if self.health.config().recovery_enabled && self.action.is_some() && self.recovery.attempts_max > 0 {
            rules.recovery = Some(self.recovery);
        }
        let times = [rules.interval, rules.timeout, self.recovery.pause];
        let counts = [rules.failure_threshold, rules.success_threshold];
        if times.iter().any(Duration::is_zero) || counts.contains(&0) {
            return Err(RegisterError::Rules);
        }
        self.health.add(&self.name, rules, Work { check, action: self.action })
    }
}

/// A name stands in URLs, metrics and log lines.
fn check_name(name: &str) -> Result<(), RegisterError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(allowed) {
        return Err(RegisterError::Name { name: name.chars().take(NAME_BYTES_MAX).collect() });
    }
    Ok(())
}

/// Why a component was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name cannot be used.
    #[error("the name {name:?} of a component is not 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`")]
    Name {
        /// The name.
        name: String,
    },
    /// What is to be checked cannot be.
    #[error("{target:?} cannot be checked: expected {expected}")]
    Target {
        /// What was given.
        target: String,
        /// What is taken.
        expected: &'static str,
    },
    /// A time is zero, or a threshold is.
    #[error("intervals, timeouts and pauses are longer than nothing, and thresholds at least 1")]
    Rules,
    /// There are too many.
    #[error("there are {COMPONENTS_MAX} components already")]
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["db", "web-1.example_x", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
