//! What a node says about itself, as far as commands and tests read it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::http::{Client, HttpError};

/// `GET /v1/cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// Members, alive or not.
    pub total_nodes: usize,
    /// Members believed alive.
    pub active_nodes: usize,
    /// The leader's id.
    pub leader_node: Option<String>,
    /// `forming`, `healthy`, `degraded` or `no_quorum`.
    pub state: String,
    /// Whether all is well.
    pub is_healthy: bool,
}

/// `GET /v1/cluster/leader`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its id.
    pub node_id: String,
    /// Its host.
    pub address: String,
    /// Its port between nodes.
    pub port: u16,
}

/// One row of `GET /v1/cluster/members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub node_id: String,
    /// Its host.
    pub address: String,
    /// Its port between nodes.
    pub port: u16,
    /// `alive`, `suspect`, `failed` or `left`.
    pub state: String,
    /// `leader`, `follower`, `learner` or `witness`.
    pub role: String,
    /// Its priority.
    pub priority: u16,
    /// Whether it votes.
    pub voter: bool,
}

/// `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `healthy`, `degraded` or `unhealthy`.
    pub status: String,
    /// Whether this node takes part in a cluster.
    pub ha_enabled: bool,
    /// The details.
    #[serde(default)]
    pub ha_details: Value,
}

impl Health {
    /// What the node waits for, as one sentence.
    pub fn waiting_for(&self) -> Option<&str> {
        self.ha_details.pointer("/cluster_info/waiting_for").and_then(Value::as_str)
    }

    /// The id of the cluster that this node belongs to, once formed.
    pub fn cluster_id(&self) -> Option<String> {
        match self.ha_details.pointer("/cluster_info/cluster_id")? {
            Value::Null => None,
            Value::String(id) => Some(id.clone()),
            other => Some(other.to_string()),
        }
    }

    /// The cluster at a glance, as this node sees it.
    pub fn cluster(&self) -> Option<ClusterInfo> {
        serde_json::from_value(self.ha_details.get("cluster_info")?.clone()).ok()
    }

    /// Why the node stopped taking part, as one sentence.
    pub fn stopped(&self) -> Option<&str> {
        self.ha_details.pointer("/cluster_info/stopped").and_then(Value::as_str)
    }

    /// A number that the node gives about its cluster, such as `term` or `epoch`.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.ha_details.get("cluster_info")?.get(name)?.as_u64()
    }

    /// What this node is in the cluster, once it is a member.
    pub fn role(&self) -> Option<&str> {
        self.ha_details.pointer("/cluster_info/role").and_then(Value::as_str)
    }
}

impl Client {
    /// The cluster at a glance.
    pub async fn cluster(&self) -> Result<ClusterInfo, HttpError> {
        self.get_json("/v1/cluster").await
    }

    /// The leader; `None` while there is none.
    pub async fn leader(&self) -> Result<Option<Leader>, HttpError> {
        let answer = self.get("/v1/cluster/leader").await?;
        match answer.status {
            503 => Ok(None),
            _ => Ok(serde_json::from_str(&answer.body).ok()),
        }
    }

    /// All members.
    pub async fn members(&self) -> Result<Vec<Member>, HttpError> {
        self.get_json("/v1/cluster/members").await
    }

    /// The node's health, whatever its status code.
    pub async fn health(&self) -> Result<Health, HttpError> {
        let answer = self.get("/health").await?;
        serde_json::from_value(answer.json()).map_err(|_| self.unexpected(format!("/health: {}", answer.body)))
    }
}
