//! How long a command runs nowhere when its primary dies, and when a person moves it; as the command itself sees it.
//! With the timers of one machine room, and with the default ones.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use xtask::local_cluster::{Entry, Journal, LEADER_TIMEOUT, LocalCluster, Settings, TICK, wait_for};

use super::cluster::Bench;
use super::figures::{Report, Sample, milliseconds};
use crate::commands::random::Random;
use crate::commands::writers::now_nanoseconds;
use crate::ui::Step;

/// Before each blow, at least; a random part of [`PHASE`] comes on top, so that blows fall at any point of a lease.
const BEFORE: Duration = Duration::from_millis(800);
const PHASE: Duration = Duration::from_millis(500);

type Done = Result<(), Box<dyn std::error::Error>>;

/// A killed primary, and a planned move.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Done {
    let settings = Settings {
        binary: Some(bench.ha.clone()),
        below: Some(bench.folder.clone()),
        tells_logs: false,
        ..Settings::new(3).with_journal()
    };
    let mut cluster = LocalCluster::start(settings).await?;
    cluster.wait_formed().await?;
    let journal = Journal::below(cluster.directory());
    let mut random = Random::new(bench.seed);
    let mut step = Step::begin("failover");
    let (mut kills, mut moves) = (Sample::default(), Sample::default());
    let mut runs = begun(&journal, 0).await?;
    for round in 0..bench.rounds {
        step.update(round, bench.rounds, "the primary is killed");
        sleep(BEFORE + random.below(PHASE)).await;
        let primary = cluster.number_of(&runs.node).ok_or("an unknown node")?;
        let since = now_wall(&journal);
        cluster.kill9(primary).await?;
        runs = begun(&journal, runs.token).await?;
        kills.add(Duration::from_nanos(runs.at.saturating_sub(since)));
        cluster.restart(primary)?;
        cluster.wait_formed().await?;

        step.update(round, bench.rounds, "the primary is moved");
        sleep(BEFORE + random.below(PHASE)).await;
        let primary = cluster.number_of(&runs.node).ok_or("an unknown node")?;
        let to = cluster.node(primary % 3 + 1).spec.node_id.clone();
        let since = now_wall(&journal);
        let answer = cluster.http(primary).post("/v1/failover/switchover", &json!({"to": to})).await?;
        if answer.status != 200 {
            return Err(format!("the primary was not moved to {to}: {}", answer.error_message()).into());
        }
        runs = begun(&journal, runs.token).await?;
        sleep(TICK * 10).await;
        moves.add(journal.gap(since));
    }
    let name = format!("command, primary killed, {} times", kills.count());
    report.at_most(&format!("{name}, median"), kills.median(), Duration::from_secs(1));
    report.tell(&format!("{name}, worst"), milliseconds(kills.worst()));
    let name = format!("command, planned move, {} times", moves.count());
    report.at_most(&format!("{name}, gap, median"), moves.median(), Duration::from_millis(300));
    report.tell(&format!("{name}, gap, worst"), milliseconds(moves.worst()));
    let judged = journal.judge();
    let told = judged.as_ref().map_or_else(Clone::clone, |lives| format!("{lives} lives, one after the other"));
    report.judge("command, seen by its own journal", told, "never twice at once".to_owned(), judged.is_ok());
    step.end("done");
    Ok(())
}

/// Kills with the default timers: each takes a lease of 15 s.
const KILLS_WITH_DEFAULTS: usize = 3;
/// The total of `ha config timing` that such a kill must not exceed.
const WORST_CASE: &str = "a crash: until the next primary is told to start";
/// For a command to start, once its node was told to.
const COMMAND_STARTS: Duration = Duration::from_millis(500);
/// How long is waited for what the default timers make slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A killed primary, with the timers that nobody has set.
pub(crate) async fn measure_defaults(bench: &Bench, report: &mut Report) -> Done {
    let mut settings = Settings {
        binary: Some(bench.ha.clone()),
        below: Some(bench.folder.clone()),
        tells_logs: false,
        ..Settings::new(3).with_journal()
    };
    settings.options.remove("HA_PROFILE");
    let worst_case = worst_case(&bench.ha)?;
    let mut cluster = LocalCluster::start(settings).await?;
    let journal = Journal::below(cluster.directory());
    let mut random = Random::new(bench.seed);
    let mut step = Step::begin("failover, default timers");
    let mut kills = Sample::default();
    let mut runs = begun_within(&journal, 0, PATIENCE).await?;
    for round in 0..KILLS_WITH_DEFAULTS {
        step.update(round, KILLS_WITH_DEFAULTS, "the primary is killed");
        sleep(BEFORE + random.below(PHASE)).await;
        let primary = cluster.number_of(&runs.node).ok_or("an unknown node")?;
        let since = now_wall(&journal);
        cluster.kill9(primary).await?;
        runs = begun_within(&journal, runs.token, PATIENCE).await?;
        kills.add(Duration::from_nanos(runs.at.saturating_sub(since)));
        cluster.restart(primary)?;
        cluster.wait_formed().await?;
    }
    let name = format!("command, default timers, primary killed, {} times", kills.count());
    report.tell(&format!("{name}, median"), milliseconds(kills.median()));
    report.at_most(&format!("{name}, worst, and `ha config timing`"), kills.worst(), worst_case + COMMAND_STARTS);
    let judged = journal.judge();
    let told = judged.as_ref().map_or_else(Clone::clone, |lives| format!("{lives} lives, one after the other"));
    report.judge("command, default timers, its own journal", told, "never twice at once".to_owned(), judged.is_ok());
    step.end("done");
    Ok(())
}

/// What the program itself says that such a failover takes at worst.
fn worst_case(ha: &Path) -> Result<Duration, Box<dyn std::error::Error>> {
    let output = Command::new(ha).args(["config", "timing", "--json"]).output()?;
    let timing: Value = serde_json::from_slice(&output.stdout)?;
    let totals = timing["totals"].as_array().into_iter().flatten();
    let total = totals.clone().find(|total| total["name"] == WORST_CASE).and_then(|total| total["seconds"].as_f64());
    Ok(Duration::from_secs_f64(total.ok_or("ha config timing does not say it")?))
}

/// The moment of the command's last sign of life, by its own clock: nothing that ran can be younger.
fn now_wall(journal: &Journal) -> u64 {
    journal.last().map_or_else(now_nanoseconds, |entry| entry.at)
}

async fn begun(journal: &Journal, token: u64) -> Result<Entry, Box<dyn std::error::Error>> {
    begun_within(journal, token, LEADER_TIMEOUT).await
}

async fn begun_within(journal: &Journal, token: u64, bound: Duration) -> Result<Entry, Box<dyn std::error::Error>> {
    let look = async || journal.begun_after(token).ok_or_else(|| format!("{:?}", journal.last()));
    Ok(wait_for("the command running anew", bound, look).await?)
}
