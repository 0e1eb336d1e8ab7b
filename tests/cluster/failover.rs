//! The command of `ha run -- COMMAND`: it runs on one node, whatever happens to that node, and never on two.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use xtask::local_cluster::{
    Ended, Entry, FORM_TIMEOUT, Journal, LEADER_TIMEOUT, LocalCluster, STOP_TIMEOUT, Settings, wait_for,
};

use crate::support::Outcome;

/// Profile `lan`: the length of a node's lease.
const LEASE: Duration = Duration::from_millis(500);
/// How long nothing may move where nothing should: several leases and elections.
const LONG: Duration = Duration::from_secs(3);

struct Play {
    cluster: LocalCluster,
    journal: Journal,
}

impl Play {
    async fn begin(settings: Settings) -> Outcome<(Self, Entry)> {
        let cluster = LocalCluster::start(settings.with_journal()).await?;
        cluster.wait_formed().await?;
        let journal = Journal::below(cluster.directory());
        let play = Self { cluster, journal };
        let first = play.runs_after(0).await?;
        Ok((play, first))
    }

    /// Waits until the command runs with a token above this one.
    async fn runs_after(&self, token: u64) -> Outcome<Entry> {
        let begun = wait_for("the command running anew", LEADER_TIMEOUT, async || {
            self.journal.begun_after(token).ok_or_else(|| format!("{:?}", self.journal.last()))
        });
        Ok(begun.await?)
    }

    fn number(&self, entry: &Entry) -> Outcome<usize> {
        self.cluster.number_of(&entry.node).ok_or_else(|| format!("{} is no node", entry.node).into())
    }

    fn other(&self, number: usize) -> usize {
        number % 2 + 1
    }

    async fn failover(&self, number: usize) -> Outcome<Value> {
        Ok(self.cluster.http(number).get_json("/v1/failover").await?)
    }

    /// Waits until a node says what state the roles are in.
    async fn state(&self, number: usize, wanted: &str) -> Outcome<Value> {
        let what = format!("failover state {wanted}");
        let seen = wait_for(&what, LEADER_TIMEOUT, async || {
            let status = self.cluster.http(number).get_json::<Value>("/v1/failover").await;
            let status = status.map_err(|error| error.to_string())?;
            if status["state"] == *wanted { Ok(status) } else { Err(status.to_string()) }
        });
        Ok(seen.await?)
    }

    /// Waits until a node that was left behind has set its data aside and is a member again.
    async fn joins_anew(&self, number: usize) -> Outcome {
        let what = "the node that was left behind being a member again";
        let directory = self.cluster.data_directory(number);
        wait_for(what, FORM_TIMEOUT, async || {
            let names = std::fs::read_dir(&directory).map_err(|error| error.to_string())?.flatten();
            let aside = names.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("aside-"));
            if aside { Ok(()) } else { Err("nothing is set aside".to_owned()) }
        })
        .await?;
        self.cluster.wait_formed().await?;
        let node = self.cluster.node(number).spec.node_id.clone();
        // Of the leader: the node itself may still read the old log, in which it votes.
        let leader = self.cluster.wait_leader().await?;
        wait_for("the node that was left behind voting again", FORM_TIMEOUT, async || {
            let members = self.cluster.http(leader).get_json::<Value>("/v1/cluster/members").await;
            let members = members.map_err(|error| error.to_string())?;
            let votes = |member: &Value| member["node_id"] == *node && member["voter"] == true;
            if members.as_array().is_some_and(|all| all.iter().any(votes)) { Ok(()) } else { Err(members.to_string()) }
        })
        .await?;
        Ok(())
    }

    /// Sets a key, through a node.
    async fn set(&self, key: &str, value: i64, through: usize) -> Outcome {
        let path = format!("/v1/state/{key}");
        wait_for("a key being set", LEADER_TIMEOUT, async || {
            let answer = self.cluster.http(through).put(&path, &json!({"value": value})).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.error_message()) }
        })
        .await?;
        Ok(())
    }

    async fn get(&self, key: &str, from: usize) -> Outcome<Value> {
        Ok(self.cluster.http(from).get_json::<Value>(&format!("/v1/state/{key}")).await?["value"].clone())
    }

    fn ends(&self) -> Outcome {
        self.journal.judge()?;
        Ok(())
    }
}

