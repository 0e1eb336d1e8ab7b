//! `bench cluster`: what a cluster of three real processes on loopback does, profile `lan`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use xtask::local_cluster::binary::{HA, project_root};

use super::figures::{Report, milliseconds};
use super::{Part, exchange, failover, gaps, idle, machine, proposals, security, siege, start};
use crate::commands::Outcome;
use crate::commands::writers::bench_node::BENCH_NODE;
use crate::ui::build;

/// What to measure, and how often.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this part; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Kills and hand-overs that are measured
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// How long each load of proposals lasts
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seed of the instants at which nodes are hurt
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure a build without optimizations: quick to make, its figures mean nothing
    #[arg(long)]
    dev: bool,
}

/// What every part needs.
pub(crate) struct Bench {
    /// The program `ha`.
    pub(crate) ha: PathBuf,
    /// The program `ha-bench-node`.
    pub(crate) bench_node: PathBuf,
    /// A folder on a real disk.
    pub(crate) folder: PathBuf,
    /// Kills and hand-overs that are measured.
    pub(crate) rounds: usize,
    /// How long each load of proposals lasts.
    pub(crate) load: Duration,
    /// Seed of the instants at which nodes are hurt.
    pub(crate) seed: u64,
    /// One `fdatasync` and one round trip, medians of this run: no durable proposal can be faster.
    pub(crate) floor: Duration,
}

/// Runs it. Fails when a figure falls short of what was asked for.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let folder = project_root().join("target").join("bench");
    fs::create_dir_all(&folder)?;
    let ha = build(HA, !arguments.dev)?;
    let bench_node = build(BENCH_NODE, !arguments.dev)?;
    let mut report = Report::new();
    let floor = tell_machine(&folder, &mut report)?;
    let load = Duration::from_secs_f64(arguments.seconds);
    let bench = Bench { ha, bench_node, folder, rounds: arguments.rounds, load, seed: arguments.seed, floor };
    for part in Part::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(part) {
            match part {
                Part::Start => start::measure(&bench, &mut report).await?,
                Part::Proposals => proposals::measure(&bench, &mut report).await?,
                Part::Kill => gaps::kill(&bench, &mut report).await?,
                Part::Silence => gaps::silence(&bench, &mut report).await?,
                Part::Partition => gaps::partition(&bench, &mut report).await?,
                Part::Transfer => gaps::transfer(&bench, &mut report).await?,
                Part::Failover => failover::measure(&bench, &mut report).await?,
                Part::FailoverDefaults => failover::measure_defaults(&bench, &mut report).await?,
                Part::Security => security::measure(&bench, &mut report).await?,
                Part::Siege => siege::measure(&bench, &mut report).await?,
                Part::Idle => idle::measure(&bench, &mut report).await?,
            }
        }
    }
    let short = report.print();
    if arguments.dev {
        println!("\nbuilt without optimizations: these figures mean nothing");
    }
    println!("\n{short} figures fall short");
    Ok(if short == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn tell_machine(folder: &Path, report: &mut Report) -> Result<Duration, Box<dyn std::error::Error>> {
    println!("machine: {}", machine::describe(folder));
    let disk = machine::fdatasync_times(folder)?;
    let network = machine::round_trip_times()?;
    let both = |median, p99| format!("{} (p99 {})", milliseconds(median), milliseconds(p99));
    report.tell("fdatasync, median", both(disk.median(), disk.quantile(0.99)));
    report.tell("loopback round trip, median", both(network.median(), network.quantile(0.99)));
    let bare = exchange::times(folder)?;
    report.tell("the same bytes to two others, three syncs, median", both(bare.median(), bare.quantile(0.99)));
    Ok(disk.median() + network.median())
}
