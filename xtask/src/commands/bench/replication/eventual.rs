//! Records without a leader.

use std::time::Duration;

use super::{Bench, Done, load, nodes, records, told, until_equal};
use crate::commands::bench::figures::Report;

/// Writes that are held for half a minute, and how long the copies then differ.
pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Done {
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
