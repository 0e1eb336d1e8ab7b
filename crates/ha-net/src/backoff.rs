//! How long to wait before the next dial.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::NodeId;
use crate::limits::{REDIAL_WAIT_MAX, REDIAL_WAIT_MIN};

/// Exponential, with jitter from a seed: each wait lies between half and all of its step, so that nodes which lost the
/// same peer at once do not all come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    random: StdRng,
    step: Duration,
}

impl Backoff {
    /// The jitter differs per peer and lane, and does not depend on the order in which tasks run.
    pub(crate) fn new(seed: u64, node_id: &NodeId, link: usize) -> Self {
        let own = u64::from(crc32c::crc32c(node_id.as_str().as_bytes())) << 8 | link as u64;
        Self { random: StdRng::seed_from_u64(seed ^ own), step: Duration::ZERO }
    }

    /// The next wait: none at first, and after [`Self::reset`].
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).clamp(REDIAL_WAIT_MIN, REDIAL_WAIT_MAX);
        step.mul_f64(self.random.random_range(0.5..1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.step = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_start_over() {
        let mut backoff = Backoff::new(1, &"a".parse().unwrap(), 0);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next()).collect();
        assert_eq!(waits[0], Duration::ZERO);
        for (number, wait) in waits.iter().enumerate().skip(1) {
            let step = (REDIAL_WAIT_MIN * 2u32.pow(number as u32 - 1)).min(REDIAL_WAIT_MAX);
            assert!(*wait >= step / 2 && *wait <= step, "{wait:?} of {step:?}");
        }
        backoff.reset();
        assert_eq!(backoff.next(), Duration::ZERO);
    }

    #[test]
    fn one_seed_gives_one_sequence_per_peer() {
        let sequence = |seed, name: &str| {
            let mut backoff = Backoff::new(seed, &name.parse().unwrap(), 0);
            (0..5).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(1, "a"), sequence(1, "a"));
        assert_ne!(sequence(1, "a"), sequence(1, "b"));
        assert_ne!(sequence(1, "a"), sequence(2, "a"));
    }
}
