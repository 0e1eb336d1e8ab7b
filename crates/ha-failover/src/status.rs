//! What a node knows about the roles of its cluster, as one value that can be followed.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_cluster::{Epoch, MemberRole, MemberState, NodeId, View};
use serde::Serialize;

use crate::agent::Here;
use crate::config::{Config, Mode, Strategy};
use crate::role::RoleId;
use crate::roster::{Cause, Phase, Role, State};

/// Differences that are told.
const DIFFERENCES_MAX: usize = 16;

/// How the roles of a cluster are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverState {
    /// Every role runs.
    Normal,
    /// A holder, or the leader, is silent, and it is not certain yet that it failed.
    Detecting,
    /// A role moves.
    FailingOver,
    /// A role returns to the node that it prefers.
    FailingBack,
    /// A role runs nowhere, and none of the nodes may or can run it.
    NoPrimary,
    /// Every role runs, and a person wants that none moves.
    Paused,
}

/// How far a role is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleState {
    /// Nobody has it.
    Vacant,
    /// It was given to a node, which starts the service.
    Starting,
    /// The service runs.
    Active,
    /// The node stops the service.
    Stopping,
}

/// One role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleStatus {
    /// Its name: a group, or `group/shard`.
    pub role: RoleId,
    /// How far it is.
    pub state: RoleState,
    /// Who has it.
    pub node: Option<NodeId>,
    /// Since when: the fencing token.
    pub epoch: Epoch,
    /// What it waits for, as one sentence.
    pub waiting_for: Option<String>,
}

/// A node that lost roles and must be well for longer before it has one again while others can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damped {
    /// Who.
    pub node_id: NodeId,
    /// How often, less what is forgotten.
    pub losses: u32,
}

/// A move that nobody asked for, and nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scheduled {
    /// Which role.
    pub role: RoleId,
    /// The node that it returns to.
    pub to: NodeId,
    /// In how many seconds, if all stays as it is.
    pub in_seconds: u64,
}

/// The roles of a cluster, as this node knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailoverStatus {
    /// How the roles are.
    pub state: FailoverState,
    /// Who runs the first group, once the service runs there.
    pub primary_node: Option<NodeId>,
    /// Who could take over, or could once it is well.
    pub secondary_nodes: Vec<NodeId>,
    /// The epoch of the first group.
    pub epoch: Epoch,
    /// Who starts a failover.
    pub mode: Mode,
    /// Whether a person wants that nothing moves by itself.
    pub paused: bool,
    /// What is waited for, as one sentence.
    pub waiting_for: Option<String>,
    /// Every role.
    pub roles: Vec<RoleStatus>,
    /// What runs on this node, if its lease holds.
    pub here: Vec<RoleId>,
    /// Who is held back.
    pub damping: Vec<Damped>,
    /// What is to move next by itself; known to the leader alone.
    pub next_scheduled: Option<Scheduled>,
    /// Where nodes do not agree how roles move, one sentence each: the leader decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
}

impl FailoverStatus {
    /// Whether a role runs here; of a whole group, also any shard of it.
    pub(crate) fn runs(&self, role: &RoleId) -> bool {
        self.here.iter().any(|here| here == role || (role.shard.is_none() && here.group == role.group))
    }
}

/// Everything that a status is made of.
pub(crate) struct Facts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) view: &'a View,
    pub(crate) roster: &'a State,
    pub(crate) here: &'a BTreeMap<RoleId, Here>,
    pub(crate) holds_lease: bool,
    pub(crate) next_scheduled: Option<Scheduled>,
    /// For how long no leader has been live.
    pub(crate) leaderless_for: Duration,
}

impl Facts<'_> {
    /// Without a leader no lease is renewed: then every lease is over by now.
    fn every_lease_is_over(&self) -> bool {
        self.leaderless_for > self.config.lease + self.config.lease / 8
    }
}

/// The role that stands for the whole: the first group.
fn first<'a>(config: &Config, roster: &'a State) -> Option<(&'a RoleId, &'a Role)> {
    let group = config.groups.first()?;
    roster.roles.iter().find(|(id, _)| id.group == *group && id.shard.is_none())
}

