//! Plays in the small world.

use std::time::Duration;

use super::Gossip;

mod failing;
mod finding;
mod hostile;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn gossip_can_live_in_a_task() {
    fn is_send<T: Send + 'static>() {}
    is_send::<Gossip>();
}
