//! What must hold at every look, whatever happens.

use std::collections::BTreeMap;
use std::time::Duration;

use xtask::local_cluster::{LocalCluster, ProcessState};

/// How long a look waits for an answer.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// Remembers what nodes said, and what of it cannot be.
#[derive(Default)]
pub(crate) struct Watcher {
    /// What was broken, as sentences.
    pub(crate) violations: Vec<String>,
    leaders: BTreeMap<u64, String>,
    terms: BTreeMap<String, u64>,
    cluster_id: Option<String>,
}

impl Watcher {
    /// Looks at all nodes that run.
    pub(crate) async fn look(&mut self, cluster: &LocalCluster) {
        for node in cluster.nodes().iter().filter(|node| node.state() == ProcessState::Running) {
            // A node that is starting or just woken may not answer: silence breaks nothing.
            let Ok(health) = node.http().with_timeout(LOOK_TIMEOUT).health().await else { continue };
            let id = &node.spec.node_id;
            self.one_cluster(id, health.cluster_id());
            // Before it has read its log a node has no role, and knows no term.
            if let (Some(role), Some(term)) = (health.role(), health.number("term")) {
                self.terms_only_grow(id, term);
                if role == "leader" {
                    self.one_leader_per_term(id, term);
                }
            }
        }
    }

    fn one_cluster(&mut self, id: &str, cluster_id: Option<String>) {
        let Some(cluster_id) = cluster_id else { return };
        let known = self.cluster_id.get_or_insert_with(|| cluster_id.clone());
        if *known != cluster_id {
            self.violations.push(format!("{id} is in cluster {cluster_id}, others are in {known}"));
        }
    }

    fn terms_only_grow(&mut self, id: &str, term: u64) {
        let known = self.terms.entry(id.to_owned()).or_default();
        if term < *known {
            self.violations.push(format!("{id} went back from term {known} to {term}"));
        }
        *known = term;
    }

    fn one_leader_per_term(&mut self, id: &str, term: u64) {
        let known = self.leaders.entry(term).or_insert_with(|| id.to_owned());
        if known != id {
            self.violations.push(format!("{id} and {known} both lead in term {term}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_term_are_noticed() {
        let mut watcher = Watcher::default();
        watcher.one_leader_per_term("a", 1);
        watcher.one_leader_per_term("b", 2);
        assert!(watcher.violations.is_empty());
        watcher.one_leader_per_term("b", 1);
        assert_eq!(watcher.violations, ["b and a both lead in term 1"]);
    }

    #[test]
    fn a_term_that_shrinks_and_a_second_cluster_are_noticed() {
        let mut watcher = Watcher::default();
        watcher.terms_only_grow("a", 2);
        watcher.terms_only_grow("a", 1);
        watcher.one_cluster("a", Some("x".to_owned()));
        watcher.one_cluster("b", None);
        watcher.one_cluster("b", Some("y".to_owned()));
        assert_eq!(watcher.violations.len(), 2);
    }
}
