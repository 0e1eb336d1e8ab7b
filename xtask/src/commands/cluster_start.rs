//! `cluster-start`: brings a node back that has ended, on its old folder and ports.

use std::process::ExitCode;

use super::Outcome;
use super::pick::Arguments;

/// Runs it.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let mut picked = arguments.pick().await?;
    let index = picked.index;
    picked.nodes[index].start()?;
    picked.file.store(&picked.nodes)?;
    let pid = picked.node().process().map_or(0, |process| process.pid);
    println!("{} runs again, as process {pid}", picked.node().spec.node_id);
    Ok(ExitCode::SUCCESS)
}
