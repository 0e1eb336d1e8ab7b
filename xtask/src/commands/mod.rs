//! One file per command.

mod bench;
mod chaos;
mod check;
mod cluster_down;
mod cluster_kill;
mod cluster_pause;
mod cluster_resume;
mod cluster_start;
mod cluster_status;
mod cluster_up;
mod follow;
mod fuzz;
mod pick;
mod random;
mod sim;
mod stop;
mod test;
mod writers;

use std::error::Error;
use std::process::ExitCode;

use clap::Subcommand;

/// What a command answers: its exit code, or one error for people.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error>>;

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build and start a local cluster of real processes
    ClusterUp(cluster_up::Arguments),
    /// Stop the local cluster
    ClusterDown,
    /// Show the local cluster
    ClusterStatus(cluster_status::Arguments),
    /// Kill a node with SIGKILL
    ClusterKill(pick::Arguments),
    /// Freeze a node with SIGSTOP
    ClusterPause(pick::Arguments),
    /// Wake a frozen node with SIGCONT
    ClusterResume(pick::Arguments),
    /// Start a node that has ended
    ClusterStart(pick::Arguments),
    /// Run all tests
    Test(test::Arguments),
    /// Play scenes on a simulated network and disk
    Sim(sim::Arguments),
    /// Hurt real processes at random under a writing load, then check that nothing was lost
    Chaos(chaos::Arguments),
    /// Feed every decoder with inputs that nobody wrote
    Fuzz(fuzz::Arguments),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Arguments),
    /// Check formatting, lints and house rules; writes nothing
    Check,
}

/// Runs a command.
pub(crate) async fn run(command: Command) -> Outcome {
    match command {
        Command::ClusterUp(arguments) => cluster_up::run(arguments).await,
        Command::ClusterDown => cluster_down::run().await,
        Command::ClusterStatus(arguments) => cluster_status::run(&arguments).await,
        Command::ClusterKill(arguments) => cluster_kill::run(&arguments).await,
        Command::ClusterPause(arguments) => cluster_pause::run(&arguments).await,
        Command::ClusterResume(arguments) => cluster_resume::run(&arguments).await,
        Command::ClusterStart(arguments) => cluster_start::run(&arguments).await,
        Command::Test(arguments) => test::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments).await,
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments).await,
        Command::Check => check::run(),
    }
}
