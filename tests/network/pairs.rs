//! Two nodes with data, with a witness and without, when wires between them are cut.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use xtask::local_cluster::{Entry, FORM_TIMEOUT, Journal, LEADER_TIMEOUT, LocalCluster, Settings, wait_for};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// How long nothing may move where nothing should: several leases and elections.
const LONG: Duration = Duration::from_secs(3);
const WITNESS: usize = 3;

/// The clock of the journal.
#[expect(clippy::disallowed_methods, reason = "the commands on the nodes write down the time of day")]
fn now_nanoseconds() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

struct Pair {
    cluster: LocalCluster,
    journal: Journal,
}

impl Pair {
    async fn begin(settings: Settings) -> Outcome<(Self, Entry)> {
        let settings = settings.with_networks().with_journal().with("STATE_ENABLED", "true");
        // Calls that change something are answered only with a token where the address is no loopback one.
        let cluster = LocalCluster::start(settings.with("HTTP_TOKEN", "a-token-that-nobody-guesses")).await?;
        cluster.wait_formed().await?;
        let journal = Journal::below(cluster.directory());
        let pair = Self { cluster, journal };
        let first = pair.runs_after(0).await?;
        Ok((pair, first))
    }

    async fn runs_after(&self, token: u64) -> Outcome<Entry> {
        let begun = wait_for("the command running anew", LEADER_TIMEOUT, async || {
            self.journal.begun_after(token).ok_or_else(|| format!("{:?}", self.journal.last()))
        });
        Ok(begun.await?)
    }

    fn number(&self, entry: &Entry) -> Outcome<usize> {
        self.cluster.number_of(&entry.node).ok_or_else(|| format!("{} is no node", entry.node).into())
    }

    fn cut(&self, one: usize, other: usize) -> Outcome {
        self.cluster.cut(one, other)?;
        Ok(self.cluster.cut(other, one)?)
    }

    fn mend(&self, one: usize, other: usize) -> Outcome {
        self.cluster.mend(one, other)?;
        Ok(self.cluster.mend(other, one)?)
    }

    /// Sets a key through a node.
    async fn set(&self, number: usize, key: &str, value: &str) -> Outcome {
        let path = format!("/v1/state/{key}");
        let set = wait_for("a key being set", LEADER_TIMEOUT, async || {
            let answer = self.cluster.http(number).put(&path, &json!({"value": value})).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.error_message()) }
        });
        Ok(set.await?)
    }

    async fn get(&self, number: usize, key: &str) -> Outcome<Option<Value>> {
        let answer = self.cluster.http(number).get(&format!("/v1/state/{key}")).await?;
        match answer.status {
            200 => Ok(Some(answer.json()["value"].clone())),
            404 => Ok(None),
            _ => Err(answer.error_message().into()),
        }
    }

    async fn moves_nothing(&self, since: &Entry) {
        sleep(LONG).await;
        assert_eq!(self.journal.begun_after(since.token), None);
    }
}

/// T15, and each of the three wires. While the two see each other or a witness sees both, exactly one runs.
#[tokio::test]
async fn with_a_witness_each_wire_may_be_cut() -> Outcome {
    let (pair, runs) = Pair::begin(Settings::new(2).with_witness()).await?;
    let primary = pair.number(&runs)?;
    let standby = primary % 2 + 1;
    pair.cut(standby, WITNESS)?;
    pair.moves_nothing(&runs).await;
    pair.mend(standby, WITNESS)?;
    pair.cluster.wait_formed().await?;

    // Whoever leads may change here; that the service runs once, and goes on, must not.
    pair.cut(primary, WITNESS)?;
    sleep(LONG).await;
    pair.mend(primary, WITNESS)?;
    pair.cluster.wait_formed().await?;
    let runs = pair.journal.last().ok_or("nothing runs")?;

    pair.cut(primary, standby)?;
    sleep(LONG).await;
    let still = pair.journal.last().ok_or("nothing runs")?;
    let age = now_nanoseconds().saturating_sub(u128::from(still.at));
    assert!(age < LONG.as_nanos() / 2 && still.token >= runs.token, "nothing runs any more: {still:?}");
    pair.mend(primary, standby)?;
    pair.cluster.wait_formed().await?;
    pair.journal.judge()?;
    Ok(())
}

