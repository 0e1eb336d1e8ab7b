//! Who could lead next.

use std::cmp::Reverse;

use ha_net::NodeId;

use super::facts::Facts;
use crate::{MemberState, Role};

/// Why leadership does not move, found out before anything is frozen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TransferRefusal {
    /// The target is no member.
    #[error("{node} is not a member of this cluster")]
    NotAMember {
        /// The target.
        node: NodeId,
    },
    /// The target leads already.
    #[error("{node} leads already")]
    LeadsAlready {
        /// The target.
        node: NodeId,
    },
    /// The target may not lead.
    #[error("{node} may not lead: {reason}")]
    NotEligible {
        /// The target.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The target could not lead now.
    #[error("{node} is not ready to lead: {reason}")]
    NotReady {
        /// The target.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// No target was named, and nobody could lead.
    #[error("no other node can lead now: {reason}")]
    NoCandidate {
        /// Why each could not.
        reason: String,
    },
    /// Something must end first.
    #[error("{what} is on its way")]
    Busy {
        /// What.
        what: &'static str,
    },
}

/// Candidates that a refusal explains one by one.
const EXPLAINED_MAX: usize = 8;

/// The node that would lead after a transfer: the wanted one, or the best of all. Nothing is frozen by asking.
pub(crate) fn choose_target(facts: &Facts, wanted: Option<&NodeId>) -> Result<NodeId, TransferRefusal> {
    if let Some(what) = facts.busy {
        return Err(TransferRefusal::Busy { what });
    }
    if facts.joint {
        return Err(TransferRefusal::Busy { what: "a membership change" });
    }
    if let Some(node) = wanted {
        return check_eligible(facts, node).and_then(|()| check_ready(facts, node)).map(|()| node.clone());
    }
    let voters = facts.voters().into_iter().filter(|node| **node != facts.me);
    let (able, unable): (Vec<_>, Vec<_>) = voters
        .map(|node| (node, check_eligible(facts, node).and_then(|()| check_ready(facts, node))))
        .partition(|(_, checked)| checked.is_ok());
    let best = able.into_iter().map(|(node, _)| node).min_by_key(|node| rank(facts, node));
    best.cloned().ok_or_else(|| {
        let reasons: Vec<String> = unable
            .into_iter()
            .take(EXPLAINED_MAX)
            .filter_map(|(_, checked)| Some(checked.err()?.to_string()))
            .collect();
        let nobody = "there is no other voter".to_owned();
        TransferRefusal::NoCandidate { reason: if reasons.is_empty() { nobody } else { reasons.join("; ") } }
    })
}

/// The best comes first: by priority, then by how much of the log it has, then by id.
fn rank<'a>(facts: &Facts, node: &'a NodeId) -> (Reverse<u16>, u64, &'a NodeId) {
    (Reverse(facts.priority(node)), facts.lag(node), node)
}

/// Whether a node may lead at all.
pub(super) fn check_eligible(facts: &Facts, node: &NodeId) -> Result<(), TransferRefusal> {
    let not = |reason: &str| Err(TransferRefusal::NotEligible { node: node.clone(), reason: reason.to_owned() });
    if *node == facts.me {
        return Err(TransferRefusal::LeadsAlready { node: node.clone() });
    }
    let Some(seat) = facts.members.get(node) else {
        return Err(TransferRefusal::NotAMember { node: node.clone() });
    };
    if seat.role == Role::Witness {
        not("it is a witness")
    } else if !seat.voter {
        not("it is a learner, which does not vote")
    } else if facts.priority(node) == 0 {
        not("its priority is 0")
    } else if facts.leaving.contains(node) {
        not("it leaves the cluster")
    } else {
        Ok(())
    }
}

/// Whether a node that may lead could do so now.
pub(super) fn check_ready(facts: &Facts, node: &NodeId) -> Result<(), TransferRefusal> {
    let not = |reason: String| Err(TransferRefusal::NotReady { node: node.clone(), reason });
    match facts.state(node) {
        MemberState::Alive => {}
        MemberState::Suspect => return not("it missed probes".to_owned()),
        MemberState::Failed => return not("it is silent".to_owned()),
        MemberState::Left => return not("it has stopped".to_owned()),
    }
    if !facts.healthy(node) {
        not("it says that it is not healthy".to_owned())
    } else if !facts.matched.contains_key(node) {
        not("it is not known how much of the log it has".to_owned())
    } else if !facts.caught_up(node) {
        not(format!("it is {} entries behind", facts.lag(node)))
    } else {
        Ok(())
    }
}
