//! `ha status`: the cluster at a glance.

use super::members;
use crate::answers::{Cluster, Health};
use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, PLAIN, QUIET, STRONG, list};

/// Asks and shows. The JSON is the `cluster_info` of `/health`: `/v1/cluster`, and what the node knows of itself.
pub(crate) async fn run(args: ClientArgs) -> Result<(), Failure> {
    let answer = Client::new(&args).get("/health").await?;
    // An unhealthy node answers 503, and has just as much to say.
    let health: Health = answer.read()?;
    let Some(details) = health.ha_details.as_ref().and_then(|details| details.cluster_info.as_ref()) else {
        return Err(Failure::failed(format_args!("the cluster of {} is off (CLUSTER_ENABLED=false)", args.url)));
    };
    if args.json {
        let document: serde_json::Value = answer.read()?;
        return print_json(&document["ha_details"]["cluster_info"]);
    }
    print(&show(&health, details))
}

fn show(health: &Health, cluster: &Cluster) -> String {
    let mut text = list(&[
        ("cluster", Cell::new(&cluster.cluster_name, STRONG)),
        ("id", cluster.cluster_id.clone().map_or(Cell::new("none until it has formed", QUIET), Cell::from)),
        ("state", state(&cluster.state)),
        ("leader", cluster.leader_node.as_ref().map_or(Cell::new("none", BAD), |leader| Cell::new(leader, STRONG))),
        ("nodes", format!("{} of {} alive", cluster.active_nodes, cluster.total_nodes).into()),
        ("votes", votes(cluster)),
        ("term", format!("{}, epoch {}", cluster.term, cluster.epoch).into()),
        ("this node", this_node(cluster)),
    ]);
    if !cluster.members.is_empty() {
        text.push('\n');
        text.push_str(&members::show(&cluster.members));
    }
    if !health.reasons.is_empty() {
        text.push('\n');
        text.extend(health.reasons.iter().map(|reason| list(&[("note", reason.clone().into())])));
    }
    text
}

fn state(state: &str) -> Cell {
    let style = match state {
        "healthy" => GOOD,
        "no_quorum" => BAD,
        "forming" | "degraded" => DOUBTFUL,
        _ => PLAIN,
    };
    Cell::new(state, style)
}

fn votes(cluster: &Cluster) -> Cell {
    let votes = &cluster.votes;
    let style = if votes.have < votes.need { BAD } else { PLAIN };
    Cell::new(format!("{} here, {} needed", votes.have, votes.need), style)
}

fn this_node(cluster: &Cluster) -> Cell {
    let role = cluster.role.as_deref().unwrap_or("not a member yet");
    format!("{} ({role}) at {}", cluster.node_id, cluster.address).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(health: serde_json::Value) -> String {
        let health: Health = serde_json::from_value(health).unwrap();
        let cluster = health.ha_details.as_ref().unwrap().cluster_info.as_ref().unwrap();
        anstream::adapter::strip_str(&show(&health, cluster)).to_string()
    }

    #[test]
    fn a_degraded_cluster() {
        let member = |node: &str, state: &str, role: &str| {
            json!({"node_id": node, "address": "10.0.0.1", "port": 7946, "state": state, "role": role, "priority": 100,
                "voter": true, "fit": true})
        };
        let text = shown(json!({
            "status": "degraded", "ha_enabled": true, "reasons": ["node-2 has failed: it is silent"],
            "ha_details": {"enabled": true, "version": "0", "cluster_info": {
                "total_nodes": 2, "active_nodes": 1, "leader_node": "node-1", "state": "degraded", "is_healthy": false,
                "cluster_id": "abc", "cluster_name": "default", "node_id": "node-1", "incarnation": 1,
                "address": "10.0.0.1:7946", "role": "leader", "term": 4, "epoch": 17, "votes": {"have": 2, "need": 2},
                "members": [member("node-1", "alive", "leader"), member("node-2", "failed", "follower")],
                "waiting_for": null, "stopped": null, "a_later_field": 1,
            }},
        }));
        let expected = "\
cluster    default
id         abc
state      degraded
leader     node-1
nodes      1 of 2 alive
votes      2 here, 2 needed
term       4, epoch 17
this node  node-1 (leader) at 10.0.0.1:7946

NODE    STATE   ROLE      VOTES  PRIORITY  ADDRESS
node-1  alive   leader    yes    100       10.0.0.1:7946
node-2  failed  follower  yes    100       10.0.0.1:7946

note  node-2 has failed: it is silent
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_node_alone() {
        let text = shown(json!({
            "status": "degraded", "ha_enabled": true, "reasons": ["the cluster has not formed yet; 1 of 2 nodes found"],
            "ha_details": {"cluster_info": {
                "total_nodes": 0, "active_nodes": 0, "leader_node": null, "state": "forming", "cluster_id": null,
                "cluster_name": "default", "node_id": "node-1", "address": "10.0.0.1:7946", "role": null, "term": 0,
                "epoch": 0, "votes": {"have": 0, "need": 0}, "members": [],
            }},
        }));
        assert!(text.contains("leader     none\n"), "{text}");
        assert!(text.contains("this node  node-1 (not a member yet) at 10.0.0.1:7946\n"), "{text}");
        assert!(text.ends_with("\nnote  the cluster has not formed yet; 1 of 2 nodes found\n"), "{text}");
        assert!(!text.contains("NODE"), "{text}");
    }
}