#[tokio::test]
async fn a_killed_primary_is_succeeded_and_the_command_never_runs_twice() -> Outcome {
    let (mut play, mut runs) = Play::begin(Settings::new(3)).await?;
    for _ in 0..3 {
        let primary = play.number(&runs)?;
        assert_eq!(play.cluster.http(primary).get("/health/primary").await?.status, 200);
        play.cluster.kill9(primary).await?;
        let next = play.runs_after(runs.token).await?;
        assert_ne!(next.node, runs.node);
        play.cluster.restart(primary)?;
        play.cluster.wait_formed().await?;
        assert_eq!(play.cluster.http(primary).get("/health/primary").await?.status, 503);
        runs = next;
    }
    play.ends()
}

/// Wherever the service does not run, nothing answers: that keeps no node from taking it over.
#[tokio::test]
async fn a_check_of_the_service_counts_where_it_runs() -> Outcome {
    let settings = Settings::new(3)
        .with("HEALTH_MONITOR_ENABLED", "true")
        .with("FAILOVER_HEALTH_CHECK_INTERVAL", "0.1")
        .with("HEALTH_CHECKS", "web=tcp:127.0.0.1:1")
        .with("HEALTH_CRITICAL", "web");
    let (mut play, first) = Play::begin(settings).await?;
    let primary = play.number(&first)?;
    for number in 1..=3 {
        let (status, begins) =
            if number == primary { ("degraded", "it has not answered") } else { ("healthy", "not checked") };
        let seen = wait_for("what the check found", LEADER_TIMEOUT, async || {
            let health = play.cluster.http(number).get_json::<Value>("/v1/health").await;
            let health = health.map_err(|error| error.to_string())?;
            let web = health["components"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "web"));
            let is_so = web.is_some_and(|web| {
                web["status"] == *status && web["message"].as_str().is_some_and(|told| told.starts_with(begins))
            });
            if is_so { Ok(()) } else { Err(format!("node {number}: {web:?}")) }
        });
        seen.await?;
    }
    play.cluster.kill9(primary).await?;
    let next = play.runs_after(first.token).await?;
    assert_ne!(next.node, first.node);
    play.ends()
}

#[tokio::test]
async fn a_primary_that_restarts_at_once_does_not_start_beside_its_former_life() -> Outcome {
    let (mut play, runs) = Play::begin(Settings::new(3)).await?;
    let primary = play.number(&runs)?;
    play.cluster.kill9(primary).await?;
    play.cluster.restart(primary)?;
    play.runs_after(runs.token).await?;
    play.ends()
}

#[tokio::test]
async fn a_person_moves_the_primary_and_is_refused_what_cannot_be() -> Outcome {
    let (play, runs) = Play::begin(Settings::new(3)).await?;
    let primary = play.number(&runs)?;
    let to = play.cluster.node(primary % 3 + 1).spec.node_id.clone();
    // Any node may be asked.
    let asked = play.cluster.http((primary + 1) % 3 + 1);
    let answer = asked.post("/v1/failover/switchover", &json!({"to": to})).await?;
    assert_eq!((answer.status, &answer.json()["primary_node"]), (200, &json!(to)), "{}", answer.error_message());
    let moved = play.runs_after(runs.token).await?;
    assert_eq!((moved.node.as_str(), json!(moved.token)), (to.as_str(), answer.json()["epoch"].clone()));

    let refused = asked.post("/v1/failover/switchover", &json!({"to": "nobody"})).await?;
    assert_eq!((refused.status, refused.json()["error"]["code"].clone()), (409, json!("not_moved")));
    let again = asked.post("/v1/failover/switchover", &json!({"to": to})).await?;
    assert_eq!((again.status, &again.json()["epoch"]), (200, &json!(moved.token)), "it is there already");
    assert_eq!(play.journal.begun_after(moved.token), None);
    play.ends()
}

