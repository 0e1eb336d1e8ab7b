//! What this node's copy of the records adds to the health document.

use ha_cluster::{Member, MemberRole, MemberState};
use ha_replication::{Alarm, MergeReport, Replication};
use serde::Serialize;

use super::cluster::Copies;
use super::{Finding, HealthDocument};

/// How this node's copy is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplicationDetails {
    /// `master_slave` or `multi_master`.
    pub mode: &'static str,
    /// When a write is acknowledged.
    pub consistency: ha_replication::Consistency,
    /// Records that its store holds.
    pub records: u64,
    /// Nothing is missing, and nothing waits for the disk.
    pub is_complete: bool,
    /// Without a leader: what was done to changes that met here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged: Option<MergeReport>,
}

impl ReplicationDetails {
    fn new(replication: &Replication) -> Self {
        let held = replication.held_here();
        let (mode, consistency) = (replication.mode().name(), replication.consistency());
        let merged = replication.merged();
        Self { mode, consistency, records: held.records, is_complete: held.is_complete, merged }
    }
}

impl HealthDocument {
    /// Adds how this node's copy is, and what somebody should look at.
    pub(crate) fn with_replication(mut self, replication: &Replication) -> Self {
        if let Some(details) = &mut self.ha_details {
            details.replication_status = Some(ReplicationDetails::new(replication));
            if let Some(cluster) = &mut details.cluster_info {
                cluster.copies = Some(copies(&cluster.members, |all| replication.copies_needed(all)));
            }
        }
        for finding in replication.alarms().into_iter().map(finding) {
            self.status = self.status.max(finding.status);
            self.reasons.push(finding.reason);
        }
        self
    }
}

/// How many copies there are, and on how many of all a write is before it is acknowledged, as far as the members tell.
fn copies(members: &[Member], needed: impl Fn(usize) -> usize) -> Copies {
    let keep = || members.iter().filter(|member| member.role != MemberRole::Witness);
    let have = keep().filter(|member| member.state == MemberState::Alive && member.fit).count();
    Copies { have, need: needed(keep().count()) }
}

fn finding(alarm: Alarm) -> Finding {
    Finding::degraded(alarm.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::degraded;

    #[test]
    fn copies_are_those_of_nodes_that_live_and_a_witness_keeps_none() {
        let mut members = degraded().members;
        assert_eq!(copies(&members, |all| all), Copies { have: 2, need: 3 });
        members[2].role = MemberRole::Witness;
        assert_eq!(copies(&members, |all| all), Copies { have: 2, need: 2 });
    }
}
