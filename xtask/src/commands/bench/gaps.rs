//! How long nobody's proposals are acknowledged when the leader dies, falls silent, or hands over.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::sleep;
use xtask::local_cluster::{Client, Lab, Settings};

use super::cluster::Bench;
use super::figures::{Report, Sample, milliseconds};
use crate::commands::random::Random;
use crate::commands::writers::{Writers, now_nanoseconds};
use crate::ui::Step;

/// Quiet load before each blow, at least; a random part of [`PHASE`] comes on top, so that blows fall at any point of
/// a heartbeat and of a lease.
const BEFORE: Duration = Duration::from_millis(600);
const PHASE: Duration = Duration::from_millis(400);
/// Load after a new leader is agreed on, so that the gap has ended for every client.
const AFTER: Duration = Duration::from_millis(400);
/// Rounds in which the target of a hand-over is killed.
const DYING_TARGETS: usize = 10;

type Done = Result<(), Box<dyn std::error::Error>>;

/// SIGKILL to the leader.
pub(crate) async fn kill(bench: &Bench, report: &mut Report) -> Done {
    let (mut rounds, mut sample) = (Rounds::begin(bench, "kill").await?, Sample::default());
    for round in 0..bench.rounds {
        let leader = rounds.steady(round).await?;
        let since = now_nanoseconds();
        rounds.writers.cluster.kill9(leader).await?;
        sample.add(rounds.gap_without(leader, since).await?);
        rounds.writers.restart(leader)?;
        rounds.writers.cluster.wait_formed().await?;
    }
    let name = format!("leader killed, {} times", sample.count());
    report.at_most(&format!("{name}, median"), sample.median(), Duration::from_millis(40));
    report.at_most(&format!("{name}, p90"), sample.quantile(0.9), Duration::from_millis(120));
    report.at_most(&format!("{name}, worst"), sample.worst(), Duration::from_millis(900));
    rounds.verify(report, &name).await
}

/// SIGSTOP to the leader: its connections stay open and nothing comes over them, as after a cut without a FIN.
pub(crate) async fn silence(bench: &Bench, report: &mut Report) -> Done {
    let (mut rounds, mut sample) = (Rounds::begin(bench, "silence").await?, Sample::default());
    for round in 0..bench.rounds {
        let leader = rounds.steady(round).await?;
        let since = now_nanoseconds();
        rounds.writers.cluster.pause(leader).await?;
        let gap = rounds.gap_without(leader, since).await;
        rounds.writers.cluster.resume(leader)?;
        sample.add(gap?);
        rounds.writers.cluster.wait_formed().await?;
    }
    let name = format!("leader silent, {} times", sample.count());
    report.at_most(&format!("{name}, median"), sample.median(), Duration::from_millis(800));
    report.tell(&format!("{name}, worst"), milliseconds(sample.worst()));
    rounds.verify(report, &name).await
}

/// The wires of the leader are cut in both directions, without a FIN, while it runs on.
pub(crate) async fn partition(bench: &Bench, report: &mut Report) -> Done {
    if let Some(reason) = Lab::lacking() {
        report.tell("leader partitioned", format!("not measured: {reason}"));
        return Ok(());
    }
    let writers = Writers::start_on(Settings::new(3).with_networks(), &bench.bench_node, &bench.folder).await?;
    let (mut rounds, mut sample) = (Rounds::with(writers, bench, "partition"), Sample::default());
    for round in 0..bench.rounds {
        let leader = rounds.steady(round).await?;
        let others = rounds.writers.others(leader);
        let since = now_nanoseconds();
        rounds.writers.cluster.isolate(leader)?;
        rounds.writers.cluster.wait_leader_among(&others).await?;
        sleep(AFTER).await;
        sample.add(rounds.writers.gap(&others, since).await?);
        rounds.writers.cluster.rejoin(leader)?;
        rounds.writers.cluster.wait_formed().await?;
    }
    let name = format!("leader partitioned, {} times", sample.count());
    report.at_most(&format!("{name}, median"), sample.median(), Duration::from_millis(800));
    report.tell(&format!("{name}, worst"), milliseconds(sample.worst()));
    rounds.verify(report, &name).await
}