/// A planned stop takes its time, also when that is longer than a lease: the lease goes on meanwhile.
#[tokio::test]
async fn a_command_that_is_moved_may_take_longer_to_stop_than_a_lease() -> Outcome {
    let (play, runs) = Play::begin(Settings::new(3)).await?;
    let primary = play.number(&runs)?;
    let to = play.cluster.node(primary % 3 + 1).spec.node_id.clone();
    play.journal.set_slow(LEASE * 3)?;
    let answer = play.cluster.http(primary).post("/v1/failover/switchover", &json!({"to": to})).await?;
    assert_eq!(answer.status, 200, "{}", answer.error_message());
    let ended = play.journal.entries().into_iter().find(|entry| entry.what == "slept");
    assert_eq!(ended.map(|entry| entry.token), Some(runs.token), "it was killed before its time");
    play.runs_after(runs.token).await?;
    play.ends()
}

/// Paused: a dead primary stays dead until a person resumes.
#[tokio::test]
async fn a_pause_holds_everything_until_it_is_ended() -> Outcome {
    let (mut play, runs) = Play::begin(Settings::new(3)).await?;
    let primary = play.number(&runs)?;
    let other = primary % 3 + 1;
    let answer = play.cluster.http(other).post("/v1/failover/pause", &json!({})).await?;
    assert_eq!(answer.status, 200, "{}", answer.error_message());
    play.state(other, "paused").await?;
    play.cluster.kill9(primary).await?;
    let status = play.state(other, "no_primary").await?;
    assert!(status["waiting_for"].as_str().is_some_and(|why| why.contains("paused")), "{status}");
    assert_eq!(play.journal.begun_after(runs.token), None);
    assert_eq!(play.cluster.http(other).post("/v1/failover/resume", &json!({})).await?.status, 200);
    play.runs_after(runs.token).await?;
    play.ends()
}

/// The guard ends the command in time although `ha` cannot; woken, the old primary claims nothing.
#[tokio::test]
async fn a_frozen_primary_has_stopped_before_the_next_one_starts() -> Outcome {
    let (mut play, runs) = Play::begin(Settings::new(3)).await?;
    let old = play.number(&runs)?;
    play.cluster.pause(old).await?;
    let next = play.runs_after(runs.token).await?;
    assert_ne!(next.node, runs.node);
    // The question waits in the frozen node's socket, so that it is answered in the first instant after the wake.
    let mut question = TcpStream::connect(play.cluster.node(old).spec.http_address()).await?;
    question.write_all(b"GET /health/primary HTTP/1.0\r\n\r\n").await?;
    play.cluster.resume(old)?;
    let mut answer = String::new();
    question.read_to_string(&mut answer).await?;
    assert!(answer.lines().next().is_some_and(|line| line.contains(" 503 ")), "it woke with: {answer}");
    play.cluster.wait_formed().await?;
    play.state(old, "normal").await?;
    play.ends()
}

#[tokio::test]
async fn a_primary_that_is_told_to_stop_hands_over_first() -> Outcome {
    let (mut play, runs) = Play::begin(Settings::new(3)).await?;
    let primary = play.number(&runs)?;
    let ended = play.cluster.terminate(primary).await?;
    assert!(matches!(ended, Ended::Status(status) if status.success()), "{ended:?}");
    let next = play.runs_after(runs.token).await?;
    assert_ne!(next.node, runs.node);
    // Without a lease to wait out, however busy this machine is.
    let status = play.failover(play.number(&next)?).await?;
    let sentences: Vec<&str> =
        status["history"].as_array().into_iter().flatten().filter_map(|d| d["sentence"].as_str()).collect();
    assert!(sentences.iter().any(|sentence| sentence.contains("is about to stop")), "{sentences:?}");
    assert!(!sentences.iter().any(|sentence| sentence.contains("let its lease end")), "{sentences:?}");
    play.ends()
}

#[tokio::test]
async fn a_command_that_does_not_stay_up_moves_to_where_it_does() -> Outcome {
    let (mut play, runs) = Play::begin(Settings::new(3)).await?;
    let primary = play.number(&runs)?;
    // It ends on both others, and where it runs once it is started anew.
    let unwilling = [runs.node.as_str()];
    play.journal.set_unwilling(&unwilling)?;
    play.cluster.kill9(primary).await?;
    play.cluster.restart(primary)?;
    play.cluster.wait_formed().await?;
    let next = play.runs_after(runs.token).await?;
    let to = runs.node.clone();
    let asked = play.cluster.http(play.number(&next)?);
    // It may be refused while that node has not been seen to be well.
    let moved = wait_for("a switchover to where it does not stay up", STOP_TIMEOUT, async || {
        let answer = asked.post("/v1/failover/switchover", &json!({"to": to})).await.map_err(|e| e.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.error_message()) }
    });
    moved.await?;
    let back = play.runs_after(next.token).await?;
    assert_ne!(back.node, runs.node, "it ran where it cannot");
    assert!(play.journal.entries().iter().filter(|entry| entry.what == "refuse").count() >= 3, "it was tried again");
    play.ends()
}

