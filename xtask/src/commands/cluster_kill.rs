//! `cluster-kill`: ends a node as a power cut would, without a word to anyone.

use std::process::ExitCode;

use rustix::process::Signal;

use super::Outcome;
use super::pick::Arguments;

/// Runs it.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let picked = arguments.pick().await?;
    let node_id = &picked.node().spec.node_id;
    picked.node().signal(Signal::KILL)?;
    println!("{node_id} was killed; `cargo xtask cluster-start {node_id}` brings it back");
    Ok(ExitCode::SUCCESS)
}
