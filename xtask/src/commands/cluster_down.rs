//! `cluster-down`: stops the local cluster in order.

use std::process::ExitCode;

use xtask::local_cluster::{StateFile, binary};

use super::Outcome;
use super::stop::stop_all;

/// Runs it.
pub(crate) async fn run() -> Outcome {
    let file = StateFile::lock(&binary::project_root())?;
    let mut alive = file.alive()?;
    if alive.is_empty() {
        println!("no local cluster is up");
    }
    stop_all(&mut alive).await;
    file.clear()?;
    Ok(ExitCode::SUCCESS)
}
