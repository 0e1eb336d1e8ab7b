//! Writes over HTTP, beside puts of etcd with the same bytes and as many clients.

use std::net::SocketAddr;
use std::time::Duration;

use super::{BYTES, Bench, CLIENTS, Done, WARM_UP, nodes};
use crate::commands::bench::etcd;
use crate::commands::bench::figures::{Report, milliseconds};
use crate::commands::bench::outside::{Load, Outside};

/// Turns that each takes.
const TURNS: usize = 2;
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
    let (Some(own), their) = (slowest(ours), fastest(theirs)) else { return Ok(()) };
    let shown = |load: &Load| format!("{:.0} (p99 {})", load.rate, milliseconds(load.p99));
    let figure = "quorum over HTTP, 64 connections, a second";
    match their {
        Some(their) => {
            let times = own.rate / their.rate;
            let measured = format!("{}, etcd {}: {times:.1} times", shown(&own), shown(&their));
            report.judge(figure, measured, format!("{TIMES:.1} times etcd"), times >= TIMES);
        }
        None => report.tell(figure, format!("{} (etcd is not installed)", shown(&own))),
    }
    Ok(())
}

fn slowest(loads: Vec<Load>) -> Option<Load> {
    loads.into_iter().min_by(|one, other| one.rate.total_cmp(&other.rate))
}

fn fastest(loads: Vec<Load>) -> Option<Load> {
    loads.into_iter().max_by(|one, other| one.rate.total_cmp(&other.rate))
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
