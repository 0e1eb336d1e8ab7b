//! Terms and applied commands never go back (I14).

use std::collections::BTreeMap;

use super::{Invariant, Moment};
use crate::sim::Name;

/// Remembers how far each node was.
#[derive(Default)]
pub struct Monotonic {
    nodes: BTreeMap<Name, Marks>,
}

#[derive(Clone, Copy, Default)]
struct Marks {
    life: u64,
    disk: u64,
    /// In this life.
    term: u64,
    /// In this life.
    epoch: u64,
    /// The highest term in which it led, in any life: it voted for itself there, and may not forget that.
    led: u64,
    /// The most commands it had applied, in any life: it must come to that again.
    epoch_ever: u64,
}

impl Invariant for Monotonic {
    fn claim(&self) -> &'static str {
        "terms, votes and applied commands never go back on a node"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (name, seen) in moment.nodes.iter().filter(|(_, seen)| seen.up) {
            let marks = self.nodes.entry(*name).or_default();
            if marks.disk != seen.disk {
                *marks = Marks { disk: seen.disk, ..Marks::default() };
            }
            if marks.life != seen.life {
                *marks = Marks { life: seen.life, term: 0, epoch: 0, ..*marks };
                if seen.term < marks.led {
                    return Err(format!("{name} led in term {} and restarted in term {}", marks.led, seen.term));
                }
            }
            if seen.term < marks.term {
                return Err(format!("the term of {name} went from {} to {}", marks.term, seen.term));
            }
            if seen.epoch < marks.epoch {
                return Err(format!("the applied commands of {name} went from {} to {}", marks.epoch, seen.epoch));
            }
            marks.term = seen.term;
            marks.epoch = seen.epoch;
            marks.epoch_ever = marks.epoch_ever.max(seen.epoch);
            if seen.leads {
                marks.led = marks.led.max(seen.term);
            }
        }
        Ok(())
    }

    fn check_end(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (name, seen) in moment.nodes.iter().filter(|(_, seen)| seen.up && !seen.stopped) {
            let ever = self.nodes.get(name).map_or(0, |marks| marks.epoch_ever);
            if seen.epoch < ever {
                return Err(format!("{name} had applied {ever} commands once, and {} in the end", seen.epoch));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn a_term_that_goes_back_in_one_life_is_noticed() {
        let (mut story, mut judge) = (Story::new(3), Monotonic::default());
        story.leader_is(1, 5);
        story.pass(0.1, &mut judge).unwrap();
        story.node(2).term = 4;
        assert!(story.pass(0.1, &mut judge).is_err());
    }

    #[test]
    fn a_leader_that_forgot_its_vote_is_noticed_and_a_follower_may_have_seen_less() {
        let (mut story, mut judge) = (Story::new(3), Monotonic::default());
        story.leader_is(1, 5);
        story.pass(0.1, &mut judge).unwrap();
        story.node(2).life = 2;
        story.node(2).term = 4;
        story.pass(0.1, &mut judge).unwrap();
        story.node(1).life = 2;
        story.node(1).term = 4;
        assert!(story.pass(0.1, &mut judge).is_err());
    }

    #[test]
    fn another_disk_has_promised_nothing() {
        let (mut story, mut judge) = (Story::new(3), Monotonic::default());
        story.leader_is(1, 5);
        story.pass(0.1, &mut judge).unwrap();
        *story.node(1) = super::super::Seen { life: 2, disk: 1, up: true, ..Default::default() };
        story.pass(0.1, &mut judge).unwrap();
    }

    #[test]
    fn applied_commands_that_never_come_back_are_noticed_at_the_end() {
        let (mut story, mut judge) = (Story::new(1), Monotonic::default());
        story.node(1).epoch = 10;
        story.pass(0.1, &mut judge).unwrap();
        story.node(1).life = 2;
        story.node(1).epoch = 9;
        story.pass(0.1, &mut judge).unwrap();
        assert!(judge.check_end(&story.moment()).is_err());
    }
}
