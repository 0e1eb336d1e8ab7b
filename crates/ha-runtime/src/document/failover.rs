//! What the failover room adds to the health document.

use ha_failover::{FailoverState, FailoverStatus};

use super::Finding;

/// What is wrong with the roles, seen from this node. A role that runs nowhere is no fault of the node that says so.
pub(super) fn finding(status: &FailoverStatus) -> Option<Finding> {
    let why = |text: &str| match &status.waiting_for {
        Some(waiting_for) => format!("{text}: {waiting_for}"),
        None => text.to_owned(),
    };
    let text = match status.state {
        FailoverState::Normal if status.waiting_for.is_some() => why("the primary needs attention"),
        FailoverState::Normal => return None,
        FailoverState::Detecting => why("whether the primary is alive is not certain"),
        FailoverState::FailingOver => why("a role moves to another node"),
        FailoverState::FailingBack => why("a role returns to the node that it prefers"),
        FailoverState::NoPrimary => why("there is no primary"),
        FailoverState::Paused => "failover is paused: no role moves by itself".to_owned(),
    };
    Some(Finding::degraded(text))
}
