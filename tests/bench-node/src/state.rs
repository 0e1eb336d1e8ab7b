//! Clients of shared state inside the node: as many as wanted, through the Rust API.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ha_bench_node::{Load, closed_loops, key};
use ha_runtime::ha_state::{LockGuard, State};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Length of the leases of locks, and how long anybody waits for one.
const TTL: Duration = Duration::from_secs(60);
/// Local reads that are timed together: a look at the clock takes as long as one of them.
const LOCAL_READS: u64 = 1000;
/// Puts that fill a store, at once.
const FILLERS: usize = 256;
/// How long a lock's dead holder keeps it, where a crowd waits for it.
const SHORT_TTL: Duration = Duration::from_millis(1000);

/// What can be asked.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// Sets keys.
    Put,
    /// Reads keys, linearizably.
    Get,
    /// Reads keys of this node's own copy.
    GetLocal,
    /// Takes and gives back locks of distinct names.
    Lock,
}

/// Lets clients work for a while.
pub(crate) async fn work(state: &State, what: What, clients: usize, time: Duration, bytes: usize) -> Value {
    let value = Bytes::from(vec![b'x'; bytes]);
    let load = closed_loops(clients, time, |client| {
        let (state, value) = (state.clone(), value.clone());
        move |operation| {
            let (state, value) = (state.clone(), value.clone());
            async move {
                match what {
                    What::Put => state.put(&key(client, operation), value).await.is_ok(),
                    What::Get => matches!(state.get(&key(client, operation)).await, Ok(Some(_))),
                    What::GetLocal => (0..LOCAL_READS).all(|n| state.get_local(&key(client, n)).is_some()),
                    What::Lock => match take(&state, &format!("bench-{client}")).await {
                        Ok(guard) => guard.release().await.is_ok(),
                        Err(_) => false,
                    },
                }
            }
        }
    })
    .await;
    let per_operation = if matches!(what, What::GetLocal) { LOCAL_READS } else { 1 };
    let mut told = load.told();
    told["operations"] = (told["acknowledged"].as_u64().unwrap_or_default() * per_operation).into();
    told
}

async fn take(state: &State, name: &str) -> Result<LockGuard, String> {
    state.lock(name).ttl(TTL).timeout(TTL).acquire().await.map_err(|error| error.to_string())
}

/// Two clients hand one lock to and fro: from when the holder gives it back to when the other, who has queued for a
/// while, has it.
pub(crate) async fn hand_over(state: &State, queued: Duration, time: Duration) -> Result<Value, String> {
    let mut held = take(state, "hand-over").await?;
    let (began, mut load) = (Instant::now(), Load::default());
    while began.elapsed() < time {
        let waiter = state.clone();
        let waiting = tokio::spawn(async move { (take(&waiter, "hand-over").await, Instant::now()) });
        tokio::time::sleep(queued).await;
        let gives = Instant::now();
        held.release().await.map_err(|error| error.to_string())?;
        let (taken, at) = waiting.await.map_err(|error| error.to_string())?;
        held = taken?;
        load.latencies.push(at - gives);
    }
    load.took = began.elapsed();
    Ok(load.told())
}

/// Sets so many distinct keys as fast as it goes.
pub(crate) async fn fill(state: &State, keys: usize, bytes: usize) -> Result<Value, String> {
    let value = Bytes::from(vec![b'x'; bytes]);
    let began = Instant::now();
    let mut running = JoinSet::new();
    for filler in 0..FILLERS {
        let (state, value) = (state.clone(), value.clone());
        running.spawn(async move {
            for number in (filler..keys).step_by(FILLERS) {
                state.put(&format!("fill/{number:08}"), value.clone()).await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(filled) = running.join_next().await {
        filled.map_err(|error| error.to_string())??;
    }
    Ok(json!({"seconds": began.elapsed().as_secs_f64(), "keys": state.usage().keys}))
}

/// So many watches follow while clients set keys: how long a put took at most, and that every watch saw its share.
pub(crate) async fn watched(state: &State, watches: usize, time: Duration, bytes: usize) -> Result<Value, String> {
    let mut followers = JoinSet::new();
    let (end, ended) = tokio::sync::watch::channel(false);
    for number in 0..watches {
        let mut watch = state.watch(&format!("bench/{number}/")).map_err(|error| error.to_string())?;
        let mut ended = ended.clone();
        followers.spawn(async move {
            let mut seen = 0;
            loop {
                tokio::select! {
                    biased;
                    events = watch.next() => match events {
                        Ok(events) => seen += events.len(),
                        Err(_) => return None,
                    },
                    _ = ended.wait_for(|ended| *ended) => return Some(seen),
                }
            }
        });
    }
    let mut told = work(state, What::Put, watches, time, bytes).await;
    end.send_replace(true);
    let mut seen = 0;
    while let Some(follower) = followers.join_next().await {
        let one = follower.map_err(|error| error.to_string())?;
        seen += one.ok_or("a watch fell behind what is kept")?;
    }
    told["seen"] = seen.into();
    Ok(told)
}

/// A crowd waits for one lock whose holder dies. Meanwhile a client goes on setting keys: its longest wait is the
/// stall. Then a few of the crowd are served, one after the other.
pub(crate) async fn crowd(state: &State, waiters: usize, served: usize) -> Result<Value, String> {
    let acquire = |ttl| state.lock("crowd").ttl(ttl).timeout(TTL).acquire();
    let holder = acquire(SHORT_TTL).await.map_err(|error| error.to_string())?;
    let queue = Arc::new(tokio::sync::Semaphore::new(0));
    let mut crowd = JoinSet::new();
    for _ in 0..waiters {
        let (state, queue) = (state.clone(), queue.clone());
        crowd.spawn(async move {
            let guard = take(&state, "crowd").await?;
            queue.add_permits(1);
            guard.release().await.map_err(|error| error.to_string())
        });
    }
    let leases = state.usage().leases;
    while state.usage().leases < leases.max(waiters) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It is renewed no longer: as good as dead.
    holder.into_id();
    let died = Instant::now();
    let (mut stall, mut first) = (Duration::ZERO, None);
    while queue.available_permits() < served.min(waiters) {
        let asked = Instant::now();
        state.put("crowd/probe", "x").await.map_err(|error| error.to_string())?;
        stall = stall.max(asked.elapsed());
        if first.is_none() && queue.available_permits() > 0 {
            first = Some(died.elapsed());
        }
    }
    let took = died.elapsed();
    crowd.shutdown().await;
    Ok(json!({
        "stall_us": stall.as_secs_f64() * 1e6,
        "first_us": first.unwrap_or(took).as_secs_f64() * 1e6,
        "served_us": took.as_secs_f64() * 1e6,
    }))
}
