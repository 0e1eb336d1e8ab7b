//! Commands on standard input, answers on standard output: a line of JSON each.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ha_cluster::clock::{BootClock, Clock};
use ha_replication::{Consistency, Replication};
use ha_runtime::ha_state::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::acknowledged::Acknowledged;
use crate::records;
use crate::state::{self, What};
use crate::writers::{Background, Bench, Load, propose};

/// What can be asked.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    /// Proposes for a while; answers rate and latencies.
    Propose { clients: usize, seconds: f64, bytes: usize },
    /// Lets clients propose from now on.
    Write { clients: usize, bytes: usize },
    /// Ends those clients.
    Rest,
    /// The longest time without an acknowledgement since an instant of the boot clock.
    Gap { since_ns: u64 },
    /// Lets clients of shared state work for a while; answers rate and latencies.
    State { what: What, clients: usize, seconds: f64, bytes: usize },
    /// Hands one lock to and fro between two clients, each time after the waiter has queued for a while.
    HandOver { queued_ms: u64, seconds: f64 },
    /// Sets so many distinct keys.
    Fill { keys: usize, bytes: usize },
    /// Sets keys while so many watches follow.
    Watched { watches: usize, seconds: f64, bytes: usize },
    /// Lets a crowd wait for a lock whose holder dies, until so many of them were served.
    Crowd { waiters: usize, served: usize },
    /// How many keys there are.
    Keys,
    /// Writes records for a while; answers rate and latencies.
    Records { clients: usize, seconds: f64, bytes: usize, level: Consistency },
    /// Lets clients write records from now on.
    BeginRecords { clients: usize, bytes: usize, level: Consistency },
    /// Ends those clients; answers rate and latencies.
    EndRecords,
    /// Writes so many records, as fast as it goes.
    FillRecords { clients: usize, records: u64, bytes: usize },
    /// Reads records of this node's own copy for a while.
    ReadRecords { seconds: f64 },
    /// What this node's copy holds, and the memory of the process.
    Held,
    /// Reads every acknowledged proposal of these files back.
    Verify { files: Vec<PathBuf> },
}

/// A load as it is told.
fn told(load: &Load) -> Value {
    let quantile = |share: f64| {
        let rank = (share * load.latencies.len() as f64).ceil() as usize;
        load.latencies.get(rank.saturating_sub(1)).map(|latency| latency.as_secs_f64() * 1e6)
    };
    json!({
        "acknowledged": load.latencies.len(), "failed": load.failed, "seconds": load.took.as_secs_f64(),
        "p50_us": quantile(0.5), "p99_us": quantile(0.99), "max_us": quantile(1.0),
    })
}

/// One conversation.
pub(crate) struct Talk {
    bench: Arc<Bench>,
    state: State,
    background: Background,
    replication: Option<Replication>,
    going_on: Option<records::Writing>,
}

impl Talk {
    pub(crate) fn new(bench: Arc<Bench>, state: State, replication: Option<Replication>) -> Self {
        Self { bench, state, background: Background::default(), replication, going_on: None }
    }

    /// Answers one line.
    pub(crate) async fn answer(&mut self, line: &str) -> Value {
        match serde_json::from_str(line) {
            Ok(request) => self.serve(request).await.unwrap_or_else(|error| json!({"error": error})),
            Err(error) => json!({"error": error.to_string()}),
        }
    }

    async fn serve(&mut self, request: Request) -> Result<Value, String> {
        match request {
            Request::Propose { clients, seconds, bytes } => {
                Ok(told(&propose(&self.bench, clients, Duration::from_secs_f64(seconds), bytes).await))
            }
            Request::Records { clients, seconds, bytes, level } => {
                let replication = self.records()?.with_consistency(level);
                Ok(told(&records::write(&replication, clients, Duration::from_secs_f64(seconds), bytes).await))
            }
            Request::BeginRecords { clients, bytes, level } => {
                let replication = self.records()?.with_consistency(level);
                self.going_on = Some(records::Writing::begin(&replication, clients, bytes));
                Ok(json!({}))
            }
            Request::EndRecords => {
                let going_on = self.going_on.take().ok_or("nobody writes records")?;
                Ok(told(&going_on.end().await))
            }
            Request::FillRecords { clients, records, bytes } => {
                Ok(json!({"failed": records::fill(self.records()?, clients, records, bytes).await}))
            }
            Request::ReadRecords { seconds } => {
                let (reads, took) = records::read(self.records()?, Duration::from_secs_f64(seconds))?;
                Ok(json!({"reads": reads, "seconds": took.as_secs_f64()}))
            }
            Request::Held => {
                let held = self.records()?.held_here();
                Ok(json!({
                    "complete": held.is_complete, "caught_up": held.is_caught_up, "items": held.items,
                    "records": held.records, "digest": held.digest.to_string(),
                    "resident_bytes": records::memory_bytes("VmRSS:"), "peak_bytes": records::memory_bytes("VmHWM:"),
                }))
            }
            Request::Write { clients, bytes } => {
                self.background.rest().await;
                self.background = Background::start(&self.bench, clients, bytes);
                Ok(json!({}))
            }
            Request::Rest => Ok(json!({"acknowledged": self.background.rest().await})),
            Request::Gap { since_ns } => {
                let gap = self.background.gap(Duration::from_nanos(since_ns), BootClock.now());
                Ok(json!({"gap_ns": u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX)}))
            }
            Request::State { what, clients, seconds, bytes } => {
                Ok(state::work(&self.state, what, clients, Duration::from_secs_f64(seconds), bytes).await)
            }
            Request::HandOver { queued_ms, seconds } => {
                let queued = Duration::from_millis(queued_ms);
                state::hand_over(&self.state, queued, Duration::from_secs_f64(seconds)).await
            }
            Request::Fill { keys, bytes } => state::fill(&self.state, keys, bytes).await,
            Request::Watched { watches, seconds, bytes } => {
                state::watched(&self.state, watches, Duration::from_secs_f64(seconds), bytes).await
            }
            Request::Crowd { waiters, served } => state::crowd(&self.state, waiters, served).await,
            Request::Keys => Ok(json!({"keys": self.state.usage().keys})),
            Request::Verify { files } => self.verify(&files).await,
        }
    }

    fn records(&self) -> Result<&Replication, String> {
        self.replication.as_ref().ok_or_else(|| "replication is off".to_owned())
    }

    async fn verify(&self, files: &[PathBuf]) -> Result<Value, String> {
        let mut all = Vec::new();
        for file in files {
            all.extend(Acknowledged::read(file).map_err(|error| format!("{}: {error}", file.display()))?);
        }
        let judge = |ledger: &crate::ledger::Ledger| {
            let missing: Vec<_> = all.iter().filter(|(writer, serial)| !ledger.holds(*writer, *serial)).collect();
            json!({"checked": all.len(), "missing": missing.len(), "first": missing.first(), "twice": ledger.twice()})
        };
        self.bench.log.read(judge).await.map_err(|error| error.to_string())
    }
}
