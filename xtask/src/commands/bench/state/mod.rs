//! `bench state`: shared keys and locks on three nodes of ours, beside etcd on the same machine in the same run, taking
//! turns and never both at once. Durable, linearizable, values of 256 bytes.

mod ours;
mod scale;
mod theirs;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use xtask::local_cluster::binary::project_root;

use super::figures::{Report, milliseconds};
use super::outside::{BENCH_LOAD, Load};
use super::{etcd, machine};
use crate::commands::Outcome;
use crate::commands::writers::bench_node::BENCH_NODE;
use crate::ui::build;

/// Load before anything is measured.
const WARM_UP: Duration = Duration::from_millis(700);
/// Bytes of a value.
const VALUE_BYTES: usize = 256;

/// What to measure, and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this part; may be repeated
    #[arg(long, value_enum)]
    only: Vec<StatePart>,
    /// How long each load lasts
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often ours and etcd take their turns; of two turns the slower one counts, of three the middle one
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Keys of the large store
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Measure a build without optimizations: quick to make, its figures mean nothing
    #[arg(long)]
    dev: bool,
}

/// One group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatePart {
    /// Puts and gets
    Keys,
    /// Locks and their hand-over
    Locks,
    /// Many keys, watches and waiters
    Crowds,
    /// A large store: restart, and snapshots while it is written to
    Large,
}

/// What every part needs.
struct Bench {
    bench_node: PathBuf,
    bench_load: PathBuf,
    folder: PathBuf,
    load: Duration,
    rounds: usize,
    keys: usize,
    etcd: bool,
}

/// A figure of ours and, where it is measured there too, of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Figure {
    Put(usize),
    PutHttp,
    Get,
    GetHttp,
    GetLocal,
    Lock(usize),
    HandOver(u64),
}

impl Figure {
    fn name(self) -> String {
        let clients = |what: &str, clients: usize| {
            let s = if clients == 1 { "" } else { "s" };
            format!("{what}, {clients} client{s}, a second")
        };
        match self {
            Self::Put(count) => clients("puts", count),
            Self::PutHttp => clients("puts through HTTP", 64),
            Self::Get => clients("linearizable gets", 64),
            Self::GetHttp => clients("linearizable gets through HTTP", 64),
            Self::GetLocal => "local reads in process, a second".to_owned(),
            Self::Lock(count) => clients("locks taken and given back", count),
            Self::HandOver(queued) => format!("hand-over to a waiter that queued for {queued} ms, median"),
        }
    }

    /// What etcd does in this place.
    fn in_etcd(self) -> Option<Self> {
        match self {
            Self::PutHttp => Some(Self::Put(64)),
            Self::GetHttp => Some(Self::Get),
            Self::GetLocal => None,
            other => Some(other),
        }
    }

    /// How many times as good as etcd it must be.
    fn times(self) -> f64 {
        match self {
            Self::Put(1) => 2.5,
            Self::Put(64) => 12.0,
            Self::Put(_) => 10.0,
            Self::PutHttp => 3.0,
            Self::Get => 20.0,
            Self::GetHttp => 4.0,
            Self::GetLocal => 1.0,
            Self::Lock(1) => 2.0,
            Self::Lock(_) => 10.0,
            Self::HandOver(_) => 1.0 / 0.4,
        }
    }
}

type Figures = BTreeMap<Figure, Load>;

/// Reads of the node's own copy that one process must manage in a second.
const LOCAL_READS_LEAST: f64 = 1_000_000.0;

/// Said before and after the figures.
const NOT_COMPARED: &str =
    "!!! ETCD IS NOT INSTALLED: figures that are to be compared with it are shown and NOT JUDGED.
!!! Install it (`apt-get install etcd-server`) and run this again.";

