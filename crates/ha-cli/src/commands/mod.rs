//! One file per command.

mod certs;
mod config;
mod config_set;
mod doctor;
mod events;
mod failover;
mod guard;
mod health;
mod leader;
mod lock;
mod members;
mod remove;
mod replication;
mod run;
mod snapshot;
mod state;
mod status;
mod transfer;
mod version;

use std::time::Duration;

use crate::client::Client;
use crate::client::ClientArgs;
use crate::failure::Failure;

/// What the program can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run a node.
    Run(run::Args),
    /// Show the cluster at a glance.
    Status(ClientArgs),
    /// List the members of the cluster.
    Members(ClientArgs),
    /// Name the leader.
    Leader(ClientArgs),
    /// Hand leadership to another node.
    Transfer(transfer::Args),
    /// Take a member out of the cluster for good.
    Remove(remove::Args),
    /// Show who runs what, or move it.
    #[command(subcommand)]
    Failover(failover::FailoverCommand),
    /// Say how a node is; exits with 1 when it is unhealthy.
    Health(ClientArgs),
    /// Find out why nodes do not join, why replication lags, why failover does not trigger.
    Doctor(ClientArgs),
    /// Set, read, remove, list and follow shared keys.
    #[command(subcommand)]
    State(state::StateCommand),
    /// Run a command while holding a lock.
    Lock(lock::Args),
    /// Save the whole control state, or bring it back.
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Follow what happens on a node.
    Events(ClientArgs),
    /// Read and write records, and show how their copies are.
    #[command(subcommand)]
    Replication(replication::ReplicationCommand),
    /// Show, check or time a configuration; change a running node.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make certificates for TLS between nodes.
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Print the version of this program.
    Version(version::Args),
    /// Watch over a command; started by `ha` itself.
    #[command(hide = true)]
    Guard(guard::Args),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Run(args) => run::run(args),
            Self::Status(args) => ask(status::run(args)),
            Self::Members(args) => ask(members::run(args)),
            Self::Leader(args) => ask(leader::run(args)),
            Self::Transfer(args) => ask(transfer::run(args)),
            Self::Remove(args) => ask(remove::run(args)),
            Self::Failover(command) => ask(command.run()),
            Self::Health(args) => ask(health::run(args)),
            Self::Doctor(args) => ask(doctor::run(args)),
            Self::State(command) => ask(command.run()),
            Self::Snapshot(command) => ask(command.run()),
            Self::Lock(args) => lock::run(args),
            Self::Events(args) => ask(events::run(args)),
            Self::Replication(command) => ask(command.run()),
            Self::Config(command) => command.run(),
            Self::Certs(command) => command.run(),
            Self::Version(args) => version::run(args),
            Self::Guard(args) => guard::run(args),
        }
    }
}

/// Runs a command that asks a node: one connection, one thread.
fn ask(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?.block_on(work)
}

/// The number of seconds that an option was given.
fn seconds(option: &str, number: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(number)
        .map_err(|_| Failure::usage(format_args!("--{option} takes a number of seconds from 0 on")))
}

/// Asks for something, and shows the answer: as JSON as it came, or through `show` for people.
async fn ask_and_show<T: serde::de::DeserializeOwned>(
    args: ClientArgs,
    path: &str,
    show: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let answer = Client::new(&args).get(path).await?;
    if args.json {
        return crate::output::print_json(&answer.success::<serde_json::Value>()?);
    }
    crate::output::print(&show(&answer.success()?))
}
