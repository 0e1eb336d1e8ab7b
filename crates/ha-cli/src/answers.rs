//! What a node answers, as far as people are shown it. Fields that a newer node adds are passed over.

use serde::Deserialize;

/// `GET /health`.
#[derive(Debug, Deserialize)]
pub(crate) struct Health {
    pub(crate) status: String,
    pub(crate) ha_enabled: bool,
    #[serde(default)]
    pub(crate) reasons: Vec<String>,
    pub(crate) ha_details: Option<Details>,
}

/// The `ha_details` of [`Health`].
#[derive(Debug, Deserialize)]
pub(crate) struct Details {
    pub(crate) cluster_info: Option<Cluster>,
    pub(crate) health_status: Option<Components>,
}

/// The `health_status` of [`Details`].
#[derive(Debug, Deserialize)]
pub(crate) struct Components {
    pub(crate) checks: Vec<Component>,
}

/// One checked component.
#[derive(Debug, Deserialize)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) critical: bool,
    pub(crate) message: Option<String>,
    pub(crate) since_seconds: f64,
    pub(crate) recovery: Option<String>,
}

/// `GET /v1/doctor`.
#[derive(Debug, Deserialize)]
pub(crate) struct Diagnosis {
    pub(crate) well: bool,
    pub(crate) topics: Vec<Topic>,
}

/// One question of [`Diagnosis`].
#[derive(Debug, Deserialize)]
pub(crate) struct Topic {
    pub(crate) question: String,
    pub(crate) findings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Debug, Deserialize)]
pub(crate) struct Finding {
    pub(crate) severity: String,
    pub(crate) what: String,
    pub(crate) cause: String,
    pub(crate) remedy: String,
}

/// The `cluster_info` of [`Details`].
#[derive(Debug, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) total_nodes: usize,
    pub(crate) active_nodes: usize,
    pub(crate) leader_node: Option<String>,
    pub(crate) state: String,
    pub(crate) cluster_id: Option<String>,
    pub(crate) cluster_name: String,
    pub(crate) node_id: String,
    pub(crate) address: String,
    pub(crate) role: Option<String>,
    pub(crate) term: u64,
    pub(crate) epoch: u64,
    pub(crate) votes: Votes,
    pub(crate) members: Vec<Member>,
}

/// Votes that are there, and that are needed.
#[derive(Debug, Deserialize)]
pub(crate) struct Votes {
    pub(crate) have: usize,
    pub(crate) need: usize,
}

/// One of `GET /v1/cluster/members`.
#[derive(Debug, Deserialize)]
pub(crate) struct Member {
    pub(crate) node_id: String,
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) state: String,
    pub(crate) role: String,
    pub(crate) priority: u16,
    pub(crate) voter: bool,
    pub(crate) fit: bool,
}

/// `GET /v1/cluster/leader`, and the answer to a transfer.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) node_id: String,
    pub(crate) address: String,
    pub(crate) port: u16,
}

/// The data of one event.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) number: Option<u64>,
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// The body of an answer that is not a success.
#[derive(Debug, Deserialize)]
pub(crate) struct Refused {
    pub(crate) error: Reason,
}

/// Why.
#[derive(Debug, Deserialize)]
pub(crate) struct Reason {
    #[serde(default)]
    pub(crate) code: String,
    pub(crate) message: String,
}