/// Runs it. Fails when a figure falls short of what was asked for.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let folder = project_root().join("target").join("bench");
    fs::create_dir_all(&folder)?;
    let bench_node = build(BENCH_NODE, !arguments.dev)?;
    let bench_load = build(BENCH_LOAD, !arguments.dev)?;
    let etcd = etcd::version();
    println!("machine: {}", machine::describe(&folder));
    match &etcd {
        Some(version) => println!("beside: {version}"),
        None => println!("{NOT_COMPARED}"),
    }
    let load = Duration::from_secs_f64(arguments.seconds);
    let (rounds, keys, etcd) = (arguments.rounds.max(1), arguments.keys, etcd.is_some());
    let bench = Bench { bench_node, bench_load, folder, load, rounds, keys, etcd };
    let mut report = Report::new();
    for part in StatePart::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(part) {
            match part {
                StatePart::Keys => compare(&bench, &KEYS, &mut report).await?,
                StatePart::Locks => compare(&bench, &LOCKS, &mut report).await?,
                StatePart::Crowds => scale::crowds(&bench, &mut report).await?,
                StatePart::Large => scale::large(&bench, &mut report).await?,
            }
        }
    }
    let short = report.print();
    if arguments.dev {
        println!("\nbuilt without optimizations: these figures mean nothing");
    }
    if !bench.etcd {
        println!("\n{NOT_COMPARED}");
    }
    println!("\n{short} figures fall short");
    Ok(if short == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// In the order in which they are measured: what is read was put before.
const KEYS: [Figure; 7] = [
    Figure::Put(1),
    Figure::Put(64),
    Figure::Put(256),
    Figure::PutHttp,
    Figure::Get,
    Figure::GetHttp,
    Figure::GetLocal,
];
const LOCKS: [Figure; 4] = [Figure::Lock(1), Figure::Lock(16), Figure::HandOver(150), Figure::HandOver(5)];

/// Ours and etcd in turn, then both side by side.
async fn compare(bench: &Bench, figures: &[Figure], report: &mut Report) -> Result<(), Box<dyn std::error::Error>> {
    let (mut ours, mut theirs) = (Turns::new(), Turns::new());
    for _ in 0..bench.rounds {
        add(&mut ours, ours::measure(bench, figures).await?);
        if bench.etcd {
            add(&mut theirs, theirs::measure(bench, figures).await?);
        }
    }
    for figure in figures {
        let Some(own) = ours.get(figure).and_then(|turns| middle(turns)) else { continue };
        let their = figure.in_etcd().and_then(|figure| theirs.get(&figure)).and_then(|turns| middle(turns));
        judge(report, *figure, own, their);
    }
    Ok(())
}

type Turns = BTreeMap<Figure, Vec<Load>>;

fn add(turns: &mut Turns, measured: Figures) {
    for (figure, load) in measured {
        turns.entry(figure).or_default().push(load);
    }
}

/// The turn in the middle; of two, the slower one.
fn middle(turns: &[Load]) -> Option<&Load> {
    let mut turns: Vec<&Load> = turns.iter().collect();
    turns.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    turns.get(turns.len().saturating_sub(1) / 2).copied()
}

fn worst(load: &Load) -> String {
    milliseconds(load.worst)
}

fn judge(report: &mut Report, figure: Figure, own: &Load, their: Option<&Load>) {
    let name = figure.name();
    let hand_over = matches!(figure, Figure::HandOver(_));
    let shown = |load: &Load| match hand_over {
        true => format!("{} (mean {}, worst {})", milliseconds(load.median), milliseconds(load.mean), worst(load)),
        false => {
            let (median, p99) = (milliseconds(load.median), milliseconds(load.p99));
            format!("{:.0} (median {median}, p99 {p99}, worst {})", load.rate, worst(load))
        }
    };
    match their {
        None if figure == Figure::GetLocal => {
            let asked = format!("at least {LOCAL_READS_LEAST:.0}");
            report.judge(&name, format!("{:.0}", own.rate), asked, own.rate >= LOCAL_READS_LEAST);
        }
        None => report.tell(&name, shown(own)),
        Some(their) => {
            let ratio = match hand_over {
                true => their.median.as_secs_f64() / own.median.as_secs_f64(),
                false => own.rate / their.rate,
            };
            let measured = format!("{}, etcd {}: {ratio:.1} times", shown(own), shown(their));
            report.judge(&name, measured, format!("{:.1} times etcd", figure.times()), ratio >= figure.times());
        }
    }
}
