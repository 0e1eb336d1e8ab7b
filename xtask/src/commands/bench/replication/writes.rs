//! Writes at each level beside the plain log, and reads of a local copy.

use std::time::Duration;

use serde_json::json;

use super::{BYTES, Bench, CLIENTS, Done, WARM_UP, load, nodes, records, told};
use crate::commands::bench::figures::Report;

/// Turns that the plain log and each level take, so that a moment of the machine is not taken for a figure.
const TURNS: usize = 3;
/// Records that reads go over.
const READ: u64 = 10_000;

/// Measures them, turn about.
pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Done {
    let (mut writers, leader) = nodes(bench, "quorum", "master_slave").await?;
    load(&mut writers, leader, records("quorum", WARM_UP)).await?;
    let seconds = bench.seconds / TURNS as f64;
    let (mut plain, mut quorum, mut strong) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let proposals = json!({"do": "propose", "clients": CLIENTS, "seconds": seconds, "bytes": BYTES});
        plain.push(load(&mut writers, leader, proposals).await?);
        quorum.push(load(&mut writers, leader, records("quorum", seconds)).await?);
        strong.push(load(&mut writers, leader, records("strong", seconds)).await?);
    }
    for turns in [&mut plain, &mut quorum, &mut strong] {
        turns.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    }
    let (plain, quorum, strong) = (&plain[TURNS / 2], &quorum[TURNS / 2], &strong[TURNS / 2]);
    report.tell("plain log, 64 writers of 1 KiB, a second", told(plain));
    report.judge("quorum, a second", told(quorum), "at least 20000".to_owned(), quorum.rate >= 20_000.0);
    let share = quorum.rate / plain.rate;
    report.judge("quorum, of the plain log", format!("{share:.2}"), "at least 0.60".to_owned(), share >= 0.6);
    let share = strong.rate / quorum.rate;
    let measured = format!("{share:.2}, {}", told(strong));
    report.judge("strong, of quorum", measured, "at least 0.80".to_owned(), share >= 0.8);

    let fill = json!({"do": "fill_records", "clients": CLIENTS, "records": READ, "bytes": BYTES});
    writers.ask(leader, fill, Duration::from_secs(60)).await?;
    // Until the store has them: what is in memory only is read faster.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let read = json!({"do": "read_records", "seconds": bench.seconds});
    let answer = writers.ask(leader, read, Duration::from_secs(60)).await?;
    let rate = answer["reads"].as_f64().unwrap_or(0.0) / answer["seconds"].as_f64().unwrap_or(1.0);
    let asked = "at least 300000".to_owned();
    report.judge("reads of a local copy, a second", format!("{rate:.0}"), asked, rate >= 300_000.0);
    Ok(())
}
