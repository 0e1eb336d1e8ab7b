//! `cluster-resume`: wakes a frozen node.

use std::process::ExitCode;

use rustix::process::Signal;
use xtask::local_cluster::{Node, ProcessState};

use super::Outcome;
use super::pick::Arguments;

/// Runs it.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let picked = arguments.pick().await?;
    let node_id = &picked.node().spec.node_id;
    if !is_frozen(picked.node()) {
        // A leader that was frozen leads no longer.
        let frozen = picked.nodes.iter().filter(|node| is_frozen(node));
        let frozen: Vec<&str> = frozen.map(|node| node.spec.node_id.as_str()).collect();
        let which = if frozen.is_empty() { "no node is".to_owned() } else { format!("frozen: {}", frozen.join(", ")) };
        return Err(format!("{node_id} is not frozen; {which}").into());
    }
    picked.node().signal(Signal::CONT)?;
    println!("{node_id} runs again");
    Ok(ExitCode::SUCCESS)
}

fn is_frozen(node: &Node) -> bool {
    node.state() == ProcessState::Paused
}
