//! Many keys, many watches, many waiters; and a store that is large.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use xtask::local_cluster::wait_for;

use super::WARM_UP;
use super::ours::Ours;
use super::{Bench, VALUE_BYTES};
use crate::commands::bench::figures::{Report, milliseconds};
use crate::commands::bench::outside::Load;

type Failure = Box<dyn std::error::Error>;

const KEYS: usize = 100_000;
const WATCHES: usize = 100;
const WAITERS: usize = 10_000;
/// Of the crowd, so many are served before the rest is sent away.
const SERVED: usize = 1000;
/// The longest wait that a client may see amid them.
const STALL_MOST: Duration = Duration::from_millis(200);
/// How long filling a store and its way back from the disk may take at most, before the measurement is given up.
const FILL_MAX: Duration = Duration::from_secs(600);
const RESTART_MOST: Duration = Duration::from_secs(10);
/// How much slower writes may be while a snapshot is saved.
const SLOWER_MOST: f64 = 3.0;
/// Clients that write while a snapshot is saved.
const WRITERS: usize = 16;

/// 100,000 keys with 100 watches; 10,000 waiters for one lock whose holder dies.
pub(super) async fn crowds(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let mut ours = Ours::start(bench).await?;
    let leader = ours.leader;
    fill(&mut ours, KEYS).await?;
    let request = json!({
        "do": "watched", "watches": WATCHES, "seconds": bench.load.as_secs_f64(), "bytes": VALUE_BYTES,
    });
    let answer = ours.writers.ask(leader, request, bench.load).await?;
    let load = Load::told(&answer)?;
    let figure = format!("{KEYS} keys, {WATCHES} watches: longest put");
    report.at_most(&figure, load.worst, STALL_MOST);
    let changed = answer["acknowledged"].as_u64().unwrap_or_default();
    let seen = answer["seen"].as_u64().unwrap_or_default();
    let measured = format!("{seen} changes seen of {changed}, {:.0} a second", load.rate);
    report.judge("the watches saw", measured, "each change once".to_owned(), seen == changed && seen > 0);
    let request = json!({"do": "crowd", "waiters": WAITERS, "served": SERVED});
    let answer = ours.writers.ask(leader, request, FILL_MAX).await?;
    let micros = |name: &str| Duration::from_secs_f64(answer[name].as_f64().unwrap_or(f64::MAX.sqrt()) / 1e6);
    report.at_most(&format!("{WAITERS} waiters, the holder dies: longest put"), micros("stall_us"), STALL_MOST);
    report.tell("the first of them is served, its lease included, after", milliseconds(micros("first_us")));
    report.tell(&format!("{SERVED} of them are served after"), milliseconds(micros("served_us")));
    report.tell("resident memory of the leader", megabytes(resident_kib(&ours)?));
    Ok(())
}

/// A million keys: writes beside a snapshot, and the way back from the disk.
pub(super) async fn large(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let mut ours = Ours::start(bench).await?;
    let leader = ours.leader;
    let filled = fill(&mut ours, bench.keys).await?;
    let rate = bench.keys as f64 / filled.as_secs_f64();
    report.tell(&format!("{} keys of {VALUE_BYTES} bytes are put, a second", bench.keys), format!("{rate:.0}"));
    report.tell("resident memory of the leader", megabytes(resident_kib(&ours)?));
    ours.inside("put", WRITERS, WARM_UP).await?;
    let quiet = ours.inside("put", WRITERS, bench.load).await?;
    let (saved, beside) = tokio::join!(saves(ours.http(), bench.load), ours.inside("put", WRITERS, bench.load));
    let (beside, (saves, bytes)) = (beside?, saved?);
    let figure = format!("p99 of a put while {saves} snapshots of {} are saved", megabytes(bytes / 1024));
    let ratio = beside.p99.as_secs_f64() / quiet.p99.as_secs_f64();
    let measured = format!("{}, quiet {}: {ratio:.1} times", milliseconds(beside.p99), milliseconds(quiet.p99));
    report.judge(&figure, measured, format!("less than {SLOWER_MOST} times"), ratio < SLOWER_MOST);
    ours.writers.cluster.kill9_all().await?;
    let began = Instant::now();
    for number in 1..=ours.writers.cluster.size() {
        ours.writers.restart(number)?;
    }
    let ready = wait_for("the node is ready", FILL_MAX, async || {
        let ready = ours.writers.cluster.http(leader).get("/health/ready").await.map_err(|error| error.to_string())?;
        if ready.status == 200 { Ok(()) } else { Err(ready.error_message()) }
    });
    ready.await?;
    report.at_most(&format!("restart with {} keys: ready after", bench.keys), began.elapsed(), RESTART_MOST);
    let answer = ours.writers.ask(leader, json!({"do": "keys"}), FILL_MAX).await?;
    let kept = answer["keys"].as_u64().unwrap_or_default();
    report.judge("keys after the restart", kept.to_string(), "all of them".to_owned(), kept >= bench.keys as u64);
    Ok(())
}

async fn fill(ours: &mut Ours, keys: usize) -> Result<Duration, Failure> {
    let request = json!({"do": "fill", "keys": keys, "bytes": VALUE_BYTES});
    let answer: Value = ours.writers.ask(ours.leader, request, FILL_MAX).await?;
    let seconds = answer["seconds"].as_f64().ok_or_else(|| format!("no seconds in {answer}"))?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Saves snapshots one after the other for a while, at least one; how many, and the bytes of the last.
async fn saves(address: std::net::SocketAddr, time: Duration) -> Result<(usize, u64), Failure> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (began, mut count, mut bytes) = (Instant::now(), 0, 0);
    while count == 0 || began.elapsed() < time {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET /v1/snapshot HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
        let mut buffer = vec![0; 256 * 1024];
        bytes = 0;
        loop {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => bytes += read as u64,
            }
        }
        count += 1;
    }
    Ok((count, bytes))
}

/// What the leader's process holds in memory.
fn resident_kib(ours: &Ours) -> Result<u64, Failure> {
    let process = ours.writers.cluster.node(ours.leader).process().ok_or("the leader does not run")?;
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn megabytes(kib: u64) -> String {
    format!("{:.0} MB", kib as f64 * 1024.0 / 1e6)
}