/// The primary alone on its side has stopped before the other one starts.
#[tokio::test]
async fn with_a_witness_a_primary_that_is_cut_off_from_both_is_succeeded() -> Outcome {
    let (pair, runs) = Pair::begin(Settings::new(2).with_witness()).await?;
    let primary = pair.number(&runs)?;
    pair.cluster.isolate(primary)?;
    let next = pair.runs_after(runs.token).await?;
    assert_eq!(pair.number(&next)?, primary % 2 + 1);
    assert_eq!(pair.cluster.http(primary).get("/health/primary").await?.status, 503);
    pair.cluster.rejoin(primary)?;
    pair.cluster.wait_formed().await?;
    pair.moves_nothing(&next).await;
    pair.journal.judge()?;
    Ok(())
}

/// T17: neither side promotes, and the old primary stops with its lease.
#[tokio::test]
async fn without_a_witness_a_cut_wire_stops_the_service_until_it_is_mended() -> Outcome {
    // A lease long enough for the command to be stopped within it, however busy this machine is.
    let (pair, runs) = Pair::begin(Settings::new(2).with("CLUSTER_NODE_TIMEOUT", "2")).await?;
    pair.cut(1, 2)?;
    sleep(LONG).await;
    assert_eq!(pair.journal.begun_after(runs.token), None);
    for number in [1, 2] {
        let status = pair.cluster.http(number).get_json::<Value>("/v1/failover").await?;
        assert_eq!(status["state"], "no_primary", "{status}");
    }
    pair.mend(1, 2)?;
    pair.runs_after(runs.token).await?;
    pair.journal.judge()?;
    Ok(())
}

/// Both sides go on, as a person wanted. When they meet, one gives way: what it alone accepted is in a file, counted,
/// and nothing of it is merged.
#[tokio::test]
async fn without_prevention_both_sides_of_a_cut_go_on_and_one_sets_its_data_aside() -> Outcome {
    let (pair, runs) = Pair::begin(Settings::new(2).with("SPLIT_BRAIN_PREVENTION", "false")).await?;
    pair.set(1, "common", "of both").await?;
    pair.cut(1, 2)?;
    let both_run = wait_for("both sides going on", LEADER_TIMEOUT, async || {
        let entries = pair.journal.entries();
        let runs_on = |node: &str| entries.iter().any(|entry| entry.node == node && entry.token > 1 << 40);
        if runs_on("node-1") && runs_on("node-2") { Ok(()) } else { Err(format!("since {}", runs.token)) }
    });
    both_run.await?;
    for number in [1, 2] {
        pair.set(number, "contested", &format!("by node-{number}")).await?;
        for key in 0..3 {
            pair.set(number, &format!("of-{number}-{key}"), "alone").await?;
        }
    }
    pair.mend(1, 2)?;

    let aside = |number: usize| {
        let names = fs::read_dir(pair.cluster.data_directory(number)).into_iter().flatten().flatten();
        let mut found = names.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("aside-"));
        found.next()
    };
    let loser = wait_for("one side giving way", FORM_TIMEOUT, async || {
        (1..=2).find(|number| aside(*number).is_some()).ok_or_else(|| "neither does".to_owned())
    });
    let loser = loser.await?;
    let winner = loser % 2 + 1;
    pair.cluster.wait_formed().await?;
    assert!(aside(winner).is_none(), "both gave way");
    let directory = aside(loser).ok_or("it is gone")?;
    assert!(directory.join("wal").read_dir()?.next().is_some(), "its log is not there");

    let text = fs::read_to_string(directory.join("divergent.jsonl"))?;
    let mut kept: Vec<(String, Value)> = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        kept.push((line["key"].as_str().unwrap_or_default().to_owned(), line["value"].clone()));
    }
    let mut expected: Vec<(String, Value)> = (0..3).map(|key| (format!("of-{loser}-{key}"), json!("alone"))).collect();
    expected.insert(0, ("contested".to_owned(), json!(format!("by node-{loser}"))));
    assert_eq!(kept, expected);
    let events = pair.cluster.node(loser).log_text();
    assert!(events.contains("0 records and 4 keys that changed here"), "it is not counted: {events}");

    for number in [1, 2] {
        assert_eq!(pair.get(number, "common").await?, Some(json!("of both")));
        assert_eq!(pair.get(number, "contested").await?, Some(json!(format!("by node-{winner}"))));
        assert_eq!(pair.get(number, &format!("of-{winner}-0")).await?, Some(json!("alone")));
        assert_eq!(pair.get(number, &format!("of-{loser}-0")).await?, None, "it was merged");
    }
    Ok(())
}
