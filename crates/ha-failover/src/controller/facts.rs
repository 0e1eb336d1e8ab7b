//! What the leader knows when it decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ha_cluster::{NodeId, Term};

use crate::roster::{Standing, State};

/// What the cluster says of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberFact {
    /// It answers.
    pub(crate) alive: bool,
    /// It has been silent for the node timeout, or said goodbye.
    pub(crate) failed: bool,
    /// It keeps no application data.
    pub(crate) witness: bool,
    /// It votes.
    pub(crate) voter: bool,
    /// Higher is preferred; 0 never holds a role.
    pub(crate) priority: u16,
    /// Where it can be dialled.
    pub(crate) address: String,
}

/// One look at everything, on the leader.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The term in which this node leads.
    pub(crate) term: Term,
    /// All members.
    pub(crate) members: BTreeMap<NodeId, MemberFact>,
    /// The nodes whose lease is not over.
    pub(crate) held: BTreeSet<NodeId>,
    /// Those of them that did not renew it lately.
    pub(crate) silent: BTreeSet<NodeId>,
    /// What the log says.
    pub(crate) roster: Arc<State>,
}

impl Facts {
    /// What a node says of itself, if it has in this life of the cluster.
    pub(crate) fn standing(&self, node: &NodeId) -> Option<&Standing> {
        self.roster.nodes.get(node)
    }

    /// The priority of a node.
    pub(crate) fn priority(&self, node: &NodeId) -> u16 {
        self.members.get(node).map_or(0, |member| member.priority)
    }

    /// Whether a node votes, and at most one other does: without it nothing can be agreed.
    pub(crate) fn is_one_of_a_pair(&self, node: &NodeId) -> bool {
        let voters = self.members.values().filter(|member| member.voter).count();
        voters <= 2 && self.members.get(node).is_some_and(|member| member.voter)
    }

    /// Whether a node could run something now, as far as it concerns the node alone; else why not.
    pub(crate) fn fit(&self, node: &NodeId, lag_items_max: u64) -> Result<(), String> {
        let Some(member) = self.members.get(node) else { return Err("is not a member".to_owned()) };
        if member.witness {
            return Err("is a witness".to_owned());
        }
        if member.priority == 0 {
            return Err("has priority 0".to_owned());
        }
        if !member.alive {
            return Err("is silent".to_owned());
        }
        let Some(standing) = self.standing(node) else { return Err("has not said yet how it is".to_owned()) };
        if standing.draining {
            return Err("is about to stop".to_owned());
        }
        if !standing.fitness.healthy {
            let reason = standing.fitness.reason.as_deref().unwrap_or("a component failed");
            return Err(format!("is unhealthy: {reason}"));
        }
        if !self.held.contains(node) {
            return Err("holds no lease".to_owned());
        }
        if !standing.fitness.in_sync {
            return Err("does not hold all that was acknowledged".to_owned());
        }
        if standing.fitness.lag_items > lag_items_max {
            return Err(format!("lacks about {} records", standing.fitness.lag_items));
        }
        Ok(())
    }
}
