//! Durable proposals through the Rust API, at the leader.

use std::time::Duration;

use serde_json::json;

use super::cluster::Bench;
use super::figures::{Report, milliseconds};
use crate::commands::writers::{PROPOSAL_BYTES, Writers};

/// The median of one client, in floors: one `fdatasync` and one round trip.
const ONE_CLIENT_FLOORS_MOST: f64 = 2.5;
/// Clients, and how many times the rate of one client they must reach.
const RATES: [(usize, f64); 2] = [(64, 20.0), (256, 30.0)];
/// Load before anything is measured.
pub(super) const WARM_UP: Duration = Duration::from_millis(700);

/// Measures it.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<(), Box<dyn std::error::Error>> {
    let mut writers = Writers::start(3, &bench.bench_node, &bench.folder).await?;
    let leader = writers.cluster.wait_leader().await?;
    propose(&mut writers, leader, 1, WARM_UP).await?;
    let one = propose(&mut writers, leader, 1, bench.load).await?;
    let most = bench.floor.mul_f64(ONE_CLIENT_FLOORS_MOST);
    report.at_most("1 client, median of a durable proposal", one.median, most);
    report.tell("1 client, proposals a second", format!("{:.0} (p99 {})", one.rate, milliseconds(one.p99)));
    for (clients, times) in RATES {
        propose(&mut writers, leader, clients, WARM_UP).await?;
        let many = propose(&mut writers, leader, clients, bench.load).await?;
        let ratio = many.rate / one.rate;
        let figure = format!("{clients} clients, proposals a second");
        let measured = format!("{:.0}, {ratio:.1} times that of 1 (p99 {})", many.rate, milliseconds(many.p99));
        report.judge(&figure, measured, format!("{times} times"), ratio >= times);
    }
    Ok(())
}

/// What a load came to.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) rate: f64,
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

/// Lets this many clients propose at a node for a while.
pub(super) async fn propose(
    writers: &mut Writers,
    leader: usize,
    clients: usize,
    time: Duration,
) -> Result<Load, Box<dyn std::error::Error>> {
    let request = json!({"do": "propose", "clients": clients, "seconds": time.as_secs_f64(), "bytes": PROPOSAL_BYTES});
    let answer = writers.ask(leader, request, time).await?;
    let number = |name: &str| answer[name].as_f64().ok_or_else(|| format!("no {name} in {answer}"));
    if answer["failed"] != 0 {
        return Err(format!("proposals failed under plain load: {answer}").into());
    }
    Ok(Load {
        rate: number("acknowledged")? / number("seconds")?,
        median: Duration::from_secs_f64(number("p50_us")? / 1e6),
        p99: Duration::from_secs_f64(number("p99_us")? / 1e6),
    })
}
