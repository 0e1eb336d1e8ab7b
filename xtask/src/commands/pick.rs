//! Finds the node that a person means.

use xtask::local_cluster::{Node, NodeStatus, StateFile, agreed_leader, binary};

/// A node of the local cluster.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Its number (2), its id (node-2, witness), or `leader`
    pub(crate) node: String,
}

/// The remembered cluster, locked, its nodes, and which of them is meant.
pub(crate) struct Picked {
    /// The lock and the file.
    pub(crate) file: StateFile,
    /// All nodes.
    pub(crate) nodes: Vec<Node>,
    /// The index of the one that is meant.
    pub(crate) index: usize,
}

impl Arguments {
    /// Finds it.
    pub(crate) async fn pick(&self) -> Result<Picked, Box<dyn std::error::Error>> {
        let file = StateFile::lock(&binary::project_root())?;
        let nodes = file.load()?;
        if nodes.is_empty() {
            return Err("no local cluster is up; start one with `cargo xtask cluster-up`".into());
        }
        let wanted = if self.node == "leader" { leader_of(&nodes).await? } else { self.node.clone() };
        match index_of(&nodes, &wanted) {
            Some(index) => Ok(Picked { file, nodes, index }),
            None => {
                let ids: Vec<_> = nodes.iter().map(|node| node.spec.node_id.as_str()).collect();
                Err(format!("there is no node {:?}; the nodes are {}", self.node, ids.join(", ")).into())
            }
        }
    }
}

impl Picked {
    /// The node.
    pub(crate) fn node(&self) -> &Node {
        &self.nodes[self.index]
    }
}

fn index_of(nodes: &[Node], wanted: &str) -> Option<usize> {
    nodes.iter().enumerate().position(|(index, node)| {
        node.spec.node_id == wanted || wanted.parse::<usize>().is_ok_and(|number| number == index + 1)
    })
}

async fn leader_of(nodes: &[Node]) -> Result<String, Box<dyn std::error::Error>> {
    let mut statuses = Vec::new();
    for node in nodes {
        statuses.push(NodeStatus::of(node).await);
    }
    agreed_leader(&statuses)
        .map(str::to_owned)
        .ok_or_else(|| "the nodes agree on no leader now; see `cargo xtask cluster-status`".into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_node_is_found_by_number_and_by_id() {
        let settings = xtask::local_cluster::Settings::new(2).with_witness();
        let specs = settings.specs(Path::new("root"), Path::new("ha"), &[(1, 2), (3, 4), (5, 6)]);
        let nodes: Vec<Node> = specs.into_iter().map(Node::new).collect();
        assert_eq!(index_of(&nodes, "2"), Some(1));
        assert_eq!(index_of(&nodes, "node-2"), Some(1));
        assert_eq!(index_of(&nodes, "witness"), Some(2));
        assert_eq!(index_of(&nodes, "3"), Some(2));
        assert_eq!(index_of(&nodes, "4"), None);
        assert_eq!(index_of(&nodes, "0"), None);
    }
}
