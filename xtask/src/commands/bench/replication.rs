//! `bench replication`: records on three real processes on loopback, profile `lan`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use xtask::local_cluster::Settings;
use xtask::local_cluster::binary::project_root;

use super::cluster::tell_machine;
use super::figures::Report;
use crate::commands::Outcome;
use crate::commands::writers::Writers;
use crate::commands::writers::bench_node::BENCH_NODE;
use crate::ui::build;

/// Bytes of a record, and clients that write at once.
const BYTES: usize = 1024;
const CLIENTS: usize = 64;
/// Load before anything is measured.
const WARM_UP: f64 = 0.7;
/// How long a copy may take to be equal again.
const EQUAL_MOST: Duration = Duration::from_secs(10);
/// Writes that a copy misses while it is away, and small records that there are in the end.
const MISSED: u64 = 100_000;
const MANY: u64 = 5_000_000;

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
    /// Puts a second of etcd on this machine, measured with the same bytes and clients: what HTTP is judged by
    #[arg(long)]
    etcd_puts: Option<f64>,
    /// Measure a build without optimizations: quick to make, its figures mean nothing
    #[arg(long)]
    dev: bool,
}

struct Bench {
    program: PathBuf,
    folder: PathBuf,
    seconds: f64,
    etcd_puts: Option<f64>,
}

/// Runs it. Fails when a figure falls short of what was asked for.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let folder = project_root().join("target").join("bench");
    fs::create_dir_all(&folder)?;
    let program = build(BENCH_NODE, !arguments.dev)?;
    let mut report = Report::new();
    tell_machine(&folder, &mut report)?;
    let bench = Bench { program, folder, seconds: arguments.seconds, etcd_puts: arguments.etcd_puts };
    for part in Part::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(part) {
            match part {
                Part::Writes => writes(&bench, &mut report).await?,
                Part::Http => http(&bench, &mut report).await?,
                Part::Eventual => eventual(&bench, &mut report).await?,
                Part::Differ => differ(&bench, &mut report).await?,
                Part::Away => away(&bench, &mut report).await?,
                Part::Many => many(&bench, &mut report).await?,
            }
        }
    }
    let short = report.print();
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

async fn writes(bench: &Bench, report: &mut Report) -> Done {
    let (mut writers, leader) = nodes(bench, "quorum", "master_slave").await?;
    load(&mut writers, leader, records("quorum", WARM_UP)).await?;
    let plain = json!({"do": "propose", "clients": CLIENTS, "seconds": bench.seconds, "bytes": BYTES});
    let plain = load(&mut writers, leader, plain).await?;
    report.tell("plain log, 64 writers of 1 KiB, a second", told(&plain));
    let quorum = load(&mut writers, leader, records("quorum", bench.seconds)).await?;
    report.judge("quorum, a second", told(&quorum), "at least 20000".to_owned(), quorum.rate >= 20_000.0);
    let share = quorum.rate / plain.rate;
    report.judge("quorum, of the plain log", format!("{share:.2}"), "at least 0.60".to_owned(), share >= 0.6);
    let strong = load(&mut writers, leader, records("strong", bench.seconds)).await?;
    let share = strong.rate / quorum.rate;
    report.judge(
        "strong, of quorum",
        format!("{share:.2}, {}", told(&strong)),
        "at least 0.80".to_owned(),
        share >= 0.8,
    );
    let fill = json!({"do": "fill_records", "clients": CLIENTS, "records": 10_000, "bytes": BYTES});
    writers.ask(leader, fill, Duration::from_secs(60)).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer =
        writers.ask(leader, json!({"do": "read_records", "seconds": bench.seconds}), Duration::from_secs(60)).await?;
    let rate = answer["reads"].as_f64().unwrap_or(0.0) / answer["seconds"].as_f64().unwrap_or(1.0);
    report.judge(
        "reads of a local copy, a second",
        format!("{rate:.0}"),
        "at least 300000".to_owned(),
        rate >= 300_000.0,
    );
    Ok(())
}

fn told(load: &Load) -> String {
    format!("{:.0} (p99 {:.1} ms)", load.rate, load.p99)
}

async fn http(bench: &Bench, report: &mut Report) -> Done {
    let (writers, leader) = nodes(bench, "quorum", "master_slave").await?;
    let port = writers.cluster.node(leader).spec.http_port;
    let (began, time) = (Instant::now(), Duration::from_secs_f64(bench.seconds));
    let mut running = JoinSet::new();
    for client in 0..CLIENTS {
        running.spawn(async move { put_for(port, client, began, time).await });
    }
    let mut puts = 0;
    while let Some(done) = running.join_next().await {
        puts += done?.map_err(|error| error.to_string())?;
    }
    let rate = puts as f64 / began.elapsed().as_secs_f64();
    match bench.etcd_puts {
        Some(etcd) => {
            let asked = format!("at least {:.0}", 3.0 * etcd);
            report.judge("quorum over HTTP, 64 connections, a second", format!("{rate:.0}"), asked, rate >= 3.0 * etcd);
        }
        None => report.tell("quorum over HTTP, 64 connections, a second", format!("{rate:.0} (--etcd-puts to judge)")),
    }
    Ok(())
}

