//! What a cluster does while thousands of connections are held against a port of its leader: it keeps its leader, and
//! writes go on. Quiet and besieged turns take turns, and each figure is a median over them.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use xtask::local_cluster::{NodeStatus, Settings, Siege, make_room_for};

use super::cluster::Bench;
use super::figures::{Report, Sample, milliseconds};
use super::proposals::{WARM_UP, propose};
use crate::commands::writers::Writers;
use crate::ui::Step;

/// What is held against each port.
const SILENT: usize = 10_000;
const SLOW: usize = 1_000;
/// Clients that propose inside the leader meanwhile.
const CLIENTS: usize = 8;
/// What was asked for: how many times as long the slowest one in a hundred may take.
const P99_TIMES_MOST: f64 = 3.0;
/// Stated bounds of one node under siege.
const RESIDENT_MIB_MOST: f64 = 128.0;
const FILES_MOST: usize = 20_480;
const LINES_PER_SECOND_MOST: f64 = 25.0;
/// Until the siege stands.
const LAYING: Duration = Duration::from_secs(3);
/// The beginnings of a greeting and of a request, to be sent slowly.
const GREETING: &[u8] = b"\0\0\x20\0HANT\x01\0\x01\0\x01";
const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// One turn.
struct Turn {
    proposals: Duration,
    puts: Duration,
    resident_mib: f64,
    files: usize,
    lines_per_second: f64,
    held: usize,
}

/// Measures it.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<(), Box<dyn std::error::Error>> {
    make_room_for((SILENT + SLOW) as u64)?;
    let settings = Settings::new(3).with("STATE_ENABLED", "true");
    let mut writers = Writers::start_on(settings, &bench.bench_node, &bench.folder).await?;
    let leader = writers.cluster.wait_leader().await?;
    let spec = &writers.cluster.node(leader).spec;
    let (nodes, callers) = (spec.cluster_address(), spec.http_address());
    let mut step = Step::begin("siege");
    let term = term(&writers, leader).await?;
    propose(&mut writers, leader, CLIENTS, WARM_UP).await?;
    for (port, address, bytes) in [("nodes", nodes, GREETING), ("HTTP", callers, REQUEST)] {
        let (mut quiet, mut besieged) = (Vec::new(), Vec::new());
        for round in 0..bench.rounds {
            step.update(round, bench.rounds, &format!("against the port for {port}"));
            quiet.push(turn(bench, &mut writers, leader, None).await?);
            besieged.push(turn(bench, &mut writers, leader, Some((address, bytes))).await?);
        }
        let middle =
            |turns: &[Turn], value: fn(&Turn) -> Duration| turns.iter().map(value).collect::<Sample>().median();
        for (what, value) in
            [("proposals", (|turn| turn.proposals) as fn(&Turn) -> Duration), ("puts by new callers", |turn| turn.puts)]
        {
            let (before, during) = (middle(&quiet, value), middle(&besieged, value));
            let times = during.as_secs_f64() / before.as_secs_f64();
            let measured = format!("{times:.2} times ({} to {})", milliseconds(before), milliseconds(during));
            let figure = format!("{SILENT} silent and {SLOW} slow at the port for {port}: p99 of {what}");
            report.judge(&figure, measured, format!("at most {P99_TIMES_MOST} times"), times <= P99_TIMES_MOST);
        }
        let most = |value: fn(&Turn) -> f64| besieged.iter().map(value).fold(0.0, f64::max);
        let (resident, lines) = (most(|turn| turn.resident_mib), most(|turn| turn.lines_per_second));
        let files = most(|turn| turn.files as f64) as usize;
        let holds = resident <= RESIDENT_MIB_MOST && files <= FILES_MOST && lines <= LINES_PER_SECOND_MOST;
        let measured = format!("{resident:.1} MiB, {files} files, {lines:.1} lines a second");
        let asked = format!("{RESIDENT_MIB_MOST} MiB, {FILES_MOST}, {LINES_PER_SECOND_MOST}");
        report.judge(&format!("  the leader under it, port for {port}"), measured, asked, holds);
        let held = besieged.iter().map(|turn| turn.held).min().unwrap_or_default();
        report.tell("  connections that stood at the end, fewest", held.to_string());
    }
    step.end("done");
    let same = writers.cluster.wait_leader().await? == leader && self::term(&writers, leader).await? == term;
    report.judge(
        "the leader through all of it",
        if same { "the same" } else { "moved" }.into(),
        "the same".into(),
        same,
    );
    Ok(())
}

async fn turn(
    bench: &Bench,
    writers: &mut Writers,
    leader: usize,
    siege: Option<(SocketAddr, &'static [u8])>,
) -> Result<Turn, Box<dyn std::error::Error>> {
    let siege = siege.map(|(address, bytes)| Siege::lay(address, SILENT, SLOW, bytes));
    sleep(LAYING).await;
    let (lines, began) = (writers.cluster.node(leader).log_text().lines().count(), Instant::now());
    let load = propose(writers, leader, CLIENTS, bench.load).await?;
    let http = writers.cluster.http(leader);
    let mut puts = Sample::default();
    let until = Instant::now() + bench.load;
    while Instant::now() < until {
        let asked = Instant::now();
        let answer = http.put("/v1/state/siege", &json!({"value": puts.count()})).await?;
        if answer.status != 200 {
            return Err(format!("a put was answered {}: {}", answer.status, answer.error_message()).into());
        }
        puts.add(asked.elapsed());
    }
    let seconds = began.elapsed().as_secs_f64();
    let node = writers.cluster.node(leader);
    let pid = node.process().ok_or("the leader has no process")?.pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Turn {
        proposals: load.p99,
        puts: puts.quantile(0.99),
        resident_mib: super::idle::resident_mib(&status).ok_or("unreadable status")?,
        files: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        lines_per_second: (node.log_text().lines().count() - lines) as f64 / seconds,
        held: siege.as_ref().map_or(0, Siege::open),
    })
}

async fn term(writers: &Writers, node: usize) -> Result<u64, Box<dyn std::error::Error>> {
    let status = NodeStatus::of(writers.cluster.node(node)).await;
    let health = writers.cluster.http(node).get("/health").await?.json();
    let term = health.pointer("/ha_details/cluster_info/term").and_then(serde_json::Value::as_u64);
    term.ok_or_else(|| format!("no term is told: {}", status.line()).into())
}
