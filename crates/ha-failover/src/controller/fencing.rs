//! Switching off a node that has failed, so that its roles move before its lease is over.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_cluster::{Incarnation, NodeId};

use super::Output;
use super::facts::Facts;
use crate::config::Config;

/// Nodes that are remembered; the first go first.
const REMEMBERED_MAX: usize = 1024;

#[derive(Debug)]
enum Fence {
    /// The command runs.
    Tried,
    /// It said that the node is certainly stopped.
    Certain,
    /// It failed, and is tried again then.
    Failed { again_at: Duration },
}

/// What is known of nodes that were to be switched off.
#[derive(Debug)]
pub(super) struct Fencing {
    enabled: bool,
    nodes: BTreeMap<(NodeId, Incarnation), Fence>,
    pause: Duration,
}

impl Fencing {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, nodes: BTreeMap::new(), pause: Duration::ZERO }
    }

    /// Whether that life of a node is certainly over.
    pub(super) fn is_fenced(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        matches!(self.nodes.get(&(node.clone(), incarnation)), Some(Fence::Certain))
    }

    /// Begins with nodes that hold a role and have failed.
    pub(super) fn look(&mut self, now: Duration, facts: &Facts, config: &Config, outputs: &mut Vec<Output>) {
        self.pause = config.lease;
        if !self.enabled {
            return;
        }
        for holder in facts.roster.roles.values().filter_map(|role| role.phase.holder()) {
            let Some(member) = facts.members.get(&holder.node).filter(|member| member.failed) else { continue };
            let key = (holder.node.clone(), holder.incarnation);
            let is_due = match self.nodes.get(&key) {
                None => true,
                Some(Fence::Failed { again_at }) => *again_at <= now,
                Some(Fence::Tried | Fence::Certain) => false,
            };
            if is_due {
                let (node, incarnation) = key.clone();
                outputs.push(Output::Fence { node, incarnation, address: member.address.clone() });
                self.nodes.insert(key, Fence::Tried);
            }
        }
        while self.nodes.len() > REMEMBERED_MAX {
            self.nodes.pop_first();
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