/// The status of this moment.
pub(crate) fn status(facts: &Facts) -> FailoverStatus {
    let Facts { config, view, roster, here, holds_lease, .. } = facts;
    let me = &view.node_id;
    let runs_here = |id: &RoleId, epoch: Epoch| *holds_lease && here.get(id) == Some(&Here::Active(epoch));
    let first = first(config, roster);
    let primary_node = first.and_then(|(id, role)| match &role.phase {
        // What this node knows of itself is newer than the log.
        Phase::Active(holder) if holder.node == *me && !runs_here(id, role.epoch) => None,
        Phase::Active(holder) => Some(holder.node.clone()).filter(|_| !facts.every_lease_is_over()),
        _ => None,
    });
    let roles: Vec<RoleStatus> = roster.roles.iter().map(|(id, role)| role_status(id, role)).collect();
    let could = view.members.iter().filter(|member| {
        member.role != MemberRole::Witness
            && member.priority > 0
            && member.state == MemberState::Alive
            && Some(&member.node_id) != primary_node.as_ref()
    });
    let waiting = || match config.takes_part {
        true => roles.iter().find_map(|role| role.waiting_for.clone()),
        false => Some("a witness keeps no roles: ask another node who runs what".to_owned()),
    };
    let waiting_for = no_leader(config, view).or_else(waiting);
    FailoverStatus {
        state: state(facts, primary_node.as_ref()),
        secondary_nodes: could.map(|member| member.node_id.clone()).collect(),
        primary_node,
        epoch: first.map_or(Epoch(0), |(_, role)| role.epoch),
        mode: config.mode,
        paused: roster.paused,
        waiting_for,
        here: roster.roles.iter().filter(|(id, role)| runs_here(id, role.epoch)).map(|(id, _)| id.clone()).collect(),
        damping: roster
            .nodes
            .iter()
            .filter(|(_, standing)| standing.losses > 0)
            .map(|(node, standing)| Damped { node_id: node.clone(), losses: standing.losses })
            .collect(),
        next_scheduled: facts.next_scheduled.clone(),
        differences: if config.takes_part { differences(view, roster) } else { Vec::new() },
        roles,
    }
}

/// Where nodes would decide otherwise than the leader, or the leader decides nothing at all.
fn differences(view: &View, roster: &State) -> Vec<String> {
    let Some(leader) = view.leader.as_ref().filter(|_| view.leader_is_live).map(|leader| &leader.node_id) else {
        return Vec::new();
    };
    let Some(decides) = roster.nodes.get(leader) else {
        let why = "has not said that it takes part in failover: nothing moves while it leads";
        return vec![format!("{leader} leads, and {why}")];
    };
    let name = |rule: &str| rule.split('=').next().map(str::to_owned);
    let others = roster.nodes.iter().filter(|(node, _)| *node != leader);
    let others = others.flat_map(|(node, standing)| standing.rules.iter().map(move |rule| (node, rule)));
    let differs = |(node, rule): (&NodeId, &String)| {
        let other = decides.rules.iter().find(|other| name(other) == name(rule)).filter(|other| *other != rule)?;
        Some(format!("{node} has {rule}, and {leader}, which decides, has {other}"))
    };
    others.filter_map(differs).take(DIFFERENCES_MAX).collect()
}

fn role_status(id: &RoleId, role: &Role) -> RoleStatus {
    RoleStatus {
        role: id.clone(),
        state: match role.phase {
            Phase::Vacant => RoleState::Vacant,
            Phase::Starting(_) => RoleState::Starting,
            Phase::Active(_) => RoleState::Active,
            Phase::Stopping(_) => RoleState::Stopping,
        },
        node: role.phase.holder().map(|holder| holder.node.clone()),
        epoch: role.epoch,
        waiting_for: role.note.clone(),
    }
}

