//! A copy that is away while others write, and comes back while they go on.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{BYTES, Bench, CLIENTS, Done, Load, WARM_UP, load, nodes, records, told, until_equal};
use crate::commands::bench::figures::Report;
use crate::commands::writers::Writers;

/// Clients that write while the copy catches up.
const BESIDE: usize = 8;
/// How long a copy may take to be equal again.
const EQUAL_MOST: Duration = Duration::from_secs(10);
/// How much slower the slowest of a hundred writes may be meanwhile.
const SLOWER_MOST: f64 = 3.0;
/// How long it is waited for before the figure is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Writes whose slowest hundredth is told; fewer say little.
const BESIDE_LEAST: Duration = Duration::from_secs(2);

/// Lets a copy miss writes.
pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Done {
    let (mut writers, leader) = nodes(bench, "quorum", "master_slave").await?;
    load(&mut writers, leader, records("quorum", WARM_UP)).await?;
    let quiet = json!({
        "do": "records", "clients": BESIDE, "seconds": bench.seconds, "bytes": BYTES, "level": "quorum",
    });
    let quiet = load(&mut writers, leader, quiet).await?;
    let lost = writers.others(leader)[0];
    writers.cluster.kill9(lost).await?;
    let fill = json!({"do": "fill_records", "clients": CLIENTS, "records": bench.missed, "bytes": BYTES});
    let answer = writers.ask(leader, fill, Duration::from_secs(120)).await?;
    if answer["failed"] != 0 {
        return Err(format!("writes failed while one of three was away: {answer}").into());
    }
    let (took, meanwhile) = come_back(&mut writers, leader, lost).await?;
    let figure = format!("a copy that missed {} writes has them, others going on", bench.missed);
    report.at_most(&figure, took, EQUAL_MOST);
    let asked = format!("at most {:.1} ms", SLOWER_MOST * quiet.p99);
    let measured = format!("{:.1} ms ({}, quiet {})", meanwhile.p99, told(&meanwhile), told(&quiet));
    report.judge("p99 of a write meanwhile", measured, asked, meanwhile.p99 <= SLOWER_MOST * quiet.p99);
    let equal = until_equal(&mut writers, PATIENCE).await?;
    report.at_most("all copies equal after the last write", equal, EQUAL_MOST);
    Ok(())
}

/// Starts the copy again while others write; how long it takes to hold everything that was there by then, and how
/// those writes did.
async fn come_back(
    writers: &mut Writers,
    leader: usize,
    lost: usize,
) -> Result<(Duration, Load), Box<dyn std::error::Error>> {
    let there = writers.ask(leader, json!({"do": "held"}), Duration::ZERO).await?["items"].as_u64().unwrap_or(0);
    let begin = json!({"do": "begin_records", "clients": BESIDE, "bytes": BYTES, "level": "quorum"});
    writers.ask(leader, begin, Duration::ZERO).await?;
    let began = Instant::now();
    writers.restart(lost)?;
    loop {
        let held = writers.ask(lost, json!({"do": "held"}), PATIENCE).await?;
        if held["caught_up"] == true && held["items"].as_u64().unwrap_or(0) >= there {
            break;
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("the copy does not catch up: {held}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    tokio::time::sleep(BESIDE_LEAST.saturating_sub(took)).await;
    let meanwhile = load(writers, leader, json!({"do": "end_records"})).await?;
    Ok((took, meanwhile))
}