/// Puts records on one connection, one after the other.
async fn put_for(port: u16, client: usize, began: Instant, time: Duration) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let body = format!("\"{}\"", "x".repeat(BYTES - 2));
    let (mut puts, mut read) = (0, vec![0; 64 * 1024]);
    while began.elapsed() < time {
        let head = format!(
            "PUT /v1/replication/bench/{client}-{puts} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        let mut answer = String::new();
        // The body of an acknowledgement is one JSON object, and the last thing that comes.
        while !answer.trim_end().ends_with('}') {
            let count = stream.read(&mut read).await?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.push_str(&String::from_utf8_lossy(&read[..count]));
        }
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(std::io::Error::other(answer));
        }
        puts += 1;
    }
    Ok(puts)
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

async fn eventual(bench: &Bench, report: &mut Report) -> Done {
    let (mut writers, _) = nodes(bench, "eventual", "multi_master").await?;
    let eventual = load(&mut writers, 1, records("eventual", bench.seconds.max(30.0))).await?;
    report.judge(
        "eventual, held for 30 s, a second",
        told(&eventual),
        "at least 40000".to_owned(),
        eventual.rate >= 40_000.0,
    );
    let took = until_equal(&mut writers, Duration::from_secs(120)).await?;
    report.at_most("eventual, copies equal after the last write", took, Duration::from_secs(5));
    Ok(())
}

/// A copy that was away while one record of a hundred was written, where no leader orders them.
async fn differ(bench: &Bench, report: &mut Report) -> Done {
    const RECORDS: u64 = 1_000_000;
    const MISSED: u64 = RECORDS / 100;
    let (mut writers, _) = nodes(bench, "eventual", "multi_master").await?;
    let fill = |records: u64| json!({"do": "fill_records", "clients": CLIENTS, "records": records, "bytes": BYTES});
    writers.ask(1, fill(RECORDS), Duration::from_secs(300)).await?;
    until_equal(&mut writers, Duration::from_secs(120)).await?;
    writers.cluster.kill9(3).await?;
    writers.ask(1, fill(MISSED), Duration::from_secs(60)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = sent(&writers, &[1, 2]).await?;
    writers.restart(3)?;
    let took = until_equal(&mut writers, Duration::from_secs(120)).await?;
    let bytes = sent(&writers, &[1, 2, 3]).await? - before;
    report.at_most("1 % of 1 million records differ: equal again", took, Duration::from_secs(20));
    let share = bytes / (MISSED * BYTES as u64) as f64;
    let told = format!("{share:.2} x ({:.1} MB)", bytes / 1e6);
    report.judge("bytes sent meanwhile, of those that were missing", told, "at most 2.00 x".to_owned(), share <= 2.0);
    Ok(())
}

/// Bytes that these nodes have sent to others so far.
async fn sent(writers: &Writers, nodes: &[usize]) -> Result<f64, Box<dyn std::error::Error>> {
    let mut sum = 0.0;
    for node in nodes {
        let metrics = writers.cluster.node(*node).http().get("/metrics").await?.body;
        sum += super::idle::sent_bytes(&metrics).ok_or("the node does not tell what it sends")?;
    }
    Ok(sum)
}

async fn away(bench: &Bench, report: &mut Report) -> Done {
    let (mut writers, leader) = nodes(bench, "quorum", "master_slave").await?;
    let quiet = json!({"do": "records", "clients": 8, "seconds": bench.seconds, "bytes": BYTES, "level": "quorum"});
    let before = load(&mut writers, leader, quiet.clone()).await?;
    let lost = writers.others(leader)[0];
    writers.cluster.kill9(lost).await?;
    let fill = json!({"do": "fill_records", "clients": CLIENTS, "records": MISSED, "bytes": BYTES});
    let answer = writers.ask(leader, fill, Duration::from_secs(120)).await?;
    if answer["failed"] != 0 {
        return Err(format!("writes failed while one of three was away: {answer}").into());
    }
    writers.restart(lost)?;
    let began = Instant::now();
    let meanwhile = load(&mut writers, leader, quiet).await?;
    until_equal(&mut writers, Duration::from_secs(120)).await?;
    let took = began.elapsed().saturating_sub(Duration::from_secs_f64(bench.seconds));
    report.at_most("a copy that missed 100,000 writes, equal again after the load", took, EQUAL_MOST);
    let asked = format!("at most {:.1} ms", 3.0 * before.p99);
    report.judge(
        "p99 of a write meanwhile",
        format!("{:.1} ms", meanwhile.p99),
        asked,
        meanwhile.p99 <= 3.0 * before.p99,
    );
    Ok(())
}

async fn many(bench: &Bench, report: &mut Report) -> Done {
    let (mut writers, leader) = nodes(bench, "quorum", "master_slave").await?;
    let fill = json!({"do": "fill_records", "clients": 256, "records": MANY, "bytes": 16});
    writers.ask(leader, fill, Duration::from_secs(1200)).await?;
    until_equal(&mut writers, Duration::from_secs(120)).await?;
    let mut most = 0;
    for node in 1..=3 {
        let held = writers.ask(node, json!({"do": "held"}), Duration::ZERO).await?;
        most = most.max(held["resident_bytes"].as_u64().unwrap_or(0) / (1024 * 1024));
    }
    report.judge(
        "5 million records, most memory of a node",
        format!("{most} MiB"),
        "at most 300 MiB".to_owned(),
        most <= 300,
    );
    let victim = writers.others(leader)[0];
    writers.cluster.kill9(victim).await?;
    let began = Instant::now();
    writers.restart(victim)?;
    loop {
        let held = writers.ask(victim, json!({"do": "held"}), Duration::from_secs(60)).await?;
        if held["complete"] == true && held["records"].as_u64().unwrap_or(0) >= MANY {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    report.at_most("5 million records, killed and ready again", began.elapsed(), EQUAL_MOST);
    Ok(())
}
