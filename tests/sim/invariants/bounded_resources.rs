//! Nothing that peers send makes a node grow without end (I10).

use super::{Invariant, Moment};

/// Most tasks of a node and its clients: connections in both directions, streams, requests being served.
pub const TASKS_MAX: usize = 1000;

/// Looks at what can be seen from outside: the tasks of a node.
pub struct BoundedResources;

impl Invariant for BoundedResources {
    fn claim(&self) -> &'static str {
        "a node stays within its bounds, whatever it is sent"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        match moment.nodes.iter().find(|(_, seen)| seen.up && seen.tasks > TASKS_MAX) {
            Some((name, seen)) => Err(format!("{name} has {} tasks, more than {TASKS_MAX}", seen.tasks)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn a_node_that_grows_is_noticed() {
        let mut story = Story::new(1);
        story.node(1).tasks = TASKS_MAX;
        story.pass(0.1, &mut BoundedResources).unwrap();
        story.node(1).tasks += 1;
        assert!(story.pass(0.1, &mut BoundedResources).is_err());
    }
}
