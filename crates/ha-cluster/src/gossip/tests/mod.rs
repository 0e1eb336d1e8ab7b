//! Plays in the small world.

use std::time::Duration;

mod failing;
mod finding;
mod hostile;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
