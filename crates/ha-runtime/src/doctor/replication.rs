//! Does replication keep up?

use ha_cluster::MemberState;
use ha_health::Status;

use super::{Finding, Symptoms};

pub(super) fn findings(symptoms: &Symptoms) -> Vec<Finding> {
    if !symptoms.rooms.replication {
        let remedy = "set REPLICATION_ENABLED=true, or ha run --preset full_ha";
        return vec![Finding::note("nothing is replicated", "replication is off (REPLICATION_ENABLED=false)", remedy)];
    }
    let mut findings = Vec::new();
    for member in symptoms.view.members.iter().filter(|member| member.state == MemberState::Failed) {
        let cause = "it is silent, so that it misses every record until it is back; then it catches up by itself";
        let remedy = format!("start {} again, then ha replication status", member.node_id);
        findings.push(Finding::warning(format!("the copy on {} falls behind", member.node_id), cause, remedy));
    }
    let slow = symptoms.components.component("ha.disk-latency").filter(|disk| disk.status != Status::Healthy);
    if let Some(disk) = slow {
        let cause = disk.message.clone().unwrap_or_else(|| "its disk is slow".to_owned());
        let remedy = "iostat -x 1: find what else uses that disk, or move HA_DATA_DIR to a faster one";
        findings.push(Finding::warning("this node is slow to take records in", cause, remedy));
    }
    findings
}
