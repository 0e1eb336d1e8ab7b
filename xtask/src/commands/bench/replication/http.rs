//! Writes over HTTP, beside puts of etcd with the same bytes and as many clients.

use std::net::SocketAddr;
use std::time::Duration;

use super::{BYTES, Bench, CLIENTS, Done, WARM_UP, nodes};
use crate::commands::bench::etcd;
use crate::commands::bench::figures::{Report, milliseconds};
use crate::commands::bench::outside::{Load, Outside, middle};

/// Turns that each takes; the one in the middle counts, and the others are told.
const TURNS: usize = 3;
/// How many times as many as etcd there must be.
const TIMES: f64 = 3.0;

/// Measures both, turn about and never both at once.
pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Done {
    let time = Duration::from_secs_f64(bench.seconds);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        ours.push(records(bench, time).await?);
        if etcd::version().is_some() {
            theirs.push(puts(bench, time).await?);
        }
    }
    let Some(own) = middle(&ours) else { return Ok(()) };
    let figure = "quorum over HTTP, 64 connections, a second";
    match middle(&theirs) {
        Some(their) => {
            let (times, worst) = (own.rate / their.rate, range(&ours).0 / range(&theirs).1);
            let measured =
                format!("{}, etcd {}: {times:.2} times, {worst:.2} at worst", shown(own, &ours), shown(their, &theirs));
            report.judge(figure, measured, format!("{TIMES:.1} times etcd"), times >= TIMES);
        }
        None => report.tell(figure, format!("{} (etcd is not installed)", shown(own, &ours))),
    }
    Ok(())
}

fn shown(load: &Load, turns: &[Load]) -> String {
    let (slowest, fastest) = range(turns);
    format!("{:.0} ({slowest:.0} to {fastest:.0}, p99 {})", load.rate, milliseconds(load.p99))
}

/// The rates of the slowest turn and of the fastest.
fn range(turns: &[Load]) -> (f64, f64) {
    let rates = || turns.iter().map(|load| load.rate);
    (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max))
}

async fn records(bench: &Bench, time: Duration) -> Result<Load, Box<dyn std::error::Error>> {
    let (writers, leader) = nodes(bench, "quorum", "master_slave").await?;
    let spec = &writers.cluster.node(leader).spec;
    let addresses = [SocketAddr::from((spec.address, spec.http_port))];
    run("http", "record", &addresses, bench, time).await
}

async fn puts(bench: &Bench, time: Duration) -> Result<Load, Box<dyn std::error::Error>> {
    let cluster = etcd::Cluster::start(&bench.load, &bench.folder).await?;
    run("etcd", "put", cluster.clients(), bench, time).await
}

async fn run(
    kind: &str,
    what: &str,
    addresses: &[SocketAddr],
    bench: &Bench,
    time: Duration,
) -> Result<Load, Box<dyn std::error::Error>> {
    let outside = Outside { kind, addresses, what, clients: CLIENTS, bytes: BYTES, queued_ms: 0 };
    outside.run(&bench.load, Duration::from_secs_f64(WARM_UP)).await?;
    outside.run(&bench.load, time).await
}
