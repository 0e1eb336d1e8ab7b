//! Switching off a node that has failed, so that its roles move before its lease is over.
//!
//! That a node is failed is an opinion of gossip. It is switched off only when it did not renew its lease either, and
//! only once a majority has agreed, after that: whoever leads without one cuts off itself, and not the others. Of two
//! voters neither can agree without the other: see [`crate::lonely`].

use std::collections::BTreeMap;
use std::time::Duration;

use ha_cluster::{Incarnation, NodeId, Term};

use super::facts::Facts;
use super::{Output, Subject, Wanted};
use crate::roster::Command;

/// Nodes that are remembered; the first go first.
const REMEMBERED_MAX: usize = 1024;

/// One life of a node.
type Life = (NodeId, Incarnation);

#[derive(Debug, PartialEq, Eq)]
enum Fence {
    /// The others are asked to agree, in this term.
    Asked(Term),
    /// They have, just now.
    Agreed,
    /// The command runs.
    Tried,
    /// It said that the node is certainly stopped.
    Certain,
    /// It failed, or the others did not agree, and it is tried again then.
    Failed { again_at: Duration },
}

/// What is known of nodes that were to be switched off.
#[derive(Debug)]
pub(super) struct Fencing {
    enabled: bool,
    nodes: BTreeMap<Life, Fence>,
    pause: Duration,
}

impl Fencing {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, nodes: BTreeMap::new(), pause: Duration::ZERO }
    }

    /// Whether that life of a node is certainly over.
    pub(super) fn is_fenced(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        self.nodes.get(&(node.clone(), incarnation)) == Some(&Fence::Certain)
    }

    /// Begins with nodes that hold a role, have failed, and are silent, if any may be switched off.
    pub(super) fn look(
        &mut self,
        now: Duration,
        facts: &Facts,
        (may, lease): (bool, Duration),
        (wanted, outputs): (&mut Vec<Wanted>, &mut Vec<Output>),
    ) {
        self.pause = lease;
        let holders = facts.roster.roles.values().filter_map(|role| role.phase.holder());
        for holder in holders.filter(|_| self.enabled && may) {
            let Some(member) = facts.members.get(&holder.node).filter(|member| member.failed) else { continue };
            if !facts.silent.contains(&holder.node) || facts.is_one_of_a_pair(&holder.node) {
                continue;
            }
            let (node, incarnation) = (holder.node.clone(), holder.incarnation);
            let life = (node.clone(), incarnation);
            match self.nodes.get(&life) {
                Some(Fence::Asked(_) | Fence::Tried | Fence::Certain) => {}
                Some(Fence::Failed { again_at }) if *again_at > now => {}
                Some(Fence::Agreed) => {
                    outputs.push(Output::Fence { node, incarnation, address: member.address.clone() });
                    self.nodes.insert(life, Fence::Tried);
                }
                Some(Fence::Failed { .. }) | None => {
                    let sentence = format!("{node} has failed: it is to be switched off");
                    let subject = Subject::Fence(node.clone(), incarnation, facts.term);
                    wanted.push(Wanted::commit(subject, Command::Fence { node, incarnation, sentence }));
                    self.nodes.insert(life, Fence::Asked(facts.term));
                }
            }
        }
        // Whoever has been heard of meanwhile is not switched off for what was agreed before.
        self.nodes.retain(|_, fence| *fence != Fence::Agreed);
        while self.nodes.len() > REMEMBERED_MAX {
            self.nodes.pop_first();
        }
    }

    /// The others have agreed in that term, or it is not known that they have.
    pub(super) fn agreed(&mut self, now: Duration, life: Life, term: Term, done: bool) {
        if let Some(fence) = self.nodes.get_mut(&life).filter(|fence| **fence == Fence::Asked(term)) {
            *fence = if done { Fence::Agreed } else { Fence::Failed { again_at: now + self.pause } };
        }
    }

    /// The command has ended. One that failed, or hung, proves nothing.
    pub(super) fn ended(&mut self, now: Duration, node: NodeId, incarnation: Incarnation, result: Result<(), String>) {
        let fence = match result {
            Ok(()) => Fence::Certain,
            Err(_) => Fence::Failed { again_at: now + self.pause },
        };
        self.nodes.insert((node, incarnation), fence);
    }
}