#[tokio::test]
async fn two_nodes_and_a_witness_survive_each_of_them() -> Outcome {
    let (mut play, runs) = Play::begin(Settings::new(2).with_witness()).await?;
    let witness = play.cluster.http(3).get_json::<Value>("/health").await?;
    assert_eq!(witness["status"], "healthy", "it knows of no roles, and misses none: {witness}");
    let says = play.failover(3).await?;
    assert!(says["waiting_for"].as_str().is_some_and(|says| says.contains("ask another node")), "{says}");
    let primary = play.number(&runs)?;
    play.cluster.kill9(primary).await?;
    let next = play.runs_after(runs.token).await?;
    assert_eq!(play.number(&next)?, play.other(primary));
    play.cluster.restart(primary)?;
    play.cluster.wait_formed().await?;

    // The standby, and then the witness, are missed by nobody.
    for lost in [primary, 3] {
        play.cluster.kill9(lost).await?;
        sleep(LONG).await;
        assert_eq!(play.journal.begun_after(next.token), None, "the loss of node {lost} moved the primary");
        play.cluster.restart(lost)?;
        play.cluster.wait_formed().await?;
    }

    // Both data nodes at once.
    let (one, other) = (primary, play.other(primary));
    play.cluster.kill9(one).await?;
    play.cluster.kill9(other).await?;
    play.cluster.restart(one)?;
    play.cluster.restart(other)?;
    play.runs_after(next.token).await?;
    play.ends()
}

#[tokio::test]
async fn of_two_nodes_alone_the_survivor_starts_nothing_and_says_why() -> Outcome {
    let (mut play, runs) = Play::begin(Settings::new(2)).await?;
    let primary = play.number(&runs)?;
    let survivor = play.other(primary);
    play.cluster.kill9(primary).await?;
    sleep(LONG + LEASE).await;
    assert_eq!(play.journal.begun_after(runs.token), None);
    let status = play.state(survivor, "no_primary").await?;
    assert_eq!(status["primary_node"], Value::Null, "{status}");
    assert!(status["waiting_for"].as_str().is_some_and(|why| why.contains("votes")), "{status}");
    play.cluster.restart(primary)?;
    play.runs_after(runs.token).await?;
    play.ends()
}

/// The survivor of two goes on by a person's order, with a greater token; the other sets its data aside by itself when
/// it comes back, and stands by.
#[tokio::test]
async fn of_two_nodes_alone_a_person_promotes_the_survivor() -> Outcome {
    let (mut play, runs) = Play::begin(Settings::new(2).with("STATE_ENABLED", "true")).await?;
    let primary = play.number(&runs)?;
    let survivor = play.other(primary);
    let asked = play.cluster.http(survivor);
    play.set("before", 1, survivor).await?;
    let needless = asked.post("/v1/failover/promote", &json!({"force": true})).await?;
    assert_eq!(needless.status, 409, "a leader is live");
    play.cluster.kill9(primary).await?;
    play.state(survivor, "no_primary").await?;
    assert_eq!(asked.post("/v1/failover/promote", &json!({})).await?.status, 409);
    let answer = asked.post("/v1/failover/promote", &json!({"force": true})).await?;
    assert_eq!(answer.status, 202, "{}", answer.error_message());
    let next = play.runs_after(runs.token).await?;
    assert_eq!(play.number(&next)?, survivor);
    assert!(next.token > 1 << 40, "token {}", next.token);

    play.set("since", 2, survivor).await?;
    play.cluster.restart(primary)?;
    play.joins_anew(primary).await?;
    let log = play.cluster.node(primary).log_text();
    assert!(log.contains("went on by force") && log.contains("nothing changed here alone"), "{log}");
    for (key, value) in [("before", 1), ("since", 2)] {
        assert_eq!(play.get(key, primary).await?, json!(value), "{key}");
    }
    assert_eq!(play.journal.begun_after(next.token), None);
    assert_eq!(play.cluster.http(survivor).get("/health/primary").await?.status, 200);
    // And it takes its part again.
    let to = play.cluster.node(primary).spec.node_id.clone();
    let moved = wait_for("a switchover to the one that was left behind", STOP_TIMEOUT, async || {
        let answer = asked.post("/v1/failover/switchover", &json!({"to": to})).await.map_err(|e| e.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.error_message()) }
    });
    moved.await?;
    play.runs_after(next.token).await?;
    play.ends()
}

