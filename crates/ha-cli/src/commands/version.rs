//! `ha version`.

use serde_json::json;

use crate::failure::Failure;
use crate::output::{print, print_json};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if args.json { print_json(&json!({"version": version})) } else { print(&format!("ha {version}\n")) }
}
