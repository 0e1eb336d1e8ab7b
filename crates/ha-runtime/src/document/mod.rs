//! The health document: how a node is, for people, probes and balancers. A pure function of what the rooms know.

mod certificate;
mod cluster;
mod failover;
mod health;
mod replication;

use ha_cluster::{MemberRole, View};
use ha_failover::FailoverStatus;
use serde::Serialize;

pub use cluster::{ClusterDetails, Copies};
pub use failover::FailoverDetails;
pub use health::HealthDetails;
pub use replication::ReplicationDetails;

use crate::Rooms;

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Nothing is wrong.
    Healthy,
    /// It serves, and something needs attention.
    Degraded,
    /// It cannot serve.
    Unhealthy,
}

/// The body of `GET /health`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthDocument {
    /// The worst of all findings.
    pub status: HealthStatus,
    /// False when every room of this node is off; then nothing else is said.
    pub ha_enabled: bool,
    /// Why the status is not `healthy`: one sentence each. Left out when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What each room says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ha_details: Option<HaDetails>,
}

/// What each room says; a room that is off says nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HaDetails {
    /// True when any room is on.
    pub enabled: bool,
    /// The version of the program.
    pub version: &'static str,
    /// What the cluster room says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_info: Option<ClusterDetails>,
    /// What the checked components say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_status: Option<HealthDetails>,
    /// What the failover room says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_status: Option<FailoverDetails>,
    /// What the replication room says of this node's copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_status: Option<ReplicationDetails>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    status: HealthStatus,
    reason: String,
}

impl Finding {
    fn degraded(reason: impl Into<String>) -> Self {
        Self { status: HealthStatus::Degraded, reason: reason.into() }
    }

    fn unhealthy(reason: impl Into<String>) -> Self {
        Self { status: HealthStatus::Unhealthy, reason: reason.into() }
    }
}

/// Builds the document from what is known at one moment.
pub fn build(rooms: Rooms, view: &View, failover: Option<FailoverStatus>, stopping: bool) -> HealthDocument {
    let mut findings = Vec::new();
    if stopping {
        findings.push(Finding::degraded("this node is stopping"));
    }
    if rooms.cluster {
        findings.extend(cluster::findings(view));
    }
    let is_witness =
        view.members.iter().any(|member| member.node_id == view.node_id && member.role == MemberRole::Witness);
    // A witness keeps no roles, and does not know who runs what.
    findings.extend(failover.iter().filter(|_| !is_witness).filter_map(failover::finding));
    let primary = failover.as_ref().and_then(|failover| failover.primary_node.clone());
    let details = HaDetails {
        enabled: true,
        version: env!("CARGO_PKG_VERSION"),
        cluster_info: rooms.cluster.then(|| ClusterDetails { primary, ..ClusterDetails::new(view) }),
        health_status: None,
        failover_status: failover.map(|status| FailoverDetails { status, last: Vec::new() }),
        replication_status: None,
    };
    HealthDocument {
        status: findings.iter().map(|finding| finding.status).max().unwrap_or(HealthStatus::Healthy),
        ha_enabled: rooms.any(),
        reasons: findings.into_iter().map(|finding| finding.reason).collect(),
        ha_details: rooms.any().then_some(details),
    }
}

#[cfg(test)]
mod tests;
