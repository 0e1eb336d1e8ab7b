//! `fuzz`: feeds every decoder with inputs that nobody wrote, for as long as one likes. `cargo xtask test` does it
//! briefly.

use std::process::{Command, ExitCode};

use xtask::local_cluster::binary::project_root;

use super::Outcome;

/// What to feed, and how often.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this decoder; may be repeated. Without any, all of them
    #[arg(long)]
    target: Vec<String>,
    /// Inputs of each
    #[arg(long, default_value_t = 100_000)]
    executions: u64,
    /// Which inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// With an optimized build, which takes minutes to make and then is several times as fast; it checks as much
    #[arg(long)]
    optimized: bool,
    /// Name the decoders, and do nothing
    #[arg(long)]
    list: bool,
}

/// Runs it, in a build that checks for overflows.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--package", "ha-fuzz"]).current_dir(project_root());
    if arguments.optimized {
        command.args(["--profile", "fuzz"]);
    }
    command.arg("--");
    for target in &arguments.target {
        command.args(["--target", target]);
    }
    command.args(["--executions", &arguments.executions.to_string(), "--seed", &arguments.seed.to_string()]);
    if arguments.list {
        command.arg("--list");
    }
    Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