/// What to say when nothing can be decided at all.
fn no_leader(config: &Config, view: &View) -> Option<String> {
    if view.leader_is_live || view.cluster_id.is_none() {
        return None;
    }
    if view.stopped.is_some() {
        return Some("this node takes part no more, and does not hear what is decided".to_owned());
    }
    let (have, need) = (view.votes.have, view.votes.need);
    if have >= need {
        // Others may answer gossip, and it be cut off from the one that leads.
        return Some(
            "no leader is heard, although enough nodes are alive: one may lead that this node does not reach"
                .to_owned(),
        );
    }
    let mut sentence = format!("no leader can decide: {have} of the {need} votes that are needed are here");
    if view.members.iter().filter(|member| member.voter).count() == 2 {
        sentence += if config.goes_on_alone && config.mode == Mode::Automatic {
            "; when the other node stays silent, this one goes on alone (SPLIT_BRAIN_PREVENTION=false)"
        } else {
            "; two nodes without a witness cannot tell a dead peer from a cut link. If the other node is \
             certainly stopped, `ha failover promote --force` goes on without it"
        };
    }
    Some(sentence)
}

fn state(facts: &Facts, primary: Option<&NodeId>) -> FailoverState {
    let roles = || facts.roster.roles.values();
    let alive = |node: &NodeId| {
        let member = facts.view.members.iter().find(|member| member.node_id == *node);
        member.is_some_and(|member| member.state == MemberState::Alive)
    };
    let is_moving = |role: &&Role| matches!(role.phase, Phase::Starting(_) | Phase::Stopping(_));
    let is_stuck = |role: &Role| role.phase == Phase::Vacant && (role.note.is_some() || role.epoch == Epoch(0));
    if facts.roster.roles.is_empty() || roles().any(is_stuck) || facts.every_lease_is_over() {
        return FailoverState::NoPrimary;
    }
    if let Some(role) = roles().find(is_moving) {
        let is_back = role.cause == Cause::Failback;
        return if is_back { FailoverState::FailingBack } else { FailoverState::FailingOver };
    }
    if roles().any(|role| role.phase == Phase::Vacant) {
        return FailoverState::FailingOver;
    }
    let silent = roles().filter_map(|role| role.phase.holder()).any(|holder| !alive(&holder.node));
    let is_unsure = facts.config.strategy == Strategy::ActivePassive && primary.is_none();
    if silent || is_unsure || !facts.view.leader_is_live {
        FailoverState::Detecting
    } else if facts.roster.paused {
        FailoverState::Paused
    } else {
        FailoverState::Normal
    }
}

#[cfg(test)]
mod tests {
    use ha_cluster::Incarnation;

    use super::*;
    use crate::fitness::Fitness;
    use crate::roster::Standing;

    #[test]
    fn who_runs_a_shard_runs_a_part_of_its_group() {
        let here = ["orders/3", "default"].map(|role| role.parse().unwrap()).to_vec();
        let status = FailoverStatus {
            state: FailoverState::Normal,
            primary_node: None,
            secondary_nodes: Vec::new(),
            epoch: Epoch(0),
            mode: Mode::Automatic,
            paused: false,
            waiting_for: None,
            roles: Vec::new(),
            here,
            damping: Vec::new(),
            next_scheduled: None,
            differences: Vec::new(),
        };
        for (role, runs) in [("orders", true), ("orders/3", true), ("orders/4", false), ("default", true), ("x", false)]
        {
            assert_eq!(status.runs(&role.parse().unwrap()), runs, "{role}");
        }
    }

    #[test]
    fn who_would_decide_otherwise_than_the_leader_is_named_and_so_is_a_leader_that_decides_nothing() {
        let manual = Config { mode: Mode::Manual, ..Config::default() };
        let standing = |config: &Config| Standing {
            incarnation: Incarnation(1),
            fitness: Fitness::default(),
            draining: false,
            rules: config.rules(),
            losses: 0,
        };
        let view = crate::lonely::tests::led_by("a");
        let mut roster = State::default();
        roster.nodes.insert("b".parse().unwrap(), standing(&manual));
        assert!(differences(&view, &roster)[0].starts_with("a leads, and has not said"));
        roster.nodes.insert("a".parse().unwrap(), standing(&Config::default()));
        let told = "b has mode=manual, and a, which decides, has mode=automatic";
        assert_eq!(differences(&view, &roster), [told]);
        roster.nodes.insert("b".parse().unwrap(), standing(&Config::default()));
        assert_eq!(differences(&view, &roster), Vec::<String>::new());
    }
}
