//! What a cluster costs that does nothing: five nodes of the program `ha`, default timers.

use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use xtask::local_cluster::{LocalCluster, NodeStatus, Settings, agreed_leader, wait_for};

use super::cluster::Bench;
use super::figures::Report;
use crate::ui::Step;

/// How long the cluster is watched: some heartbeats of the default length.
const WATCH: Duration = Duration::from_secs(40);
/// With default timers an election may take as long as two longest election timeouts, and formation some rounds.
const FORM_TIMEOUT: Duration = Duration::from_secs(90);
/// What was asked for.
const RESIDENT_MIB_MOST: f64 = 20.0;
const CORE_SHARE_MOST: f64 = 0.01;
const TRAFFIC_KB_MOST: f64 = 20.0;
/// Clock ticks per second in `/proc`: the same on every Linux that runs this.
const TICKS_PER_SECOND: f64 = 100.0;

/// What one node has used up so far.
struct Used {
    core_seconds: f64,
    resident_mib: f64,
    sent_bytes: Option<f64>,
}

/// Measures it.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = Settings::new(5);
    settings.options.remove("HA_PROFILE");
    settings.binary = Some(bench.ha.clone());
    settings.below = Some(bench.folder.clone());
    settings.tells_logs = false;
    let mut cluster = LocalCluster::prepare(settings)?;
    cluster.start_all()?;
    let mut step = Step::begin("idle");
    step.update(0, 0, "forming with default timers");
    wait_for("five nodes with a leader", FORM_TIMEOUT, async || {
        let statuses = cluster.status().await;
        let lines = statuses.iter().map(NodeStatus::line).collect::<Vec<_>>().join("\n");
        agreed_leader(&statuses).map(drop).ok_or(lines)
    })
    .await?;
    let began = Instant::now();
    let before = look(&cluster).await?;
    sleep(WATCH).await;
    let after = look(&cluster).await?;
    let seconds = began.elapsed().as_secs_f64();
    step.end("done");

    let most = |values: Vec<f64>| values.into_iter().fold(0.0, f64::max);
    let resident = most(after.iter().map(|used| used.resident_mib).collect());
    report.judge(
        "idle, 5 nodes: resident memory of the largest",
        format!("{resident:.1} MiB"),
        format!("at most {RESIDENT_MIB_MOST} MiB"),
        resident <= RESIDENT_MIB_MOST,
    );
    let pairs = || before.iter().zip(&after);
    let share = most(pairs().map(|(b, a)| (a.core_seconds - b.core_seconds) / seconds).collect());
    report.judge(
        "idle, 5 nodes: processor time of the busiest",
        format!("{:.2} % of a core", share * 100.0),
        format!("at most {} %", CORE_SHARE_MOST * 100.0),
        share <= CORE_SHARE_MOST,
    );
    let rates: Option<Vec<f64>> = pairs().map(|(b, a)| Some((a.sent_bytes? - b.sent_bytes?) / seconds / 1e3)).collect();
    let mean = rates.map(|rates| rates.iter().sum::<f64>() / rates.len() as f64);
    report.judge(
        "idle, 5 nodes: bytes sent per node, mean",
        mean.map_or_else(|| "not told by the nodes".to_owned(), |mean| format!("{mean:.2} KB/s")),
        format!("at most {TRAFFIC_KB_MOST} KB/s"),
        mean.is_some_and(|mean| mean <= TRAFFIC_KB_MOST),
    );
    Ok(())
}

async fn look(cluster: &LocalCluster) -> Result<Vec<Used>, Box<dyn std::error::Error>> {
    let mut all = Vec::new();
    for node in cluster.nodes() {
        let pid = node.process().ok_or("a node has no process")?.pid;
        let metrics = node.http().get("/metrics").await?.body;
        all.push(Used {
            core_seconds: core_seconds(&fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or("unreadable stat")?,
            resident_mib: resident_mib(&fs::read_to_string(format!("/proc/{pid}/status"))?)
                .ok_or("unreadable status")?,
            sent_bytes: sent_bytes(&metrics),
        });
    }
    Ok(all)
}

/// User and system time; the fields are counted from the end of the program's name, as it may hold spaces.
fn core_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

/// What a process has in memory, by its `status` in `/proc`.
pub(super) fn resident_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

/// The sum over all series of what ha-net has sent; `None` when the node does not tell.
pub(crate) fn sent_bytes(metrics: &str) -> Option<f64> {
    let series = metrics.lines().filter(|line| line.starts_with("ha_net_sent_bytes"));
    let values: Vec<f64> = series.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_used_is_read_from_proc() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 777 1 1";
        assert_eq!(core_seconds(stat), Some(2.0));
        assert_eq!(resident_mib("Name:\tha\nVmRSS:\t   2048 kB\n"), Some(2.0));
    }

    #[test]
    fn traffic_is_summed_over_series() {
        let metrics =
            "# TYPE x\nha_net_sent_bytes_total{lane=\"bulk\"} 10\nha_net_sent_bytes_total{lane=\"control\"} 5\n";
        assert_eq!(sent_bytes(metrics), Some(15.0));
        assert_eq!(sent_bytes("ha_cluster_term 1\n"), None);
    }
}
