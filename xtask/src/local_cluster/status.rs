//! What one look at a node finds.

use std::time::Duration;

use serde::Serialize;

use super::answers::ClusterInfo;
use super::node::Node;
use super::process::ProcessState;

/// How long a look waits for an answer: a node on this machine that takes longer is as good as silent.
const LOOK_TIMEOUT: Duration = Duration::from_millis(800);

/// What one look at a node finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Its id.
    pub node_id: String,
    /// What its process is doing.
    pub process: ProcessState,
    /// The process, unless it is gone.
    pub pid: Option<i32>,
    /// Where other nodes dial it.
    pub cluster_address: String,
    /// Its HTTP API.
    pub http_url: String,
    /// Its log file.
    pub log: String,
    /// What it is, by its own account: `leader`, `follower`, `learner`, `witness`.
    pub role: Option<String>,
    /// The cluster as it sees it.
    pub cluster: Option<ClusterInfo>,
    /// The id of its cluster.
    pub cluster_id: Option<String>,
    /// Why it stopped taking part, what it waits for, or why it does not answer.
    pub remark: Option<String>,
}

impl NodeStatus {
    /// Looks at a node.
    pub async fn of(node: &Node) -> Self {
        let process = node.state();
        let pid = node.process().filter(|_| process != ProcessState::Gone).map(|p| p.pid);
        let mut status = Self {
            node_id: node.spec.node_id.clone(),
            process,
            pid,
            cluster_address: node.spec.cluster_address().to_string(),
            http_url: format!("http://{}", node.spec.http_address()),
            log: node.spec.log().display().to_string(),
            role: None,
            cluster: None,
            cluster_id: None,
            remark: None,
        };
        if process == ProcessState::Running {
            status.ask(node).await;
        }
        status
    }

    async fn ask(&mut self, node: &Node) {
        match node.http().with_timeout(LOOK_TIMEOUT).health().await {
            Ok(health) => {
                self.cluster = health.cluster();
                self.cluster_id = health.cluster_id();
                self.role = health.role().map(str::to_owned);
                self.remark = health.stopped().or_else(|| health.waiting_for()).map(str::to_owned);
            }
            Err(error) => self.remark = Some(error.to_string()),
        }
    }

    /// The leader in this node's eyes, once the cluster has formed.
    pub fn leader(&self) -> Option<&str> {
        self.cluster.as_ref().filter(|c| c.state == "healthy" || c.state == "degraded")?.leader_node.as_deref()
    }

    /// One line for an error or a progress bar.
    pub fn line(&self) -> String {
        let state = self.cluster.as_ref().map_or("no answer", |c| c.state.as_str());
        match (self.process, &self.remark) {
            (ProcessState::Running, Some(remark)) => format!("{}: {state}; {remark}", self.node_id),
            (ProcessState::Running, None) => {
                let leader = self.cluster.as_ref().and_then(|c| c.leader_node.as_deref()).unwrap_or("none");
                format!("{}: {state}, leader {leader}", self.node_id)
            }
            (process, _) => format!("{}: {process}", self.node_id),
        }
    }
}

/// The leader that all running nodes agree on, when it is itself one of them.
pub fn agreed_leader(statuses: &[NodeStatus]) -> Option<&str> {
    let mut running = statuses.iter().filter(|s| s.process == ProcessState::Running);
    let leader = running.next()?.leader()?;
    let agreed = running.all(|status| status.leader() == Some(leader));
    let leads = statuses.iter().any(|s| {
        s.node_id == leader
            && s.process == ProcessState::Running
            && s.role.as_deref().is_none_or(|role| role == "leader")
    });
    (agreed && leads).then_some(leader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node_id: &str, process: ProcessState, state: &str, leader: Option<&str>) -> NodeStatus {
        NodeStatus {
            node_id: node_id.to_owned(),
            process,
            pid: None,
            cluster_address: String::new(),
            http_url: String::new(),
            log: String::new(),
            role: leader.map(|leader| if leader == node_id { "leader" } else { "follower" }.to_owned()),
            cluster: Some(ClusterInfo {
                total_nodes: 3,
                active_nodes: 3,
                leader_node: leader.map(str::to_owned),
                state: state.to_owned(),
                is_healthy: state == "healthy",
            }),
            cluster_id: None,
            remark: None,
        }
    }

    #[test]
    fn a_leader_is_agreed_when_every_running_node_names_it() {
        use ProcessState::{Gone, Running};
        let mut nodes = [
            status("a", Running, "degraded", Some("b")),
            status("b", Running, "degraded", Some("b")),
            status("c", Gone, "healthy", Some("c")),
        ];
        assert_eq!(agreed_leader(&nodes), Some("b"));
        nodes[0] = status("a", Running, "degraded", Some("c"));
        assert_eq!(agreed_leader(&nodes), None, "they differ");
    }

    #[test]
    fn no_leader_is_agreed_before_the_cluster_serves_or_when_it_is_gone() {
        use ProcessState::{Gone, Paused, Running};
        assert_eq!(agreed_leader(&[status("a", Running, "no_quorum", Some("a"))]), None);
        for ended in [Gone, Paused] {
            let nodes = [status("a", ended, "healthy", Some("a")), status("b", Running, "degraded", Some("a"))];
            assert_eq!(agreed_leader(&nodes), None, "the leader is {ended}");
        }
        assert_eq!(agreed_leader(&[]), None);
    }
}
