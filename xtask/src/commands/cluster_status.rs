//! `cluster-status`: one look at every node.

use std::path::Path;
use std::process::ExitCode;

use xtask::local_cluster::{Node, NodeStatus, ProcessState, StateFile, agreed_leader, binary};

use super::Outcome;
use crate::ui::{Table, Tone};

/// How to show it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it. Fails when no cluster is up, or when its nodes agree on no leader.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let nodes = StateFile::peek(&binary::project_root())?;
    let statuses = look(&nodes).await;
    let leader = agreed_leader(&statuses);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "leader": leader, "nodes": statuses }))?);
    } else if nodes.is_empty() {
        println!("no local cluster is up; start one with `cargo xtask cluster-up`");
    } else {
        print_table(&statuses);
        match leader {
            Some(leader) => println!("\nthe leader is {leader}"),
            None => println!("\nthe running nodes agree on no leader"),
        }
    }
    Ok(if leader.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One look at every node.
pub(crate) async fn look(nodes: &[Node]) -> Vec<NodeStatus> {
    let mut statuses = Vec::with_capacity(nodes.len());
    for node in nodes {
        statuses.push(NodeStatus::of(node).await);
    }
    statuses
}

/// A row per node.
pub(crate) fn print_table(statuses: &[NodeStatus]) {
    let mut table = Table::new(&["NODE", "ROLE", "PROCESS", "CLUSTER", "HTTP", "LOG"]);
    for status in statuses {
        let role = status.role.as_deref().unwrap_or("-");
        let role_tone = if role == "leader" { Some(Tone::Good) } else { None };
        let (process, process_tone) = match (status.process, status.pid) {
            (ProcessState::Running, Some(pid)) => (pid.to_string(), None),
            (ProcessState::Paused, Some(pid)) => (format!("{pid} paused"), Some(Tone::Warning)),
            _ => ("gone".to_owned(), Some(Tone::Bad)),
        };
        table.row(vec![
            (None, status.node_id.clone()),
            (role_tone, role.to_owned()),
            (process_tone, process),
            (None, status.cluster_address.clone()),
            (None, status.http_url.clone()),
            (Some(Tone::Faint), from_here(&status.log)),
        ]);
    }
    table.print();
}

/// A path as short as it can be written from the current folder.
fn from_here(path: &str) -> String {
    let short =
        std::env::current_dir().ok().and_then(|here| Path::new(path).strip_prefix(here).ok().map(Path::to_path_buf));
    short.map_or_else(|| path.to_owned(), |short| short.display().to_string())
}
