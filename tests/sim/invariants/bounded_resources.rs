//! Nothing that peers send makes a node grow without end (I10).

use super::{Invariant, Moment};

/// Most tasks of a node and its clients: connections in both directions, streams, requests being served.
pub const TASKS_MAX: usize = 1000;

/// Most bytes of all files of a node: the log since the last snapshot but one, segments made ready, and snapshots.
pub const DISK_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The ledger that is played with keeps every entry, in eight bytes, and so do two snapshots and one that is written.
const LEDGER_ENTRY_BYTES: u64 = 3 * 8;

/// Looks at what can be seen from outside: tasks, and the size of the files.
pub struct BoundedResources;

impl Invariant for BoundedResources {
    fn claim(&self) -> &'static str {
        "a node stays within its bounds, whatever it is sent"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (name, seen) in moment.nodes.iter().filter(|(_, seen)| seen.up) {
            if seen.tasks > TASKS_MAX {
                return Err(format!("{name} has {} tasks, more than {TASKS_MAX}", seen.tasks));
            }
            let most = DISK_BYTES_MAX + LEDGER_ENTRY_BYTES * seen.entries.len() as u64;
            if seen.disk_bytes > most {
                return Err(format!("{name} has {} bytes on disk, more than {most}", seen.disk_bytes));
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
    fn a_log_that_is_never_cut_is_noticed() {
        let mut story = Story::new(1);
        story.node(1).disk_bytes = DISK_BYTES_MAX + 1;
        assert!(story.pass(0.1, &mut BoundedResources).is_err());
    }

    #[test]
    fn a_node_that_grows_is_noticed() {
        let mut story = Story::new(1);
        story.node(1).tasks = TASKS_MAX;
        story.pass(0.1, &mut BoundedResources).unwrap();
        story.node(1).tasks += 1;
        assert!(story.pass(0.1, &mut BoundedResources).is_err());
    }
}
