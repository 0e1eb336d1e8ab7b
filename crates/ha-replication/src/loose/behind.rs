//! How much this copy lacks of what the master has, as far as the master's last word of it can be believed.
//!
//! A word that is old says nothing of what the master has acknowledged since. Its age counts up to when the master was
//! seen no more. A process that was stopped meanwhile, or starved, reads words that are old as if they came now: for a
//! while after such a pause nothing is believed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long after a pause what is read may have waited for its end. A master that lives says more by then.
const DOUBT: Duration = Duration::from_secs(1);

/// What the master last said.
pub(super) struct Behind {
    age_max: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    told: Option<Told>,
    /// When this process was last known to run.
    beat: Option<Instant>,
    doubted_until: Option<Instant>,
    /// Since when the master is seen no more.
    gone_since: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Told {
    epoch: u64,
    left: u64,
    at: Instant,
}

impl State {
    fn notice(&mut self, now: Instant, age_max: Duration) {
        if self.beat.is_some_and(|before| now.saturating_duration_since(before) > age_max) {
            self.told = None;
            self.doubted_until = Some(now + DOUBT);
        }
        self.beat = Some(now);
    }
}

impl Behind {
    /// A word is believed for so long.
    pub(super) fn new(age_max: Duration) -> Self {
        Self { age_max, state: Mutex::default() }
    }

    fn noticed(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.notice(now, self.age_max);
        state
    }

    /// This process runs, and sees the master or does not. To be called far more often than words age.
    pub(super) fn beat(&self, now: Instant, sees_master: bool) {
        let mut state = self.noticed(now);
        state.gone_since = if sees_master { None } else { state.gone_since.or(Some(now)) };
    }

    /// The master of an epoch has so many more changes for this copy.
    pub(super) fn told(&self, now: Instant, epoch: u64, left: u64) {
        let mut state = self.noticed(now);
        let is_doubted = state.doubted_until.is_some_and(|until| now < until);
        state.told = (!is_doubted).then_some(Told { epoch, left, at: now });
    }

    /// What this copy lacks of the master of an epoch; `None` when that is not known.
    pub(super) fn left(&self, now: Instant, epoch: u64) -> Option<u64> {
        let state = self.noticed(now);
        let upto = state.gone_since.map_or(now, |since| since.min(now));
        let told = state.told.filter(|told| told.epoch == epoch)?;
        (upto.saturating_duration_since(told.at) <= self.age_max).then_some(told.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE_MAX: Duration = Duration::from_secs(9);

    #[test]
    fn a_word_is_believed_while_it_is_young_or_the_master_is_gone() {
        let (behind, begun) = (Behind::new(AGE_MAX), Instant::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        assert_eq!(behind.left(at(0), 3), None);
        behind.told(at(0), 3, 5);
        assert_eq!((behind.left(at(0), 3), behind.left(at(0), 4)), (Some(5), None));
        (1..9).for_each(|second| behind.beat(at(second), true));
        assert_eq!(behind.left(at(9), 3), Some(5));
        behind.beat(at(10), true);
        assert_eq!(behind.left(at(10), 3), None, "the master may have acknowledged more since");
        behind.told(at(10), 3, 7);
        (11..100).for_each(|second| behind.beat(at(second), second < 15));
        assert_eq!(behind.left(at(100), 3), Some(7), "since then it has acknowledged nothing");
    }

    #[test]
    fn what_is_read_after_a_pause_is_not_believed_at_once() {
        let (behind, begun) = (Behind::new(AGE_MAX), Instant::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        behind.told(at(0), 3, 0);
        behind.told(at(13), 3, 0);
        behind.beat(at(13), false);
        assert_eq!(behind.left(at(13), 3), None, "it was said at any time since the pause began");
        behind.told(at(14), 3, 2);
        assert_eq!(behind.left(at(14), 3), Some(2));
    }
}
