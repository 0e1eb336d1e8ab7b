//! How fit a node is to hold roles, as it judges itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest reason that is told to others, in bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// How fit a node is, by what the rooms beside this one know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fitness {
    /// False when a critical component is unhealthy.
    pub healthy: bool,
    /// Which, as one sentence.
    pub reason: Option<String>,
    /// Whether it holds everything that was acknowledged.
    pub in_sync: bool,
    /// Records that it lacks, as far as known.
    pub lag_items: u64,
    /// True when failures were counted where this comes from: an unhealthy node is then believed at the first look.
    #[serde(skip)]
    pub is_counted: bool,
}

impl Default for Fitness {
    /// Nothing is known to be wrong.
    fn default() -> Self {
        Self { healthy: true, reason: None, in_sync: true, lag_items: 0, is_counted: false }
    }
}

impl Fitness {
    /// What is worth telling: a sentence of bounded length, and a lag that changes rarely. It equals what others read of
    /// it, so that it is told once.
    fn rounded(&self) -> Self {
        let lag_items =
            if self.lag_items == 0 { 0 } else { self.lag_items.checked_next_power_of_two().unwrap_or(u64::MAX) };
        let reason = self.reason.as_ref().map(|reason| {
            let end = reason.floor_char_boundary(REASON_BYTES_MAX);
            reason[..end].to_owned()
        });
        Self { lag_items, reason, is_counted: false, ..self.clone() }
    }
}

/// Turns looks at the fitness into what others are told: a node is unwell only after so many bad looks in a row.
#[derive(Debug)]
pub(crate) struct Judgement {
    interval: Duration,
    threshold: u32,
    bad: u32,
    next_at: Duration,
    told: Fitness,
}

impl Judgement {
    pub(crate) fn new(interval: Duration, threshold: u32) -> Self {
        Self { interval, threshold, bad: 0, next_at: Duration::ZERO, told: Fitness::default() }
    }

    /// Looks when it is time, and returns what others should know.
    pub(crate) fn look(&mut self, now: Duration, fitness: &Fitness) -> &Fitness {
        if now >= self.next_at {
            self.next_at = now + self.interval;
            self.bad = if fitness.healthy { 0 } else { self.bad.saturating_add(1) };
            let rounded = fitness.rounded();
            if fitness.healthy || fitness.is_counted || self.bad >= self.threshold {
                self.told = rounded;
            } else {
                // Not yet believed; the rest of what is known is.
                let (healthy, reason) = (self.told.healthy, self.told.reason.clone());
                self.told = Fitness { healthy, reason, ..rounded };
            }
        }
        &self.told
    }

    /// When the next look is due.
    pub(crate) fn deadline(&self) -> Duration {
        self.next_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_node_is_unwell_after_the_threshold_and_well_at_once() {
        let mut judgement = Judgement::new(ms(100), 3);
        let bad = Fitness { healthy: false, reason: Some("the disk is full".to_owned()), ..Fitness::default() };
        for at in [0, 50, 99, 100, 150] {
            assert!(judgement.look(ms(at), &bad).healthy, "at {at}");
        }
        assert_eq!(judgement.look(ms(200), &bad), &bad);
        assert!(judgement.look(ms(300), &Fitness::default()).healthy);
        assert!(judgement.look(ms(400), &bad).healthy, "the count begins anew");
    }

    #[test]
    fn what_was_counted_elsewhere_is_believed_at_once() {
        let mut judgement = Judgement::new(ms(100), 3);
        let bad = Fitness { healthy: false, is_counted: true, ..Fitness::default() };
        assert!(!judgement.look(ms(0), &bad).healthy);
        assert!(judgement.look(ms(100), &Fitness::default()).healthy);
    }

    #[test]
    fn what_is_told_equals_what_others_read_of_it() {
        let mut judgement = Judgement::new(ms(100), 3);
        let reason = Some("the database does not answer".to_owned());
        let bad = Fitness { healthy: false, reason, is_counted: true, ..Fitness::default() };
        let told = judgement.look(ms(0), &bad);
        let read: Fitness = serde_json::from_slice(&serde_json::to_vec(told).unwrap()).unwrap();
        assert_eq!(*told, read);
    }

    #[test]
    fn a_lag_is_told_in_powers_of_two() {
        let mut judgement = Judgement::new(ms(100), 3);
        let told = |judgement: &mut Judgement, at, lag_items| {
            judgement.look(ms(at), &Fitness { lag_items, ..Fitness::default() }).lag_items
        };
        assert_eq!(told(&mut judgement, 0, 0), 0);
        assert_eq!(told(&mut judgement, 100, 5), 8);
        assert_eq!(told(&mut judgement, 200, 7), 8);
        assert_eq!(told(&mut judgement, 300, u64::MAX), u64::MAX);
    }
}
