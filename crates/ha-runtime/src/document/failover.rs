//! What the failover room adds to the health document.

use ha_failover::roster::Decision;
use ha_failover::{FailoverState, FailoverStatus};
use serde::Serialize;

use super::{Finding, HealthDocument};

/// Decisions that are shown; `GET /v1/failover` has them all.
const LAST_SHOWN: usize = 5;

/// The `failover_status` of the health document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailoverDetails {
    /// How the roles are.
    #[serde(flatten)]
    pub status: FailoverStatus,
    /// The last decisions and what became of them, the oldest first.
    pub last: Vec<Decision>,
}

impl HealthDocument {
    /// Adds what was decided lately.
    pub(crate) fn with_decisions(mut self, mut history: Vec<Decision>) -> Self {
        if let Some(failover) = self.ha_details.as_mut().and_then(|details| details.failover_status.as_mut()) {
            failover.last = history.split_off(history.len().saturating_sub(LAST_SHOWN));
        }
        self
    }
}

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