/// A person wants availability at any price: the survivor promotes itself, and whoever was away joins anew. Again and
/// again, in turn.
#[tokio::test]
async fn of_two_nodes_without_prevention_the_survivor_promotes_itself() -> Outcome {
    let settings = Settings::new(2).with("SPLIT_BRAIN_PREVENTION", "false").with("STATE_ENABLED", "true");
    let (mut play, mut runs) = Play::begin(settings).await?;
    for round in 1..=2 {
        let primary = play.number(&runs)?;
        let survivor = play.other(primary);
        play.set("round", round, primary).await?;
        play.cluster.kill9(primary).await?;
        let next = play.runs_after(runs.token).await?;
        assert_eq!((play.number(&next)?, next.token >> 40), (survivor, u64::try_from(round)?));
        play.cluster.restart(primary)?;
        play.joins_anew(primary).await?;
        assert_eq!(play.get("round", primary).await?, json!(round));
        runs = next;
    }
    play.ends()
}

/// Forced recovery while the old majority lives: it refuses to serve from the moment at which it hears of it.
#[tokio::test]
async fn the_old_majority_gives_way_to_the_one_that_went_on_by_force() -> Outcome {
    let (mut play, runs) = Play::begin(Settings::new(3).with("STATE_ENABLED", "true")).await?;
    let primary = play.number(&runs)?;
    let (lone, third) = (primary % 3 + 1, (primary + 1) % 3 + 1);
    play.cluster.kill9(lone).await?;
    // What only the majority knows.
    play.set("theirs", 1, primary).await?;
    play.cluster.kill9(primary).await?;
    play.cluster.kill9(third).await?;
    play.cluster.restart(lone)?;
    play.state(lone, "no_primary").await?;
    let answer = play.cluster.http(lone).post("/v1/failover/promote", &json!({"force": true})).await?;
    assert_eq!(answer.status, 202, "{}", answer.error_message());
    let last = play.journal.last().map_or(runs.token, |entry| entry.token);
    let next = play.runs_after(last).await?;
    assert_eq!((play.number(&next)?, next.token >> 40), (lone, 1));
    play.cluster.restart(primary)?;
    play.cluster.restart(third)?;
    play.joins_anew(primary).await?;
    play.joins_anew(third).await?;
    assert_eq!(play.journal.begun_after(next.token), None);
    let lost = play.cluster.http(primary).get("/v1/state/theirs").await?;
    assert_eq!(lost.status, 404, "{}", lost.body);
    play.ends()
}

#[tokio::test]
async fn of_two_nodes_alone_the_survivor_goes_on_once_a_fence_confirms() -> Outcome {
    // At first it hangs, and would say that it worked much later; then it fails.
    let fence = "test -e ../fence-fails || sleep 30; test -e ../fence-works && echo >> ../fenced #";
    let settings = Settings::new(2).with("FAILOVER_FENCE_COMMAND", fence).with("FAILOVER_TIMEOUT", "1");
    let (mut play, runs) = Play::begin(settings).await?;
    let primary = play.number(&runs)?;
    play.cluster.kill9(primary).await?;
    sleep(LONG).await;
    assert_eq!(play.journal.begun_after(runs.token), None, "a fence that hangs proves nothing");
    std::fs::write(play.cluster.directory().join("fence-fails"), "")?;
    sleep(LONG).await;
    let log = play.cluster.node(play.other(primary)).log_text();
    assert!(log.contains("which proves nothing") && log.contains("exit status: 1"), "{log}");
    assert_eq!(play.journal.begun_after(runs.token), None);
    std::fs::write(play.cluster.directory().join("fence-works"), "")?;
    let next = play.runs_after(runs.token).await?;
    assert_eq!(play.number(&next)?, play.other(primary));
    assert!(play.cluster.directory().join("fenced").exists());
    play.ends()
}
