//! When nothing is wrong, every role soon runs somewhere (I6), and stays there (I7).

use std::time::Duration;

use super::{Invariant, Moment, Timers};
use crate::sim::Name;

/// The role of every scene that has any.
const ROLE: &str = "default";

/// How long after the last change of the world the primary may still move, or be missing, because of it: an election
/// that took long, a lease that runs out, a start that takes its time.
fn settling(timers: Timers) -> Duration {
    20 * timers.election_max + 16 * timers.node_timeout + Duration::from_secs(2)
}

/// Remembers who was primary once the world had been calm for long enough.
pub struct SettledRoles {
    settling: Duration,
    settled: Option<(Name, u64)>,
}

impl SettledRoles {
    /// The judge for nodes with these timers.
    pub fn new(timers: Timers) -> Self {
        Self { settling: settling(timers), settled: None }
    }
}

impl Invariant for SettledRoles {
    fn claim(&self) -> &'static str {
        "while nothing is wrong there is a primary, and it stays"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let voters = moment.voters();
        let can = |name: &Name| {
            let seen = &moment.nodes[name];
            seen.has_roles && moment.has_majority(*name, &voters)
        };
        let is_calm = moment.now >= moment.calm_since + self.settling;
        if !is_calm || voters.is_empty() || !voters.iter().any(can) {
            self.settled = None;
            return Ok(());
        }
        let runs = |(name, seen): (&Name, &super::Seen)| {
            let run = seen.runs.get(ROLE).filter(|run| run.is_up)?;
            Some((*name, run.epoch))
        };
        let Some(primary) = moment.nodes.iter().find_map(runs) else {
            return Err(format!("nothing has happened since {:?}, and nobody is primary", moment.calm_since));
        };
        let settled = *self.settled.get_or_insert(primary);
        if settled != primary {
            return Err(format!(
                "{} was primary with token {}, nothing has happened since {:?}, and {} is with {}",
                settled.0, settled.1, moment.calm_since, primary.0, primary.1
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::{Story, TIMERS};
    use super::*;
    use crate::sim::roles::Run;

    fn story() -> Story {
        let mut story = Story::new(3);
        for name in 1..=3 {
            story.node(name).has_roles = true;
        }
        story.node(2).runs = runs(3);
        story
    }

    fn runs(epoch: u64) -> BTreeMap<String, Run> {
        BTreeMap::from([(ROLE.to_owned(), Run { epoch, is_up: true, is_double: false })])
    }

    #[test]
    fn a_primary_that_moves_in_calm_times_is_noticed() {
        let (mut story, mut judge) = (story(), SettledRoles::new(TIMERS));
        story.pass(60.0, &mut judge).unwrap();
        story.node(2).runs = runs(4);
        assert!(story.pass(0.1, &mut judge).is_err());
    }

    #[test]
    fn a_primary_that_is_missing_in_calm_times_is_noticed() {
        let (mut story, mut judge) = (story(), SettledRoles::new(TIMERS));
        story.node(2).runs.clear();
        story.pass(5.0, &mut judge).unwrap();
        assert!(story.pass(60.0, &mut judge).is_err());
    }

    #[test]
    fn without_roles_nobody_is_missed() {
        let mut story = Story::new(3);
        story.pass(60.0, &mut SettledRoles::new(TIMERS)).unwrap();
    }
}
