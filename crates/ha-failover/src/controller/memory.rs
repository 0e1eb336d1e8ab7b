//! What a leader remembers of its own term. A new leader begins with nothing, so that every wait begins anew.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ha_cluster::{Epoch, Incarnation, NodeId};

use super::facts::Facts;
use crate::role::RoleId;

/// How long a node must be well before half of its losses are forgotten.
const FORGIVE_AFTER: Duration = Duration::from_secs(15 * 60);
/// Moves back, and for balance, within [`MOVES_WITHIN`].
const MOVES_MAX: usize = 2;
/// See [`MOVES_MAX`].
const MOVES_WITHIN: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Run {
    incarnation: Incarnation,
    since: Duration,
    forgiven_at: Duration,
    losses: u32,
}

/// What this leader has seen.
#[derive(Debug, Default)]
pub(super) struct Memory {
    began: Option<Duration>,
    /// Since when each node is well without a break.
    runs: BTreeMap<NodeId, Run>,
    /// Since when each role is in its epoch.
    tenures: BTreeMap<RoleId, (Epoch, Duration)>,
    /// When a start failed last, by role and node.
    failed: BTreeMap<(RoleId, NodeId), (u32, Duration)>,
    /// When roles moved back, by role.
    moves: BTreeMap<RoleId, VecDeque<Duration>>,
}

impl Memory {
    pub(super) fn look(&mut self, now: Duration, facts: &Facts) {
        self.began.get_or_insert(now);
        // Being behind is no illness: a node that was away must catch up while its time runs.
        let is_well = |node: &NodeId| facts.fit(node, u64::MAX).is_ok();
        self.runs.retain(|node, run| {
            is_well(node) && facts.standing(node).is_some_and(|standing| standing.incarnation == run.incarnation)
        });
        for (node, standing) in facts.roster.nodes.iter().filter(|(node, _)| is_well(node)) {
            let (incarnation, losses) = (standing.incarnation, standing.losses);
            let fresh = || Run { incarnation, since: now, forgiven_at: now, losses };
            let run = self.runs.entry(node.clone()).or_insert_with(fresh);
            if standing.losses > run.losses {
                // It lost something while it was well: as if it had not been.
                *run = fresh();
            } else if standing.losses < run.losses {
                (run.losses, run.forgiven_at) = (standing.losses, now);
            }
        }
        let roles = &facts.roster.roles;
        self.tenures.retain(|id, _| roles.contains_key(id));
        self.moves.retain(|id, _| roles.contains_key(id));
        for (id, role) in roles {
            let tenure = self.tenures.entry(id.clone()).or_insert((role.epoch, now));
            if tenure.0 != role.epoch {
                *tenure = (role.epoch, now);
            }
        }
        let count = |id: &RoleId, node: &NodeId| roles.get(id).and_then(|role| role.failures.get(node)).copied();
        self.failed.retain(|(id, node), _| count(id, node).is_some());
        for (id, role) in roles {
            for (node, count) in &role.failures {
                let seen = self.failed.entry((id.clone(), node.clone())).or_insert((*count, now));
                if seen.0 != *count {
                    *seen = (*count, now);
                }
            }
        }
    }

    /// How long this leader has led.
    pub(super) fn led_for(&self, now: Duration) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.saturating_sub(began))
    }

    /// How long a node has been well.
    pub(super) fn well_for(&self, now: Duration, node: &NodeId) -> Duration {
        self.runs.get(node).map_or(Duration::ZERO, |run| now.saturating_sub(run.since))
    }

    /// How long a role has been in its epoch.
    pub(super) fn tenure(&self, now: Duration, role: &RoleId) -> Duration {
        self.tenures.get(role).map_or(Duration::ZERO, |(_, since)| now.saturating_sub(*since))
    }

    /// How long ago a start failed last.
    pub(super) fn failed_for(&self, now: Duration, role: &RoleId, node: &NodeId) -> Duration {
        let failed = self.failed.get(&(role.clone(), node.clone()));
        failed.map_or(Duration::ZERO, |(_, at)| now.saturating_sub(*at))
    }

    /// Whether half of a node's losses may be forgotten.
    pub(super) fn may_forgive(&self, now: Duration, node: &NodeId, wait: Duration) -> bool {
        let since = |run: &Run| now.saturating_sub(run.since.max(run.forgiven_at));
        self.runs.get(node).is_some_and(|run| since(run) >= FORGIVE_AFTER.max(wait))
    }

    /// Whether a role may move once more although nothing is wrong.
    pub(super) fn may_move(&self, now: Duration, role: &RoleId) -> bool {
        let moves = self.moves.get(role).into_iter().flatten();
        moves.filter(|at| now.saturating_sub(**at) < MOVES_WITHIN).count() < MOVES_MAX
    }

    /// See [`Self::may_move`]; counts the move if so.
    pub(super) fn spend_move(&mut self, now: Duration, role: &RoleId) -> bool {
        let may = self.may_move(now, role);
        let moves = self.moves.entry(role.clone()).or_default();
        moves.retain(|at| now.saturating_sub(*at) < MOVES_WITHIN);
        moves.extend(may.then_some(now));
        may
    }
}
