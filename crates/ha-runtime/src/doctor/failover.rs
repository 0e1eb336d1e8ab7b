//! Would failover trigger?

use ha_cluster::{Member, MemberRole, MemberState};
use ha_config::{FailoverMode, Role};
use ha_failover::{FailoverState, FailoverStatus};

use super::{Finding, Symptoms};

pub(super) fn findings(symptoms: &Symptoms) -> Vec<Finding> {
    let (config, view) = (symptoms.config, symptoms.view);
    if !symptoms.rooms.failover {
        let remedy = "set FAILOVER_ENABLED=true, or ha run --preset simple_failover";
        return vec![Finding::note("no service moves", "failover is off (FAILOVER_ENABLED=false)", remedy)];
    }
    let mut findings = Vec::new();
    if config.failover.mode == FailoverMode::Manual {
        findings.push(Finding::warning(
            "a failed primary stays failed until a person acts",
            "FAILOVER_MODE=manual",
            "ha failover switchover moves the service now; FAILOVER_MODE=automatic lets the cluster do it",
        ));
    }
    if view.votes.have < view.votes.need {
        findings.push(Finding::trouble(
            "no failover can be decided",
            format!(
                "{} of the {} votes needed are here: a minority must not promote anybody",
                view.votes.have, view.votes.need
            ),
            "start the missing nodes; when they are gone for good: ha failover promote --force",
        ));
    }
    let others = || view.members.iter().filter(|member| member.node_id != view.node_id);
    let can_be_primary = |member: &&Member| {
        member.priority > 0 && member.role != MemberRole::Witness && member.state == MemberState::Alive
    };
    if view.role.is_some() && !others().any(|member| can_be_primary(&member)) {
        let cause = match others().count() {
            0 => "there is no other member".to_owned(),
            _ => "every other member is silent, a witness, or has CLUSTER_NODE_PRIORITY=0".to_owned(),
        };
        let remedy = "ha members; start another node, or ha config set priority 100 on one of priority 0";
        findings.push(Finding::trouble("there is nobody to fail over to", cause, remedy));
    }
    // A witness keeps no roles, and does not know who runs what.
    let known = symptoms.failover.into_iter().filter(|_| config.cluster.role == Role::Member);
    findings.extend(known.flat_map(roles));
    findings.extend(two_alone(symptoms));
    if config.failover.failure_threshold > 1 && !symptoms.rooms.health_monitor {
        findings.push(Finding::warning(
            "a service that hangs on a node that lives is not noticed",
            "the health monitor is off (HEALTH_MONITOR_ENABLED=false)",
            "set HEALTH_MONITOR_ENABLED=true, HEALTH_CHECKS and HEALTH_CRITICAL",
        ));
    } else if symptoms.rooms.health_monitor && !symptoms.components.components.iter().any(|one| one.critical) {
        findings.push(Finding::note(
            "only a node that dies makes the service move",
            "no component is critical",
            "name what the service cannot do without: HEALTH_CHECKS=web=http://127.0.0.1:8000/ and HEALTH_CRITICAL=web",
        ));
    }
    findings
}

/// What the roles themselves say.
fn roles(status: &FailoverStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    let waits = status.waiting_for.clone().unwrap_or_else(|| "it does not say what it waits for".to_owned());
    if status.paused {
        let remedy = "ha failover resume";
        findings.push(Finding::trouble("no role moves by itself", "failover is paused: a person wanted it so", remedy));
    }
    if status.state == FailoverState::NoPrimary {
        let remedy = "ha failover status names who could take over; ha failover switchover --to NODE moves it there";
        findings.push(Finding::trouble("the service runs nowhere", waits, remedy));
    } else if status.waiting_for.is_some() {
        let remedy = "ha failover status; ha events shows each step as it happens";
        findings.push(Finding::warning("a role waits", waits, remedy));
    }
    findings.extend(status.differences.iter().map(|difference| {
        let remedy = "give all nodes the same FAILOVER_* options, HA_STRATEGY and SPLIT_BRAIN_PREVENTION";
        Finding::trouble("nodes do not agree how roles move", difference.clone(), remedy)
    }));
    findings.extend(status.damping.iter().map(|damped| {
        Finding::note(
            format!("{} is held back", damped.node_id),
            format!("it lost its role {} times lately, and must stay well for longer each time", damped.losses),
            format!(
                "find out why in its log; ha failover switchover --to {} moves the role all the same",
                damped.node_id
            ),
        )
    }));
    findings
}

/// Two data nodes without anybody to tell a dead one from one that is cut off.
fn two_alone(symptoms: &Symptoms) -> Option<Finding> {
    let (config, members) = (symptoms.config, &symptoms.view.members);
    let has_witness = members.iter().any(|member| member.role == MemberRole::Witness);
    let is_alone = members.len() == 2 && !has_witness && config.cluster.role == Role::Member;
    let waits = config.failover.fence_command.is_none() && config.ha.split_brain_prevention;
    (is_alone && waits).then(|| {
        Finding::warning(
            "with one of two nodes gone, the other waits for a person",
            "a survivor cannot know whether the other node has stopped or is only cut off",
            "ha run --set CLUSTER_ROLE=witness on any third machine, or set FAILOVER_FENCE_COMMAND",
        )
    })
}
