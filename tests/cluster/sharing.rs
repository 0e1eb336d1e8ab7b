//! T01, T04 with shared state: clients of keys and of a lock ask every node over HTTP while nodes are killed with SIGKILL
//! and frozen with SIGSTOP. Afterwards what they were told must fit one order, and no two may have held the lock at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_tests::sim::shared::check;
use ha_tests::sim::shared::records::{Records, Request, Seen, Told};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use xtask::local_cluster::{Client, LocalCluster, Settings};

use crate::support::Outcome;

/// Clients of keys on each node.
const CLIENTS: usize = 2;
/// Few keys, so that clients meet.
const KEYS: u8 = 4;
/// Longer than the longest freeze here.
const PATIENCE: Duration = Duration::from_secs(4);
const LOCK_TTL: Duration = Duration::from_secs(1);

/// What clients share.
#[derive(Clone)]
struct Play {
    began: Instant,
    stale_reads: bool,
    over: Arc<AtomicBool>,
    next_value: Arc<AtomicU64>,
    records: Arc<Mutex<Records>>,
    holds: Arc<Mutex<Vec<Hold>>>,
}

/// The lock was held from then, when it was granted, until then, when it was given back.
#[derive(Clone, Copy, Debug)]
struct Hold {
    token: u64,
    from: Duration,
    until: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test]
async fn what_clients_are_told_fits_one_order_while_nodes_die_and_freeze() -> Outcome {
    let (mut cluster, play, clients) = begin(false).await?;
    for _ in 0..2 {
        sleep(Duration::from_millis(500)).await;
        let leader = cluster.wait_leader().await?;
        cluster.kill9(leader).await?;
        sleep(Duration::from_millis(700)).await;
        cluster.restart(leader)?;
        cluster.wait_formed().await?;
        freeze(&mut cluster).await?;
    }
    end(&play, clients).await?;
    let records = lock(&play.records).clone();
    let answered =
        records.all().iter().filter(|record| !matches!(record.told, None | Some((_, Told::Unknown)))).count();
    assert!(answered > 200, "only {answered} of {} requests were answered", records.all().len());
    check::check(records.all())?;
    let mut holds = lock(&play.holds).clone();
    assert!(holds.len() > 5, "the lock was held {} times", holds.len());
    holds.sort_by_key(|hold| hold.from);
    for pair in holds.windows(2) {
        assert!(pair[0].token < pair[1].token, "a token is not higher than the one before: {pair:?}");
        assert!(pair[0].until <= pair[1].from, "two held the lock at once: {pair:?}");
    }
    Ok(())
}

/// The check can fail: reads of a node's own copy are stale on a leader that was frozen and deposed.
#[tokio::test]
async fn reads_of_a_copy_that_is_behind_are_noticed() -> Outcome {
    let (mut cluster, play, clients) = begin(true).await?;
    let mut noticed = Ok(());
    for _ in 0..5 {
        freeze(&mut cluster).await?;
        sleep(Duration::from_millis(200)).await;
        noticed = check::check(lock(&play.records).all());
        if noticed.is_err() {
            break;
        }
    }
    end(&play, clients).await?;
    assert!(noticed.is_err(), "nobody noticed that reads are stale");
    Ok(())
}

/// A cluster, and clients on each of its nodes.
async fn begin(stale_reads: bool) -> Outcome<(LocalCluster, Play, JoinSet<()>)> {
    let cluster = LocalCluster::start(Settings::new(3).with("STATE_ENABLED", "true")).await?;
    cluster.wait_formed().await?;
    cluster.wait_leader().await?;
    let play = Play {
        began: Instant::now(),
        stale_reads,
        over: Arc::default(),
        next_value: Arc::default(),
        records: Arc::default(),
        holds: Arc::default(),
    };
    let mut clients = JoinSet::new();
    for number in 1..=3 {
        for client in 0..CLIENTS {
            let http = cluster.http(number).with_timeout(PATIENCE);
            clients.spawn(keys(play.clone(), http, (number * CLIENTS + client) as u64));
        }
        clients.spawn(locks(play.clone(), cluster.http(number).with_timeout(PATIENCE)));
    }
    Ok((cluster, play, clients))
}

/// The leader is frozen for longer than its lease: somebody else leads when it wakes, and its clients ask it at once.
async fn freeze(cluster: &mut LocalCluster) -> Outcome {
    let leader = cluster.wait_leader().await?;
    cluster.pause(leader).await?;
    sleep(Duration::from_millis(1500)).await;
    cluster.resume(leader)?;
    cluster.wait_formed().await?;
    Ok(())
}

async fn end(play: &Play, mut clients: JoinSet<()>) -> Outcome {
    sleep(Duration::from_millis(500)).await;
    play.over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    Ok(())
}

