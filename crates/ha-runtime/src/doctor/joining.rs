//! Do nodes join?

use ha_cluster::{MemberState, View, Votes};
use ha_config::Seed;

use super::{Finding, Symptoms};

/// Refusals of the past that are told.
const REFUSALS_MAX: usize = 3;

pub(super) fn findings(symptoms: &Symptoms) -> Vec<Finding> {
    let view = symptoms.view;
    if !symptoms.rooms.cluster {
        let remedy = "ha run --preset full_ha, or set CLUSTER_ENABLED=true";
        return vec![Finding::note("this node is alone", "its cluster is off (CLUSTER_ENABLED=false)", remedy)];
    }
    if let Some(reason) = &view.stopped {
        let remedy = "do what the reason says, then start this node again";
        return vec![Finding::trouble("this node takes part no more", reason, remedy)];
    }
    let mut findings = Vec::new();
    findings.extend(standing(symptoms));
    findings.extend(absences(view));
    findings.extend(refusals(symptoms));
    findings
}

fn standing(symptoms: &Symptoms) -> Option<Finding> {
    let view = symptoms.view;
    let waits = view.waiting_for.clone().unwrap_or_else(|| "it has only just started".to_owned());
    if view.cluster_id.is_none() {
        return Some(Finding::trouble("the cluster has not formed", &waits, forming_remedy(symptoms, &waits)));
    }
    if view.role.is_none() {
        let remedy = "ha members, on a node that has joined: the leader adds this one as soon as it hears of it";
        return Some(Finding::trouble("this node has not joined yet", &waits, remedy));
    }
    let Votes { have, need } = view.votes;
    if have < need {
        let cause = format!("{have} of the {need} votes needed are here");
        let remedy = "start the missing nodes (ha members names them); no majority, no decisions";
        return Some(Finding::trouble("nothing can be decided", cause, remedy));
    }
    if view.leader.is_none() || !view.leader_is_live {
        let cause = format!("enough votes are here, and no leader is heard; {waits}");
        let remedy = "wait for an election (ha config timing says how long); if none comes, compare the clocks and \
                      ha config show of all nodes";
        return Some(Finding::trouble("nobody leads", cause, remedy));
    }
    None
}

/// What helps against the reason that discovery or formation gives.
fn forming_remedy(symptoms: &Symptoms, waits: &str) -> String {
    let cluster = &symptoms.config.cluster;
    let min_nodes = symptoms.config.ha.min_nodes;
    if waits.contains("does not resolve") {
        return "mend the name: getent hosts NAME must print the addresses of the nodes".to_owned();
    }
    if waits.contains("is no node") {
        let own = cluster.port;
        return format!(
            "ha run --set CLUSTER_SEED_NODES=HOST:PORT with the CLUSTER_PORT of the other nodes ({own} on this one)"
        );
    }
    if waits.contains("refused") || waits.contains("nobody answers") || waits.contains("no answer") {
        return format!(
            "start the nodes that do not answer, and let TCP port {} through to them: nc -vz HOST PORT tries it",
            cluster.port
        );
    }
    if waits.contains("only seed is this node itself") || (cluster.seed_nodes.is_empty() && min_nodes > 1) {
        return "list the other nodes: ha run --set CLUSTER_SEED_NODES=HOST:PORT,HOST:PORT".to_owned();
    }
    let seeds: Vec<String> = cluster.seed_nodes.iter().map(Seed::to_string).collect();
    format!("start the other nodes, each with the same CLUSTER_SEED_NODES ({}), or lower HA_MIN_NODES", seeds.join(","))
}

fn absences(view: &View) -> impl Iterator<Item = Finding> {
    view.members.iter().filter_map(|member| {
        let (node, place) = (&member.node_id, format!("{}:{}", member.address, member.port));
        match member.state {
            MemberState::Alive if member.fit => None,
            MemberState::Alive => Some(Finding::trouble(
                format!("{node} is unfit"),
                "it says that its disk does not answer, or that it takes part no more".to_owned(),
                format!("ha status on the machine of {node} says which"),
            )),
            MemberState::Suspect => Some(Finding::warning(
                format!("{node} is suspect"),
                format!("it missed probes at {place}, or does not answer the leader: it is slow, frozen, or cut off"),
                format!("ha status on the machine of {node}, and look at the network between"),
            )),
            MemberState::Failed => Some(Finding::trouble(
                format!("{node} has failed"),
                format!("nothing is heard from {place}"),
                format!("start it again; if it is gone for good: ha remove {node}"),
            )),
            MemberState::Left => Some(Finding::note(
                format!("{node} has left"),
                "it was stopped in order",
                format!("start it again when it is wanted; if it is gone for good: ha remove {node}"),
            )),
        }
    })
}

/// Whom this node turned away, or who did so with it.
fn refusals(symptoms: &Symptoms) -> Vec<Finding> {
    let past = symptoms.past.iter().rev().filter(|event| event.kind == "refused").take(REFUSALS_MAX);
    let remedy = "ha config show on both nodes: CLUSTER_NAME, the secret, and all timers must be equal, and each node \
                  needs a CLUSTER_NODE_ID of its own";
    past.map(|event| Finding::warning("a node was turned away", &event.message, remedy)).collect()
}
