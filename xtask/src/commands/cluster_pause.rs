//! `cluster-pause`: freezes a node, as a stalled machine would be.

use std::process::ExitCode;

use rustix::process::Signal;

use super::Outcome;
use super::pick::Arguments;

/// Runs it.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let picked = arguments.pick().await?;
    let node_id = &picked.node().spec.node_id;
    picked.node().signal(Signal::STOP)?;
    println!("{node_id} is frozen; `cargo xtask cluster-resume {node_id}` wakes it");
    Ok(ExitCode::SUCCESS)
}
