//! Is this node itself well?

use ha_health::{ComponentHealth, Status};

use super::{Finding, Symptoms};
use crate::DIVERGENT_FILE;
use crate::aside::Aside;

/// Starts and losses of the node lease, of late, that are more than chance.
const LEASES_LOST_MANY: usize = 3;

pub(super) fn findings(symptoms: &Symptoms) -> Vec<Finding> {
    let mut findings: Vec<Finding> = symptoms.components.components.iter().filter_map(component).collect();
    let lost = symptoms.past.iter().filter(|event| event.kind == "lease_lost").count();
    if lost >= LEASES_LOST_MANY {
        findings.push(Finding::warning(
            format!("this node has lost its lease {lost} times lately"),
            "it is frozen or starved at times, its disk is slow, or the network to the majority drops packets",
            "look at the load and at ha health; ping the other nodes; a longer CLUSTER_NODE_TIMEOUT forgives more",
        ));
    }
    let led = symptoms.past.iter().filter(|event| event.kind == "leader_changed").count();
    if led > LEASES_LOST_MANY * 2 {
        findings.push(Finding::warning(
            format!("leadership has changed {led} times lately"),
            "leaders are frozen, starved, or cut off for longer than the election timeout",
            "ha events shows who leads when; compare the load of those nodes; raise CLUSTER_ELECTION_TIMEOUT",
        ));
    }
    findings.extend(symptoms.aside.iter().map(set_aside));
    findings
}

/// What a cluster does not know that went on without this node.
fn set_aside(aside: &Aside) -> Finding {
    let (directory, cause) = (aside.directory.display(), "the cluster had gone on by force without this node");
    if aside.changes == 0 {
        let remedy = format!("nothing in it is missed; when it is not needed any more: rm -r {directory}");
        return Finding::note("former data of this node was set aside", cause, remedy);
    }
    Finding::warning(
        format!("{} changes that this node alone had were set aside", aside.changes),
        cause,
        format!("look through {directory}/{DIVERGENT_FILE}, put again what is missed, then: rm -r {directory}"),
    )
}

fn component(component: &ComponentHealth) -> Option<Finding> {
    let what = format!("{} is {}", component.name, component.status);
    let mut cause = component.message.clone().unwrap_or_else(|| "its check says no more".to_owned());
    if let Some(recovery) = &component.recovery {
        cause = format!("{cause}; {recovery}");
    }
    let remedy = match component.name.as_str() {
        "ha.event-loop" => {
            "this process is starved: look for what else uses the processors (top), or give it more".to_owned()
        }
        "ha.disk-space" => "make room on the disk of HA_DATA_DIR: df -h and df -i show what is full".to_owned(),
        "ha.clock-offset" => {
            "chronyc tracking, or timedatectl, on both nodes: let a time service set their clocks".to_owned()
        }
        "ha.certificate" => {
            "put a new certificate into the files of CLUSTER_TLS_CERT and CLUSTER_TLS_KEY: they are read again"
                .to_owned()
        }
        "ha.disk-latency" => "find what else uses the disk of HA_DATA_DIR: iostat -x 1".to_owned(),
        name => format!("mend what {name} stands for; ha health shows when it passes again"),
    };
    match component.status {
        Status::Healthy => None,
        Status::Degraded => Some(Finding::warning(what, cause, remedy)),
        Status::Unhealthy => Some(Finding::trouble(what, cause, remedy)),
    }
}
