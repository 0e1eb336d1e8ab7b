//! How many changes were made here, and how many of them lie above a place. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Runs of neighbouring places that are remembered; the oldest are forgotten, and not counted any more.
const RUNS_MAX: usize = 65_536;
/// Changes of one run at most, and how long it lasts at most, so that their time is known well enough.
const RUN_MAX: u64 = 1024;
const RUN_TIME_MAX: Duration = Duration::from_millis(50);

/// Changes that lie side by side.
struct Run {
    place: u64,
    count: u64,
    /// Changes made before it.
    before: u64,
    began: Instant,
}

/// The changes that were made here.
#[derive(Default)]
pub(super) struct Runs {
    runs: VecDeque<Run>,
    made: u64,
}

impl Runs {
    /// One more, at a place higher than all before.
    pub(super) fn add(&mut self, place: u64, now: Instant) {
        match self.runs.back_mut() {
            Some(run)
                if run.place + run.count == place
                    && run.count < RUN_MAX
                    && now.duration_since(run.began) < RUN_TIME_MAX =>
            {
                run.count += 1;
            }
            _ => {
                if self.runs.len() >= RUNS_MAX {
                    self.runs.pop_front();
                }
                self.runs.push_back(Run { place, count: 1, before: self.made, began: now });
            }
        }
        self.made += 1;
    }

    /// How many were made above a place, and since when the first of them waits.
    pub(super) fn above(&self, place: u64) -> (u64, Option<Instant>) {
        let next = self.runs.partition_point(|run| run.place + run.count <= place + 1);
        let Some(run) = self.runs.get(next) else { return (0, None) };
        let within = (place + 1).saturating_sub(run.place);
        (self.made - run.before - within, Some(run.began))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_what_lies_above_any_place(gaps in prop::collection::vec(1_u64..4, 0..60), asked in 0_u64..200) {
            let (mut runs, mut places, mut place) = (Runs::default(), Vec::new(), 0);
            for gap in gaps {
                place += gap;
                runs.add(place, Instant::now());
                places.push(place);
            }
            let above = places.iter().filter(|place| **place > asked).count() as u64;
            prop_assert_eq!(runs.above(asked).0, above);
        }
    }

    #[test]
    fn what_was_made_later_does_not_count_as_older_for_lying_beside_what_was_made_before() {
        let (mut runs, begun) = (Runs::default(), Instant::now());
        for place in 1..=100 {
            runs.add(place, begun + Duration::from_millis(10) * place as u32);
        }
        let since = runs.above(99).1.unwrap();
        assert!(begun + Duration::from_millis(1000) - since <= RUN_TIME_MAX, "{:?}", since - begun);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_waits_says_since_when() {
        let (mut runs, begun) = (Runs::default(), Instant::now());
        runs.add(1, begun);
        runs.add(9, begun + Duration::from_secs(3));
        assert_eq!(runs.above(0), (2, Some(begun)));
        assert_eq!(runs.above(1), (1, Some(begun + Duration::from_secs(3))));
        assert_eq!(runs.above(9), (0, None));
    }
}
