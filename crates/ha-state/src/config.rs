//! How the room behaves.

use std::time::Duration;

/// How the room behaves on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Length of the lease of a lock, unless its caller says otherwise.
    pub lock_ttl: Duration,
    /// How long to wait for a lock, unless the caller says otherwise.
    pub lock_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { lock_ttl: Duration::from_secs(30), lock_timeout: Duration::from_secs(10) }
    }
}
