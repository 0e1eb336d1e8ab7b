//! Each role runs on one node at a time, with a token above all before, and not for long without a lease (I1, I8, I15).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Moment, Timers};
use crate::sim::Name;

/// Remembers the highest token of each role, and in which life of which node it was.
pub struct OnePrimary {
    highest: BTreeMap<String, (u64, Name, u64)>,
    /// When a node last held its lease, or ran nothing.
    leased_at: BTreeMap<Name, Duration>,
    /// How long a stop may take: of a node that gives its lease up, before its time, as when its disk fails.
    stops_within: Duration,
}

impl OnePrimary {
    /// The judge for nodes with these timers.
    pub fn new(timers: Timers) -> Self {
        let (highest, leased_at) = Default::default();
        Self { highest, leased_at, stops_within: timers.node_timeout / 4 }
    }
}

impl Invariant for OnePrimary {
    fn claim(&self) -> &'static str {
        "a role runs on one node at a time, with a token above all before it, and not for long without a lease"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let mut runs: BTreeMap<&str, (Name, u64)> = BTreeMap::new();
        for (name, seen) in moment.nodes {
            if seen.holds_lease || seen.runs.is_empty() {
                self.leased_at.insert(*name, moment.now);
            }
            for (role, run) in &seen.runs {
                if let Some((other, epoch)) = runs.insert(role, (*name, run.epoch)) {
                    return Err(format!("{role} runs on {other} with token {epoch}, and on {name} with {}", run.epoch));
                }
                if run.is_double {
                    return Err(format!("{role} was started on {name}, where it ran already"));
                }
                let leased_at = *self.leased_at.entry(*name).or_insert(moment.now);
                if moment.now > leased_at + self.stops_within {
                    return Err(format!("{role} runs on {name} with token {}, and its lease is over", run.epoch));
                }
                let now = (run.epoch, *name, seen.life);
                let highest = self.highest.entry(role.clone()).or_insert(now);
                if now != *highest && now.0 <= highest.0 {
                    let (epoch, before, _) = *highest;
                    return Err(format!(
                        "{role} ran on {before} with token {epoch}, and runs on {name} with {}",
                        now.0
                    ));
                }
                *highest = now;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, TIMERS};
    use super::*;
    use crate::sim::roles::Run;

    fn story() -> Story {
        let mut story = Story::new(3);
        for name in 1..=3 {
            story.node(name).holds_lease = true;
        }
        story
    }

    fn runs(epoch: u64) -> BTreeMap<String, Run> {
        BTreeMap::from([("default".to_owned(), Run { epoch, is_up: true, is_double: false })])
    }

    #[test]
    fn one_after_the_other_with_rising_tokens_is_well() {
        let (mut story, mut judge) = (story(), OnePrimary::new(TIMERS));
        story.node(1).runs = runs(3);
        story.pass(0.1, &mut judge).unwrap();
        story.node(1).runs.clear();
        story.node(2).runs = runs(7);
        story.pass(0.1, &mut judge).unwrap();
    }

    #[test]
    fn two_at_once_are_noticed() {
        let mut story = story();
        story.node(1).runs = runs(3);
        story.node(2).runs = runs(7);
        assert!(story.pass(0.1, &mut OnePrimary::new(TIMERS)).is_err());
    }

    #[test]
    fn a_token_that_falls_or_comes_again_is_noticed() {
        for again in [3, 2] {
            let (mut story, mut judge) = (story(), OnePrimary::new(TIMERS));
            story.node(1).runs = runs(3);
            story.pass(0.1, &mut judge).unwrap();
            story.node(1).runs.clear();
            story.node(2).runs = runs(again);
            assert!(story.pass(0.1, &mut judge).is_err());
        }
    }

    #[test]
    fn a_start_on_top_of_another_is_noticed() {
        let mut story = story();
        story.node(1).runs = runs(3);
        if let Some(run) = story.node(1).runs.get_mut("default") {
            run.is_double = true;
        }
        assert!(story.pass(0.1, &mut OnePrimary::new(TIMERS)).is_err());
    }

    #[test]
    fn a_service_that_outlives_its_lease_is_noticed() {
        let (mut story, mut judge) = (story(), OnePrimary::new(TIMERS));
        story.node(1).runs = runs(3);
        story.pass(0.1, &mut judge).unwrap();
        story.node(1).holds_lease = false;
        story.pass(0.1, &mut judge).unwrap();
        assert!(story.pass(0.1, &mut judge).is_err());
    }
}
