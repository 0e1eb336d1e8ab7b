//! Everything that is bounded.

use std::time::Duration;

/// Most components of one monitor.
pub const COMPONENTS_MAX: usize = 256;

/// Longest name of a component.
pub const NAME_BYTES_MAX: usize = 64;

/// Transitions that are remembered, of all components together.
pub const HISTORY_MAX: usize = 256;

/// Longest sentence that a check may leave behind; what is longer is cut.
pub const MESSAGE_BYTES_MAX: usize = 512;

/// Transitions that a slow follower may leave unread.
pub const TRANSITIONS_KEPT: usize = 256;

/// Attempts to recover a component, unless its registration says otherwise.
pub const RECOVERY_ATTEMPTS: u32 = 5;

/// Pause after the first attempt to recover; doubled after each further one.
pub const RECOVERY_PAUSE: Duration = Duration::from_secs(10);

/// Longest pause between two attempts to recover.
pub const RECOVERY_PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long one attempt to recover may take; what takes longer is stopped.
pub const RECOVERY_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a component must have been healthy until its former attempts to recover are forgotten.
pub const RECOVERY_FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
