//! Leadership goes to the highest priority, slowly.

use std::cmp::Reverse;
use std::time::Duration;

use super::decide::{Action, Controller, Decision};
use super::facts::Facts;
use super::target::{check_eligible, check_ready};
use crate::MemberState;

/// How often leadership may come to one node within the window, whether it was handed over or won.
const TIMES_LED_MAX: usize = 2;

impl Controller {
    /// Hands leadership to a voter of strictly higher priority that is ready for long enough. Equal priorities never
    /// move it, and a node that keeps losing it gets it back more and more slowly.
    pub(super) fn takeover(&self, facts: &Facts) -> Decision {
        let (me, mine) = (&facts.me, facts.priority(&facts.me));
        let voters = facts.voters();
        let mut higher: Vec<_> = voters.iter().filter(|node| facts.priority(node) > mine).collect();
        higher.retain(|node| check_eligible(facts, node).is_ok());
        higher.sort_by_key(|node| (Reverse(facts.priority(node)), **node));
        let Some(first) = higher.first() else {
            return Decision::nothing(format_args!("{me} leads and has the highest priority"));
        };
        let mut unready = None;
        let ready = higher.iter().find(|node| match check_ready(facts, node) {
            Ok(()) => true,
            Err(refusal) => {
                unready.get_or_insert(refusal);
                false
            }
        });
        let Some(to) = ready else {
            let why = unready.map_or_else(|| format!("{first} is not ready"), |refusal| refusal.to_string());
            return Decision::nothing(format_args!("{me} leads and nobody of higher priority is ready: {why}"));
        };
        let standing = format!("{to} has the higher priority ({} against {mine} of {me})", facts.priority(to));
        match self.gate(facts, to) {
            Ok(()) => Decision::act(Action::Transfer((**to).clone()), format!("hands over to {to}: {standing}")),
            Err(why) => Decision::nothing(format_args!("{standing}, but {why}")),
        }
    }

    /// What speaks against a hand-over to a ready node of higher priority now.
    fn gate(&self, facts: &Facts, to: &ha_net::NodeId) -> Result<(), String> {
        let since = |instant: Duration| facts.now.saturating_sub(instant);
        if facts.paused {
            return Err("automatic moves are paused".to_owned());
        }
        let restless = facts.voters().into_iter().find(|voter| match facts.state(voter) {
            MemberState::Alive => false,
            // One that is gone for good must not hold the others' order up.
            _ => !self.failed_for_good(facts, voter),
        });
        if let Some(voter) = restless {
            return Err(format!("{voter} is not alive, and nothing is moved while a voter may be failing"));
        }
        let hold = self.observed.hold(facts.now, to, &self.settings);
        let ready = self.observed.of(to).ready_since.map_or(Duration::ZERO, since);
        if ready < hold {
            return Err(format!("must stay ready for {} more", seconds(hold - ready)));
        }
        let (tenure, wanted) = (since(facts.leader_since), self.settings.takeover_hold);
        if tenure < wanted {
            return Err(format!("{} leads only since {} of {}", facts.me, seconds(tenure), seconds(wanted)));
        }
        let led = self.observed.times_led(facts.now, to, &self.settings);
        if led >= TIMES_LED_MAX {
            return Err(format!("led {led} times lately, which is as often as it may"));
        }
        Ok(())
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
