//! Millions of small records: the memory of a node, and how long it needs to start again.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Bench, Done, nodes, until_equal};
use crate::commands::bench::figures::Report;

/// Bytes of each.
const BYTES: usize = 16;
/// Clients that write them.
const CLIENTS: usize = 256;
/// Memory of a node.
const MEMORY_MOST_MIB: u64 = 300;
/// From the start of a process until its copy holds all records and can be read.
const READY_MOST: Duration = Duration::from_secs(10);

/// Measures them.
pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Done {
    let (mut writers, leader) = nodes(bench, "quorum", "master_slave").await?;
    let fill = json!({"do": "fill_records", "clients": CLIENTS, "records": bench.records, "bytes": BYTES});
    let began = Instant::now();
    let answer = writers.ask(leader, fill, Duration::from_secs(1200)).await?;
    if answer["failed"] != 0 {
        return Err(format!("writes failed: {answer}").into());
    }
    let rate = bench.records as f64 / began.elapsed().as_secs_f64();
    report.tell(&format!("{} records of {BYTES} bytes, 256 writers, a second", bench.records), format!("{rate:.0}"));
    until_equal(&mut writers, Duration::from_secs(120)).await?;
    let (mut rest, mut peak) = (0, 0);
    for node in 1..=writers.cluster.size() {
        let held = writers.ask(node, json!({"do": "held"}), Duration::ZERO).await?;
        let mib = |name: &str| held[name].as_u64().unwrap_or(0) / (1024 * 1024);
        rest = rest.max(mib("resident_bytes"));
        peak = peak.max(mib("peak_bytes"));
    }
    let measured = format!("{rest} MiB, {peak} MiB at its peak");
    let asked = format!("at most {MEMORY_MOST_MIB} MiB");
    report.judge("most memory of a node with them", measured, asked, peak > 0 && peak <= MEMORY_MOST_MIB);
    let victim = writers.others(leader)[0];
    writers.cluster.kill9(victim).await?;
    let began = Instant::now();
    writers.restart(victim)?;
    loop {
        let held = writers.ask(victim, json!({"do": "held"}), Duration::from_secs(60)).await?;
        if held["complete"] == true && held["records"].as_u64().unwrap_or(0) >= bench.records {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    report.at_most("killed, and ready again with them", began.elapsed(), READY_MOST);
    Ok(())
}
