//! A node's lease has ended by its own clock before the cluster says that it is over (I1: whoever acts next finds nobody
//! still acting).

use super::{Invariant, Moment};

/// Compares what a leader says of a lease with what its holder believes.
pub struct LeaseEndsFirst;

impl Invariant for LeaseEndsFirst {
    fn claim(&self) -> &'static str {
        "a node believes in its lease no more when the leader says that it is over"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (leader, seen) in moment.nodes {
            let holds = |name: &&crate::sim::Name| moment.nodes.get(name).is_some_and(|holder| holder.holds_lease);
            if let Some(holder) = seen.called_over.iter().find(holds) {
                return Err(format!("{leader} says that the lease of {holder} is over, and {holder} holds it"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;
    use crate::sim::Name;

    #[test]
    fn a_lease_that_is_still_held_must_not_be_called_over() {
        let mut story = Story::new(3);
        story.node(2).holds_lease = true;
        story.node(1).called_over = vec![Name(3)];
        story.pass(0.1, &mut LeaseEndsFirst).unwrap();
        story.node(1).called_over = vec![Name(2)];
        assert!(story.pass(0.1, &mut LeaseEndsFirst).is_err());
    }
}
