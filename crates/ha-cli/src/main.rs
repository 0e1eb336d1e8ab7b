//! The program `ha`: runs a node, and asks running nodes.

mod answers;
mod client;
mod commands;
mod failure;
mod guard;
mod logging;
mod output;
mod settings;
mod signals;
mod table;

use std::process::ExitCode;

use clap::Parser;
use commands::Command;
use mimalloc::MiMalloc;

/// Much of what one thread takes here, another one gives back: see the decision about it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// High availability for services.
#[derive(Debug, Parser)]
#[command(name = "ha", version, arg_required_else_help = true, max_term_width = 100)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    match Program::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn no_command_contradicts_itself() {
        super::Program::command().debug_assert();
    }
}