/// A planned hand-over, to a node that lives and to one that dies meanwhile.
pub(crate) async fn transfer(bench: &Bench, report: &mut Report) -> Done {
    let (mut rounds, mut sample) = (Rounds::begin(bench, "transfer").await?, Sample::default());
    for round in 0..bench.rounds {
        let leader = rounds.steady(round).await?;
        let target = rounds.writers.others(leader)[round % 2];
        let since = now_nanoseconds();
        hand_over(rounds.writers.cluster.http(leader), rounds.id_of(target)).await?;
        rounds.writers.cluster.wait_leader().await?;
        sleep(AFTER).await;
        sample.add(rounds.writers.gap(&[1, 2, 3], since).await?);
    }
    let name = format!("planned hand-over, {} times", sample.count());
    report.at_most(&format!("{name}, median"), sample.median(), Duration::from_millis(30));
    report.at_most(&format!("{name}, worst"), sample.worst(), Duration::from_millis(150));

    let mut sample = Sample::default();
    for round in 0..bench.rounds.min(DYING_TARGETS) {
        let leader = rounds.steady(round).await?;
        let target = rounds.writers.others(leader)[round % 2];
        let asked = tokio::spawn(hand_over(rounds.writers.cluster.http(leader), rounds.id_of(target)));
        // Somewhere in the first moments of the hand-over, before, while or after the target hears of it.
        sleep(rounds.random.below(Duration::from_millis(4))).await;
        let since = now_nanoseconds();
        rounds.writers.cluster.node(target).signal(Signal::KILL)?;
        // Whether the hand-over succeeded does not matter here: either answer is honest.
        let _ = asked.await?;
        sample.add(rounds.gap_without(target, since).await?);
        rounds.writers.restart(target)?;
        rounds.writers.cluster.wait_formed().await?;
    }
    let name = format!("hand-over to a dying node, {} times", sample.count());
    report.tell(&format!("{name}, median"), milliseconds(sample.median()));
    report.at_most(&format!("{name}, worst"), sample.worst(), Duration::from_millis(200));
    rounds.verify(report, &name).await
}

async fn hand_over(leader: Client, to: String) -> Result<(), String> {
    let answer = leader.post("/v1/cluster/transfer", &json!({"to": to})).await.map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(()) } else { Err(format!("handing over to {to}: {}", answer.error_message())) }
}

/// The same in every round: writers in all nodes, a steady phase, a blow, a look.
struct Rounds {
    writers: Writers,
    random: Random,
    step: Step,
    total: usize,
}

impl Rounds {
    async fn begin(bench: &Bench, name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self::with(Writers::start(3, &bench.bench_node, &bench.folder).await?, bench, name))
    }

    fn with(writers: Writers, bench: &Bench, name: &str) -> Self {
        Self { writers, random: Random::new(bench.seed), step: Step::begin(name), total: bench.rounds }
    }

    /// Lets a client in every node write for a while; returns the leader.
    async fn steady(&mut self, round: usize) -> Result<usize, Box<dyn std::error::Error>> {
        self.step.update(round, self.total, "steady load");
        self.writers.rest().await?;
        self.writers.write(&[1, 2, 3]).await?;
        sleep(BEFORE + self.random.below(PHASE)).await;
        Ok(self.writers.cluster.wait_leader().await?)
    }

    /// The gap that the clients in the other nodes saw, once those agree on a leader.
    async fn gap_without(&mut self, number: usize, since: u64) -> Result<Duration, Box<dyn std::error::Error>> {
        self.writers.cluster.wait_leader().await?;
        sleep(AFTER).await;
        let others = self.writers.others(number);
        self.writers.gap(&others, since).await
    }

    fn id_of(&self, number: usize) -> String {
        self.writers.cluster.node(number).spec.node_id.clone()
    }

    /// Reads back everything that was acknowledged in all rounds.
    async fn verify(mut self, report: &mut Report, name: &str) -> Done {
        self.writers.rest().await?;
        let leader = self.writers.cluster.wait_leader().await?;
        let verified = self.writers.verify(leader).await?;
        report.judge(&format!("{name}, read back"), verified.to_string(), "all, once".to_owned(), verified.holds());
        self.step.end("done");
        Ok(())
    }
}
