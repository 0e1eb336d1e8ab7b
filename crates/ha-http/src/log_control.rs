//! The log of the program that serves, as far as callers may change it.

use std::fmt;
use std::sync::Arc;

type Set = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// Changes what the program logs. Cheap to clone.
#[derive(Clone)]
pub struct LogControl {
    set: Arc<Set>,
}

impl LogControl {
    /// A control that is given a filter, such as `info,ha_net=debug`, and says in one sentence why it refuses one.
    pub fn new(set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { set: Arc::new(set) }
    }

    pub(crate) fn set(&self, filter: &str) -> Result<(), String> {
        (self.set)(filter)
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").finish_non_exhaustive()
    }
}
