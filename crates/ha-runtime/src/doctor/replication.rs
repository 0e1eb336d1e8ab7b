//! Does replication keep up?

use ha_health::Status;
use ha_replication::{Alarm, CopyState, NodeStatus};

use super::{Finding, Symptoms};

/// Changes that a copy may lack while it works as it should: what a busy cluster writes between two looks.
const LAG_ITEMS_USUAL: u64 = 10_000;

pub(super) fn findings(symptoms: &Symptoms) -> Vec<Finding> {
    if !symptoms.rooms.replication {
        let remedy = "set REPLICATION_ENABLED=true, or ha run --preset full_ha";
        return vec![Finding::note("nothing is replicated", "replication is off (REPLICATION_ENABLED=false)", remedy)];
    }
    let mut findings: Vec<Finding> = symptoms.alarms.iter().map(alarm).collect();
    match symptoms.replication {
        Some(status) => findings.extend(status.nodes.iter().filter_map(copy)),
        None if symptoms.config.cluster.role == ha_config::Role::Witness => findings.push(Finding::note(
            "this node keeps no records",
            "it is a witness (CLUSTER_ROLE=witness)",
            "ask ha doctor of another node how the copies are",
        )),
        None => findings.push(Finding::warning(
            "how the copies are is not known",
            "nobody who knows has answered in time",
            "ha leader; without a leader nobody knows how all copies are",
        )),
    }
    let slow = symptoms.components.component("ha.disk-latency").filter(|disk| disk.status != Status::Healthy);
    if let Some(disk) = slow {
        let cause = disk.message.clone().unwrap_or_else(|| "its disk is slow".to_owned());
        let remedy = "iostat -x 1: find what else uses that disk, or move HA_DATA_DIR to a faster one";
        findings.push(Finding::warning("this node is slow to take records in", cause, remedy));
    }
    findings
}

/// What this node itself says of its records: why, and after the last colon what to do.
fn alarm(alarm: &Alarm) -> Finding {
    let (text, what) = (alarm.to_string(), "the records of this node want attention");
    // These two have a reason of somebody else's behind their last colon.
    let has_remedy = !matches!(alarm, Alarm::NoWrites { .. } | Alarm::NoMaster { .. });
    let (cause, remedy) = text
        .rsplit_once(": ")
        .filter(|_| has_remedy)
        .unwrap_or((&text, "ha replication status, and the log of this node"));
    if alarm.is_trouble() { Finding::trouble(what, cause, remedy) } else { Finding::warning(what, cause, remedy) }
}

/// What is wrong with one copy.
fn copy(copy: &NodeStatus) -> Option<Finding> {
    let node = &copy.node_id;
    let what = format!("the copy on {node} falls behind");
    if let Some(trouble) = &copy.trouble {
        let remedy = format!("mend the disk of {node}, then start it again");
        return Some(Finding::trouble(format!("the copy on {node} takes nothing in"), trouble, remedy));
    }
    match copy.state {
        CopyState::Silent => Some(Finding::warning(
            what,
            "it is silent, so that it misses every record until it is back; then it catches up by itself",
            format!("start {node} again, then ha replication status"),
        )),
        CopyState::Fetching => Some(Finding::note(
            what,
            "it was away or is new, and fetches what it lacks",
            "wait until ha replication status shows it in step",
        )),
        CopyState::InStep | CopyState::Complete => {
            let lag = copy.lag_items.filter(|lag| *lag > LAG_ITEMS_USUAL)?;
            Some(Finding::warning(
                what,
                format!("it lacks {lag} changes: its disk or its network takes less than what is written"),
                format!("on {node}: iostat -x 1 and ha health; a larger REPLICATION_BATCH_SIZE costs less per record"),
            ))
        }
    }
}
