//! `cluster-resume`: wakes a frozen node.

use std::process::ExitCode;

use rustix::process::Signal;

use super::Outcome;
use super::pick::Arguments;

/// Runs it.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let picked = arguments.pick().await?;
    picked.node().signal(Signal::CONT)?;
    println!("{} runs again", picked.node().spec.node_id);
    Ok(ExitCode::SUCCESS)
}
