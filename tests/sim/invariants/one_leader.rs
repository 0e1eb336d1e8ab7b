//! At most one leader per term (I1).

use std::collections::BTreeMap;

use super::{Invariant, Moment};
use crate::sim::Name;

/// Remembers who led each term, as the leader itself and everybody else saw it.
#[derive(Default)]
pub struct OneLeader {
    leaders: BTreeMap<u64, Name>,
}

impl Invariant for OneLeader {
    fn claim(&self) -> &'static str {
        "at most one node leads in a term"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (name, seen) in moment.nodes.iter().filter(|(_, seen)| seen.up && !seen.left_behind) {
            let Some(leader) = seen.leader else { continue };
            let first = *self.leaders.entry(seen.term).or_insert(leader);
            if first != leader {
                return Err(format!("term {} is led by {first}, and by {leader} as {name} sees it", seen.term));
            }
        }
        Ok(())
    }

    fn forked(&mut self, _moment: &Moment<'_>, _survivor: Name) {
        self.leaders.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn a_second_leader_of_a_term_is_noticed_even_later() {
        let (mut story, mut judge) = (Story::new(3), OneLeader::default());
        story.pass(1.0, &mut judge).unwrap();
        story.leader_is(2, 2);
        story.pass(1.0, &mut judge).unwrap();
        story.node(3).term = 1;
        story.node(3).leader = Some(Name(3));
        assert!(story.pass(0.1, &mut judge).is_err());
    }
}
