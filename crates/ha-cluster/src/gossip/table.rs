//! The opinions of this node, and what changes in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_net::NodeId;

use super::Opinion;
use crate::MemberState;

/// Most nodes of which there is an opinion, this one included.
pub(super) const MEMBERS_MAX: usize = 1024;

/// The opinions, by node.
#[derive(Default)]
pub(super) struct Table {
    opinions: BTreeMap<NodeId, Opinion>,
    suspects: usize,
}

impl Table {
    pub(super) fn all(&self) -> &BTreeMap<NodeId, Opinion> {
        &self.opinions
    }

    pub(super) fn get(&self, node: &NodeId) -> Option<&Opinion> {
        self.opinions.get(node)
    }

    pub(super) fn has_suspects(&self) -> bool {
        self.suspects > 0
    }

    /// Takes over an opinion; returns the sentence about it when it differs from the last one. Its `since` counts only
    /// when the state is new.
    pub(super) fn judge(&mut self, node: &NodeId, mut opinion: Opinion) -> Option<(Opinion, Option<String>)> {
        let before = self.opinions.get(node);
        if let Some(before) = before
            && before.state == opinion.state
        {
            opinion.since = before.since;
            if *before == opinion {
                return None;
            }
        }
        let sentence = sentence(node, before, &opinion);
        let was_suspect = before.is_some_and(|before| before.state == MemberState::Suspect);
        self.suspects = self.suspects + usize::from(opinion.state == MemberState::Suspect) - usize::from(was_suspect);
        self.opinions.insert(node.clone(), opinion.clone());
        Some((opinion, sentence))
    }

    /// Drops all nodes but these.
    pub(super) fn keep(&mut self, nodes: &BTreeSet<&NodeId>) -> Vec<NodeId> {
        let dropped: Vec<_> = self.opinions.keys().filter(|node| !nodes.contains(node)).cloned().collect();
        for node in &dropped {
            if self.opinions.remove(node).is_some_and(|opinion| opinion.state == MemberState::Suspect) {
                self.suspects -= 1;
            }
        }
        dropped
    }

    /// The nodes that failed or left, and since when they have been gone.
    pub(super) fn gone(&self) -> impl Iterator<Item = (&NodeId, Duration)> {
        let gone = |opinion: &Opinion| matches!(opinion.state, MemberState::Failed | MemberState::Left);
        self.opinions.iter().filter(move |(_, opinion)| gone(opinion)).map(|(node, opinion)| (node, opinion.since))
    }
}

fn sentence(node: &NodeId, before: Option<&Opinion>, now: &Opinion) -> Option<String> {
    let (incarnation, address) = (now.incarnation.0, &now.address);
    Some(match (before, now.state) {
        (None, MemberState::Alive | MemberState::Suspect) => {
            format!("{node} is there, at {address}, in its life {incarnation}")
        }
        (None, MemberState::Failed) => format!("{node} is known to have failed"),
        (None, MemberState::Left) => format!("{node} is known to have left"),
        (Some(before), MemberState::Alive) if before.incarnation < now.incarnation => {
            format!("{node} has started again, at {address}, in its life {incarnation}")
        }
        (Some(before), state) if before.state == state => return None,
        (Some(before), MemberState::Alive) if before.state == MemberState::Suspect => format!("{node} answers again"),
        (Some(_), MemberState::Alive) => format!("{node} is back"),
        (Some(_), MemberState::Suspect) => format!("{node} does not answer and is suspected to have failed"),
        (Some(_), MemberState::Failed) => format!("{node} has been silent for too long: it has failed"),
        (Some(_), MemberState::Left) => format!("{node} has left"),
    })
}
