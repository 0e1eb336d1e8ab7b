//! How long a lease is, for whom.
//!
//! The holder counts from the instant its request left, the leader from the instant it saw the request applied, which
//! is later. Between the two lengths lie the drift of both clocks and a margin, so the holder has stopped before
//! anybody else is given what it had. (Gray and Cheriton, *Leases*, 1989.)

use std::time::Duration;

/// How much faster or slower than true time a clock may run, in thousandths.
const DRIFT_PER_MILLE: u32 = 10;
/// What each side gives away on top, in thousandths of the length.
const MARGIN_PER_MILLE: u32 = 50;

/// How long the holder may act, from the instant its request left: `ttl × (1 − drift) − margin`.
pub(crate) fn holder(ttl: Duration) -> Duration {
    ttl * (1000 - DRIFT_PER_MILLE - MARGIN_PER_MILLE) / 1000
}

/// How long everybody else leaves it alone: `ttl × (1 + drift) + margin`.
pub(crate) fn others(ttl: Duration) -> Duration {
    ttl * (1000 + DRIFT_PER_MILLE + MARGIN_PER_MILLE) / 1000
}

/// How often to renew: two further attempts fit into a lease when one fails.
pub(crate) fn renew_every(ttl: Duration) -> Duration {
    ttl / 3
}

pub(crate) fn from_millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

/// Whole milliseconds; what is longer than any lease may be is cut.
pub(crate) fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_has_stopped_first_with_clocks_as_bad_as_allowed() {
        let ttl = Duration::from_secs(10);
        // A slow clock shows less time than passed, a fast one more.
        let true_end_of_holder = holder(ttl).mul_f64(1.0 / 0.99);
        let true_end_for_others = others(ttl).mul_f64(1.0 / 1.01);
        assert!(true_end_of_holder + Duration::from_millis(900) < true_end_for_others);
        assert!(renew_every(ttl) * 2 < holder(ttl));
    }
}
