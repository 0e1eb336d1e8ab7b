//! `chaos`: real processes are killed, frozen and woken at random while clients in them write. Then the chaos stops,
//! and everything must heal: one cluster, a leader, and every acknowledged write still there.

mod blow;
mod watcher;

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use xtask::local_cluster::binary::project_root;

use self::blow::Blows;
use self::watcher::Watcher;
use super::Outcome;
use super::writers::Writers;
use super::writers::bench_node::BENCH_NODE;
use crate::ui::{self, build};

/// Time between two blows: this, and a random part of as much again.
const BETWEEN: Duration = Duration::from_millis(400);

/// How long, and which choices.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long nodes are hurt
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=5))]
    nodes: u8,
    /// Seed of all choices; the instants still depend on the machine
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Build with optimizations
    #[arg(long)]
    release: bool,
}

/// Runs it.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let program = build(BENCH_NODE, arguments.release)?;
    let folder = project_root().join("target").join("chaos");
    fs::create_dir_all(&folder)?;
    println!("seed {}, {} nodes, {} s, commit {}", arguments.seed, arguments.nodes, arguments.seconds, commit());
    let mut writers = Writers::start(usize::from(arguments.nodes), &program, &folder).await?;
    let everybody: Vec<usize> = (1..=usize::from(arguments.nodes)).collect();
    writers.write(&everybody).await?;

    let mut watcher = Watcher::default();
    let mut blows = Blows::new(arguments.seed, usize::from(arguments.nodes));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(arguments.seconds) {
        println!("+{:6.2} s  {}", began.elapsed().as_secs_f64(), blows.strike(&mut writers).await?);
        let quiet = Instant::now() + BETWEEN + blows.random.below(BETWEEN);
        while Instant::now() < quiet {
            watcher.look(&writers.cluster).await;
            sleep(Duration::from_millis(20)).await;
        }
    }

    println!("+{:6.2} s  the chaos stops: everything must heal", began.elapsed().as_secs_f64());
    blows.heal_all(&mut writers).await?;
    writers.cluster.wait_formed().await?;
    watcher.look(&writers.cluster).await;
    writers.rest().await?;
    let leader = writers.cluster.wait_leader().await?;
    let verified = writers.verify(leader).await?;
    println!("{} blows; writes: {verified}", blows.count);
    for violation in &watcher.violations {
        ui::error(violation);
    }
    if !verified.holds() || !watcher.violations.is_empty() {
        return Err(format!("something is broken: run again with --seed {}", arguments.seed).into());
    }
    Ok(ExitCode::SUCCESS)
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(project_root()).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
