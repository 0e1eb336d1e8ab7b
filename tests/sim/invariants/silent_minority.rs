//! A node without a quorum falls silent (I8).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Moment, Timers};
use crate::sim::Name;

/// How long a node that was cut off may still believe that its leader can commit: its lease, the look that notices its
/// end, and what was on its way when the link was cut.
fn bound(timers: Timers) -> Duration {
    timers.election_max + 3 * timers.heartbeat + Duration::from_millis(100)
}

/// Remembers since when each node has been without a majority, and since when without anybody who has one: a node may
/// forward what it is asked.
pub struct SilentMinority {
    bound: Duration,
    alone_since: BTreeMap<Name, Duration>,
    unserved_since: BTreeMap<Name, Duration>,
    judged: usize,
}

impl SilentMinority {
    /// The judge for nodes with these timers.
    pub fn new(timers: Timers) -> Self {
        Self { bound: bound(timers), alone_since: BTreeMap::new(), unserved_since: BTreeMap::new(), judged: 0 }
    }
}

impl Invariant for SilentMinority {
    fn claim(&self) -> &'static str {
        "a node that reaches no majority acknowledges nothing and does not claim to lead, once its lease is over"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let voters = moment.voters();
        let able: Vec<Name> = voters.iter().copied().filter(|name| moment.reaches_majority(*name, &voters)).collect();
        for (name, seen) in moment.nodes {
            if voters.is_empty() || able.iter().any(|leader| moment.network.is_connected(*name, *leader)) {
                self.unserved_since.remove(name);
            } else {
                self.unserved_since.entry(*name).or_insert(moment.now);
            }
            if !seen.up || voters.is_empty() || able.contains(name) {
                self.alone_since.remove(name);
                continue;
            }
            let since = *self.alone_since.entry(*name).or_insert(moment.now);
            if moment.now > since + self.bound && seen.leads && seen.live {
                return Err(format!(
                    "{name} has reached no majority since {since:?} and says at {:?} that it leads",
                    moment.now
                ));
            }
        }
        for (when, operation, answer) in moment.operations.answered_since(self.judged) {
            let Some(since) = self.unserved_since.get(&operation.node) else { continue };
            if answer.is_success() && operation.asked > *since + self.bound {
                return Err(format!(
                    "{} has reached nobody with a majority since {since:?}; operation {} was asked there at {:?} and answered \
                     {answer:?} at {when:?}",
                    operation.node, operation.number, operation.asked
                ));
            }
        }
        self.judged = moment.operations.answered_count();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, TIMERS};
    use super::*;
    use crate::sim::history::{Answer, Request};

    fn cut_off_leader() -> (Story, SilentMinority) {
        let story = Story::new(3);
        for other in [2, 3] {
            story.network.set_cut(Name(1), Name(other), true);
            story.network.set_cut(Name(other), Name(1), true);
        }
        (story, SilentMinority::new(TIMERS))
    }

    #[test]
    fn a_cut_off_leader_may_believe_in_itself_for_its_lease_and_no_longer() {
        let (mut story, mut judge) = cut_off_leader();
        story.pass(0.4, &mut judge).unwrap();
        assert!(story.pass(1.0, &mut judge).is_err());
    }

    #[test]
    fn a_cut_off_leader_that_steps_down_is_good() {
        let (mut story, mut judge) = cut_off_leader();
        story.pass(0.4, &mut judge).unwrap();
        story.node(1).live = false;
        story.pass(5.0, &mut judge).unwrap();
    }

    #[test]
    fn a_node_that_reaches_only_the_leader_may_pass_on_its_answers() {
        let mut story = Story::new(5);
        for other in [2, 3, 4] {
            story.network.set_cut(Name(5), Name(other), true);
        }
        let mut judge = SilentMinority::new(TIMERS);
        story.pass(3.0, &mut judge).unwrap();
        let number = story.operations.ask(Name(5), Request::Read, story.now);
        story.operations.answer(number, Answer::Read { length: 0, last: None }, story.now);
        story.pass(0.1, &mut judge).unwrap();
    }

    #[test]
    fn an_acknowledgement_in_the_minority_is_noticed() {
        let (mut story, mut judge) = cut_off_leader();
        story.node(1).live = false;
        story.pass(3.0, &mut judge).unwrap();
        let number = story.operations.ask(Name(1), Request::Read, story.now);
        story.operations.answer(number, Answer::Read { length: 0, last: None }, story.now);
        assert!(story.pass(0.1, &mut judge).is_err());
    }
}
