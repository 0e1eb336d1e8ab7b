//! `cargo xtask`: the house commands.

mod commands;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// The house commands: run a local cluster, test, check, measure.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match commands::run(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            ui::error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
