//! `bench replication`: records on three real processes on loopback, profile `lan`.

mod away;
mod differ;
mod eventual;
mod http;
mod many;
mod writes;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};
use tokio::time::Instant;
use xtask::local_cluster::Settings;
use xtask::local_cluster::binary::project_root;

use super::cluster::tell_machine;
use super::figures::Report;
use super::outside;
use crate::commands::Outcome;
use crate::commands::writers::Writers;
use crate::commands::writers::bench_node::BENCH_NODE;
use crate::ui::build;

/// Bytes of a record, and clients that write at once.
const BYTES: usize = 1024;
const CLIENTS: usize = 64;
/// Load before anything is measured.
const WARM_UP: f64 = 0.7;

type Done = Result<(), Box<dyn std::error::Error>>;

/// One group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Writes at each level beside the plain log, and reads
    Writes,
    /// Writes over HTTP
    Http,
    /// Writes without a leader
    Eventual,
    /// One of a hundred of a million records differs, and no leader orders them
    Differ,
    /// A copy that misses 100,000 writes
    Away,
    /// 5 million small records
    Many,
}

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this part; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// How long each load lasts
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Writes that the copy misses which is away
    #[arg(long, default_value_t = 100_000)]
    missed: u64,
    /// Small records that there are in the end
    #[arg(long, default_value_t = 5_000_000)]
    records: u64,
    /// Measure a build without optimizations: quick to make, its figures mean nothing
    #[arg(long)]
    dev: bool,
}

struct Bench {
    program: PathBuf,
    /// Clients outside of the nodes.
    load: PathBuf,
    folder: PathBuf,
    seconds: f64,
    missed: u64,
    records: u64,
}

/// Runs it. Fails when a figure falls short of what was asked for.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let folder = project_root().join("target").join("bench");
    fs::create_dir_all(&folder)?;
    let program = build(BENCH_NODE, !arguments.dev)?;
    let load = build(outside::BENCH_LOAD, !arguments.dev)?;
    let mut report = Report::new();
    tell_machine(&folder, &mut report)?;
    let Arguments { seconds, missed, records, .. } = *arguments;
    let bench = Bench { program, load, folder, seconds, missed, records };
    for part in Part::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(part) {
            match part {
                Part::Writes => writes::measure(&bench, &mut report).await?,
                Part::Http => http::measure(&bench, &mut report).await?,
                Part::Eventual => eventual::measure(&bench, &mut report).await?,
                Part::Differ => differ::measure(&bench, &mut report).await?,
                Part::Away => away::measure(&bench, &mut report).await?,
                Part::Many => many::measure(&bench, &mut report).await?,
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

async fn nodes(bench: &Bench, consistency: &str, mode: &str) -> Result<(Writers, usize), Box<dyn std::error::Error>> {
    let settings = Settings::new(3)
        .with("REPLICATION_ENABLED", "true")
        .with("REPLICATION_MODE", mode)
        .with("REPLICATION_CONSISTENCY", consistency);
    let writers = Writers::start_on(settings, &bench.program, &bench.folder).await?;
    let leader = writers.cluster.wait_leader().await?;
    Ok((writers, leader))
}

/// A rate, and the slowest of a hundred, in milliseconds.
struct Load {
    rate: f64,
    p99: f64,
}

async fn load(writers: &mut Writers, node: usize, request: Value) -> Result<Load, Box<dyn std::error::Error>> {
    let answer = writers.ask(node, request, Duration::from_secs(60)).await?;
    let number = |name: &str| answer[name].as_f64().ok_or_else(|| format!("no {name} in {answer}"));
    if answer["failed"] != 0 {
        return Err(format!("writes failed under plain load: {answer}").into());
    }
    Ok(Load { rate: number("acknowledged")? / number("seconds")?, p99: number("p99_us")? / 1e3 })
}

fn records(level: &str, seconds: f64) -> Value {
    json!({"do": "records", "clients": CLIENTS, "seconds": seconds, "bytes": BYTES, "level": level})
}

fn told(load: &Load) -> String {
    format!("{:.0} (p99 {:.1} ms)", load.rate, load.p99)
}

/// Waits until all copies hold the same; how long it took.
async fn until_equal(writers: &mut Writers, limit: Duration) -> Result<Duration, Box<dyn std::error::Error>> {
    let began = Instant::now();
    loop {
        let mut held = Vec::new();
        for node in 1..=writers.cluster.size() {
            held.push(writers.ask(node, json!({"do": "held"}), Duration::ZERO).await?);
        }
        let same = |other: &Value| ["items", "records", "digest"].iter().all(|name| other[name] == held[0][name]);
        if held.iter().all(|copy| copy["complete"] == true && same(copy)) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > limit {
            return Err(format!("the copies were not equal within {limit:?}: {held:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
