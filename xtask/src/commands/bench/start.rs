//! How long warm processes take to an agreed leader.

use std::time::Duration;

use tokio::time::Instant;
use xtask::local_cluster::{LocalCluster, Settings};

use super::cluster::Bench;
use super::figures::{Report, Sample, milliseconds};

/// Fresh clusters that are started.
const STARTS: usize = 10;
/// What was asked for.
const START_MOST: Duration = Duration::from_secs(3);

/// Measures it.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<(), Box<dyn std::error::Error>> {
    let mut sample = Sample::default();
    for _ in 0..STARTS {
        let mut settings = Settings::new(3);
        settings.binary = Some(bench.ha.clone());
        settings.below = Some(bench.folder.clone());
        settings.tells_logs = false;
        let mut cluster = LocalCluster::prepare(settings)?;
        let began = Instant::now();
        cluster.start_all()?;
        cluster.wait_leader().await?;
        sample.add(began.elapsed());
    }
    report.tell("three empty nodes to an agreed leader, median", milliseconds(sample.median()));
    report.at_most(&format!("three empty nodes to an agreed leader, worst of {STARTS}"), sample.worst(), START_MOST);
    Ok(())
}
