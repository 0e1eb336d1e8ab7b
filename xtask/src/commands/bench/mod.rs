//! `bench`: figures of this machine, each beside what was asked for. Every run prints the machine and its floor.

mod cluster;
mod etcd;
mod exchange;
mod failover;
mod figures;
mod gaps;
mod idle;
mod machine;
mod outside;
mod proposals;
mod replication;
mod security;
mod siege;
mod start;
mod state;

use clap::{Subcommand, ValueEnum};

use super::Outcome;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Arguments {
    /// Elections, hand-overs, durable proposals and idle cost of a cluster of real processes
    Cluster(cluster::Arguments),
    /// Shared keys and locks, beside etcd where it is installed
    State(state::Arguments),
    /// Records on three real processes: writes at each level, reads, a copy that was away, millions of records
    Replication(replication::Arguments),
}

/// One group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// From the start of warm processes to an agreed leader
    Start,
    /// Durable proposals per second
    Proposals,
    /// Unavailability after the leader was killed
    Kill,
    /// Unavailability after the leader fell silent
    Silence,
    /// Unavailability after the leader was cut off
    Partition,
    /// Write gap of a planned hand-over
    Transfer,
    /// How long a command runs nowhere: its primary killed, and moved by a person
    Failover,
    /// The same with the default timers, which are for networks of any kind: three kills
    FailoverDefaults,
    /// What the secret and TLS cost
    Security,
    /// Thousands of connections held against the ports of the leader
    Siege,
    /// Memory, processor and traffic of a cluster that does nothing
    Idle,
}

/// Runs it.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    match arguments {
        Arguments::Cluster(arguments) => cluster::run(arguments).await,
        Arguments::State(arguments) => state::run(arguments).await,
        Arguments::Replication(arguments) => replication::run(arguments).await,
    }
}