impl Play {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

async fn keys(play: Play, http: Client, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut last_seen = [0; KEYS as usize];
    while !play.is_over() {
        sleep(Duration::from_millis(rng.random_range(5..25))).await;
        let key = rng.random_range(0..KEYS);
        let value = play.next_value.fetch_add(1, Ordering::Relaxed);
        let request = match rng.random_range(0..20) {
            0..5 => Request::Find(key),
            5..8 => Request::Look(key),
            8..12 => Request::Put(key, value, None),
            12..15 => Request::Put(key, value, Some(last_seen[usize::from(key)])),
            15..17 => Request::Delete(key),
            _ => Request::Both(key, (key + 1) % KEYS, value),
        };
        let number = lock(&play.records).ask(request, play.now());
        let told = ask(&http, request, play.stale_reads).await;
        lock(&play.records).tell(number, told, play.now());
        if let Told::Found(seen, _) = told {
            last_seen[usize::from(key)] = seen.map_or(0, |(_, revision)| revision);
        }
    }
}

fn name(key: u8) -> String {
    format!("key-{key}")
}

fn seen(item: &Value) -> Seen {
    Some((item["value"].as_u64()?, item["revision"].as_u64()?))
}

async fn ask(http: &Client, request: Request, stale_reads: bool) -> Told {
    let put = |key: u8, value: u64| json!({"put": {"key": name(key), "value": value}});
    let get = |key: u8| json!({"get": {"key": name(key)}});
    let body = match request {
        Request::Find(key) => {
            let stale = if stale_reads { "&consistency=stale" } else { "" };
            let path = format!("/v1/state?prefix={}{stale}", name(key));
            return match http.get(&path).await {
                Ok(answer) if answer.status == 200 => {
                    let page = answer.json();
                    Told::Found(seen(&page["items"][0]), page["revision"].as_u64().unwrap_or_default())
                }
                // A read changes nothing.
                _ => Told::NotDone,
            };
        }
        Request::Look(key) => json!({"then": [get(key)]}),
        Request::Put(key, value, None) => json!({"then": [put(key, value)]}),
        Request::Put(key, value, Some(revision)) => json!({
            "compare": [{"key": name(key), "revision": revision}], "then": [put(key, value)], "else": [get(key)],
        }),
        Request::Delete(key) => json!({"then": [{"delete": {"key": name(key)}}]}),
        Request::Both(one, other, value) => json!({
            "compare": [{"key": name(one), "exists": true}],
            "then": [put(one, value), put(other, value)],
            "else": [get(other)],
        }),
    };
    let answer = match http.post("/v1/state-txn", &body).await {
        Ok(answer) if answer.status == 200 => answer.json(),
        Ok(answer) if answer.status == 503 => return Told::NotDone,
        // A read changes nothing.
        _ if matches!(request, Request::Look(_)) => return Told::NotDone,
        _ => return Told::Unknown,
    };
    let (revision, first) = (answer["revision"].as_u64().unwrap_or_default(), &answer["results"][0]);
    match request {
        Request::Put(.., Some(_)) if answer["succeeded"] != true => {
            Told::Refused(first["item"]["revision"].as_u64().unwrap_or(0))
        }
        Request::Look(_) => Told::Found(seen(&first["item"]), revision),
        Request::Both(..) if answer["succeeded"] != true => Told::Else(seen(&first["item"]), revision),
        Request::Delete(_) if first["deleted"] == 0 => Told::Absent,
        _ => Told::Done(revision),
    }
}

/// Takes the lock, holds it for a moment, and gives it back.
async fn locks(play: Play, http: Client) {
    let body = json!({"ttl_seconds": LOCK_TTL.as_secs_f64(), "timeout_seconds": 3});
    while !play.is_over() {
        let granted = http.post("/v1/locks/contended", &body).await;
        let Some(granted) = granted.ok().filter(|answer| answer.status == 200).map(|answer| answer.json()) else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let path = format!("/v1/locks/contended/{}", granted["lock_id"].as_str().unwrap_or_default());
        // The answer may have been frozen on its way. A whole lease begins with the next question that is answered.
        let asked = Instant::now();
        let renewed = http.post(&format!("{path}/renew"), &Value::Null).await;
        let from = play.now();
        if renewed.is_ok_and(|answer| answer.status == 200) {
            sleep(Duration::from_millis(20)).await;
            let until = play.now();
            if let (Some(token), true) = (granted["fencing_token"].as_u64(), asked.elapsed() < LOCK_TTL * 9 / 10) {
                lock(&play.holds).push(Hold { token, from, until });
            }
        }
        // What fails ends with its lease.
        let _ = http.delete(&path).await;
    }
}
