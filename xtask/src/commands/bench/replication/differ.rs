//! A copy that was away while one record of a hundred was written, where no leader orders them.

use std::time::Duration;

use serde_json::json;

use super::{BYTES, Bench, CLIENTS, Done, nodes, until_equal};
use crate::commands::bench::figures::Report;
use crate::commands::bench::idle::sent_bytes;
use crate::commands::writers::Writers;

/// Records that there are, and how many of them are written while one copy is away.
const RECORDS: u64 = 1_000_000;
const MISSED: u64 = RECORDS / 100;
/// How long the copies may take to be equal again.
const EQUAL_MOST: Duration = Duration::from_secs(20);
/// Bytes that are sent, of those that were missing.
const SHARE_MOST: f64 = 2.0;

/// How long the copies then differ, and what they send one another.
pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Done {
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
    report.at_most("1 % of 1 million records differ: equal again", took, EQUAL_MOST);
    let share = bytes / (MISSED * BYTES as u64) as f64;
    let told = format!("{share:.2} x ({:.1} MB)", bytes / 1e6);
    let asked = format!("at most {SHARE_MOST:.2} x");
    report.judge("bytes sent meanwhile, of those that were missing", told, asked, share <= SHARE_MOST);
    Ok(())
}

/// Bytes that these nodes have sent to others so far.
async fn sent(writers: &Writers, nodes: &[usize]) -> Result<f64, Box<dyn std::error::Error>> {
    let mut sum = 0.0;
    for node in nodes {
        let metrics = writers.cluster.node(*node).http().get("/metrics").await?.body;
        sum += sent_bytes(&metrics).ok_or("the node does not tell what it sends")?;
    }
    Ok(sum)
}
