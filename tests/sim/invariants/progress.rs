//! Where a majority is connected, there is a leader that can commit (I6).

use std::time::Duration;

use super::{Invariant, Moment, Timers};

/// How long a connected majority may be without a leader: a few elections that failed, and the repair of connections
/// that were cut, which takes two silences and a dial.
fn bound(timers: Timers) -> Duration {
    20 * timers.election_max + 6 * timers.node_timeout + Duration::from_secs(2)
}

/// Remembers since when a leader has been owed.
pub struct Progress {
    bound: Duration,
    owed_since: Option<Duration>,
}

impl Progress {
    /// The judge for nodes with these timers.
    pub fn new(timers: Timers) -> Self {
        Self { bound: bound(timers), owed_since: None }
    }
}

impl Invariant for Progress {
    fn claim(&self) -> &'static str {
        "where a majority of the voters is connected, there is soon a leader that can commit"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let voters = moment.voters();
        let owed = !voters.is_empty() && voters.iter().any(|name| moment.has_majority(*name, &voters));
        let led = moment.nodes.values().any(|seen| seen.up && seen.leads && seen.live);
        if !owed || led {
            self.owed_since = None;
            return Ok(());
        }
        let since = *self.owed_since.get_or_insert(moment.now);
        if moment.now > since + self.bound {
            return Err(format!("a majority has been connected since {since:?}, and nobody leads at {:?}", moment.now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, TIMERS};
    use super::*;
    use crate::sim::Name;

    #[test]
    fn a_majority_without_a_leader_is_noticed_and_a_minority_is_not() {
        let (mut story, mut judge) = (Story::new(3), Progress::new(TIMERS));
        story.pass(60.0, &mut judge).unwrap();
        for name in 1..=3 {
            story.node(name).leads = false;
        }
        for (one, other) in [(1, 2), (2, 3), (3, 1)] {
            story.network.set_cut(Name(one), Name(other), true);
        }
        story.pass(60.0, &mut judge).unwrap();
        story.network.set_cut(Name(1), Name(2), false);
        story.network.set_cut(Name(3), Name(1), false);
        assert!(story.pass(60.0, &mut judge).is_err());
    }
}
