//! Hybrid logical clocks (Kulkarni, Demirbas, Madappa, Avva, Leone 2014): 48 bits of milliseconds, 16 of a counter.

use std::time::Duration;

use ha_cluster::NodeId;

use crate::Version;

/// Bits of the counter.
const COUNTER_BITS: u32 = 16;
/// How far a stamp of another node may be ahead of this node's time.
pub(crate) const OFFSET_MAX: Duration = Duration::from_millis(500);

/// Gives stamps that are later than every stamp that was given or seen. Pure: time comes as milliseconds since 1970.
#[derive(Debug)]
pub(crate) struct Clock {
    last: u64,
    tie: u64,
}

/// A stamp so far ahead that this node, or the one that gave it, must have the wrong time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFarAhead {
    pub(crate) milliseconds: u64,
}

impl Clock {
    /// The clock of a node that has seen this stamp; of one life of it, where that is not 0.
    pub(crate) fn new(node: &NodeId, life: u64, last: u64) -> Self {
        Self { last, tie: tie(node, life) }
    }

    /// The next stamp.
    pub(crate) fn stamp(&mut self, now_ms: u64) -> Version {
        self.last = (now_ms << COUNTER_BITS).max(self.last + 1);
        Version { time: self.last, tie: self.tie }
    }

    /// Stamps are later than this from now on: every copy has seen it.
    pub(crate) fn raise(&mut self, horizon: u64) {
        self.last = self.last.max(horizon);
    }

    /// Goes back: what was given or seen after this stamp is stamped again. By how many milliseconds it went.
    pub(crate) fn go_back(&mut self, last: u64) -> u64 {
        let before = self.last;
        self.last = before.min(last);
        milliseconds(before) - milliseconds(self.last)
    }

    /// What marks the stamps of this node.
    pub(crate) fn tie(&self) -> u64 {
        self.tie
    }

    /// Takes note of a stamp of another node. One that is too far ahead is not taken note of.
    pub(crate) fn see(&mut self, time: u64, now_ms: u64) -> Result<(), TooFarAhead> {
        if is_too_far_ahead(time, now_ms) {
            return Err(TooFarAhead { milliseconds: milliseconds(time) - now_ms });
        }
        self.last = self.last.max(time);
        Ok(())
    }
}

/// Whether a stamp is one that a node with this time turns away.
pub(crate) fn is_too_far_ahead(time: u64, now_ms: u64) -> bool {
    u128::from(milliseconds(time).saturating_sub(now_ms)) > OFFSET_MAX.as_millis()
}

/// When a stamp was given, in milliseconds since 1970.
pub(crate) fn milliseconds(time: u64) -> u64 {
    time >> COUNTER_BITS
}

/// The last stamp of a time.
pub(crate) fn last_of(milliseconds: u64) -> u64 {
    (milliseconds << COUNTER_BITS) | ((1 << COUNTER_BITS) - 1)
}

/// What stands for a node in its stamps. Two ids of one cluster meet in it once in 2^31 clusters or so; then the bytes
/// of equal stamps of both decide.
fn tie(node: &NodeId, life: u64) -> u64 {
    let hash = node
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    crate::record::mix(hash ^ life) | Version::STAMPED
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clock(node: &str) -> Clock {
        Clock::new(&node.parse().unwrap(), 0, 0)
    }

    proptest! {
        /// However time goes back and forth, stamps of a node only grow, and stay above all that it has seen.
        #[test]
        fn stamps_only_grow(times in prop::collection::vec((0_u64..1 << 40, prop::option::of(0_u64..1 << 56)), 1..50)) {
            let mut clock = clock("a");
            let mut highest = 0;
            for (now, seen) in times {
                if let Some(seen) = seen && clock.see(seen, now).is_ok() {
                    highest = highest.max(seen);
                }
                let stamp = clock.stamp(now);
                prop_assert!(stamp.time > highest);
                highest = stamp.time;
            }
        }
    }

    #[test]
    fn a_stamp_from_far_ahead_is_not_taken_note_of() {
        let (mut a, mut b) = (clock("a"), clock("b"));
        let hour = 3_600_000;
        let wrong = a.stamp(hour);
        assert_eq!(b.see(wrong.time, 0), Err(TooFarAhead { milliseconds: hour }));
        assert!(b.stamp(1) < wrong);
        assert_eq!(b.see(wrong.time, hour - 500), Ok(()));
        assert!(b.stamp(1) > wrong);
    }

    #[test]
    fn nodes_are_told_apart_in_stamps_of_one_time() {
        let (a, b) = (clock("a").stamp(7), clock("b").stamp(7));
        assert!(a.time == b.time && a != b && a.is_stamp() && b.is_stamp());
    }
}
