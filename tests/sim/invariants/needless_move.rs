//! The leader does not change without a reason (I7).

use std::time::Duration;

use super::{Invariant, Moment, Timers};
use crate::sim::Name;

/// How long after the last change of the world leadership may still move because of it. A node that joined is promoted,
/// connections are made again, a hand-over that was asked for happens.
fn settling(timers: Timers) -> Duration {
    20 * timers.election_max + 6 * timers.node_timeout + Duration::from_secs(2)
}

/// Remembers who led once the world had been calm for long enough.
pub struct NeedlessMove {
    settling: Duration,
    settled: Option<(Name, u64)>,
}

impl NeedlessMove {
    /// The judge for nodes with these timers.
    pub fn new(timers: Timers) -> Self {
        Self { settling: settling(timers), settled: None }
    }
}

impl Invariant for NeedlessMove {
    fn claim(&self) -> &'static str {
        "nobody takes the lead while nothing is wrong"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        if moment.now < moment.calm_since + self.settling {
            self.settled = None;
            return Ok(());
        }
        let leading = moment.nodes.iter().filter(|(_, seen)| seen.up && seen.leads && seen.live);
        let Some((name, seen)) = leading.max_by_key(|(_, seen)| seen.term) else { return Ok(()) };
        let (settled, term) = *self.settled.get_or_insert((*name, seen.term));
        if (settled, term) != (*name, seen.term) {
            return Err(format!(
                "{settled} led in term {term}, nothing has happened since {:?}, and {name} leads in term {} at {:?}",
                moment.calm_since, seen.term, moment.now
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, TIMERS};
    use super::*;

    #[test]
    fn a_move_in_calm_times_is_noticed() {
        let (mut story, mut judge) = (Story::new(3), NeedlessMove::new(TIMERS));
        story.pass(5.0, &mut judge).unwrap();
        story.leader_is(2, 2);
        story.pass(60.0, &mut judge).unwrap();
        story.leader_is(3, 3);
        assert!(story.pass(0.1, &mut judge).is_err());
    }

    #[test]
    fn a_move_after_a_fault_is_not() {
        let (mut story, mut judge) = (Story::new(3), NeedlessMove::new(TIMERS));
        story.pass(60.0, &mut judge).unwrap();
        story.calm_since = story.now;
        story.leader_is(3, 3);
        story.pass(60.0, &mut judge).unwrap();
    }
}
