//! What the programs of this package share: closed loops, and what they came to.

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What a load of fixed length came to.
#[derive(Debug, Default)]
pub struct Load {
    /// Operations that were answered with an error.
    pub failed: u64,
    /// How long each of the others took.
    pub latencies: Vec<Duration>,
    /// How long all of it took.
    pub took: Duration,
}

impl Load {
    /// As JSON, for whoever asked.
    pub fn told(mut self) -> Value {
        self.latencies.sort();
        let quantile = |share: f64| {
            let rank = (share * self.latencies.len() as f64).ceil() as usize;
            self.latencies.get(rank.saturating_sub(1)).map(|latency| latency.as_secs_f64() * 1e6)
        };
        let total: Duration = self.latencies.iter().sum();
        let mean = total.as_secs_f64() * 1e6 / self.latencies.len().max(1) as f64;
        json!({
            "acknowledged": self.latencies.len(), "failed": self.failed, "seconds": self.took.as_secs_f64(),
            "mean_us": mean, "p50_us": quantile(0.5), "p99_us": quantile(0.99), "max_us": quantile(1.0),
        })
    }
}

/// Lets this many clients work for a while. Each is made by `client` from its number, and does one operation at a time:
/// the n-th when it is called with n.
pub async fn closed_loops<C, F>(clients: usize, time: Duration, mut client: impl FnMut(usize) -> C) -> Load
where
    C: FnMut(u64) -> F + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let began = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..clients {
        let mut operate = client(number);
        running.spawn(async move {
            let mut load = Load::default();
            for operation in 0.. {
                let asked = Instant::now();
                if asked - began >= time {
                    break;
                }
                if operate(operation).await {
                    load.latencies.push(asked.elapsed());
                } else {
                    load.failed += 1;
                }
            }
            load
        });
    }
    let mut all = Load::default();
    while let Some(Ok(load)) = running.join_next().await {
        all.failed += load.failed;
        all.latencies.extend(load.latencies);
    }
    all.took = began.elapsed();
    all
}

/// Keys that each client sets in turn.
pub const KEYS_PER_CLIENT: u64 = 50;

/// The key that a client sets or reads with its n-th operation.
pub fn key(client: usize, operation: u64) -> String {
    format!("bench/{client}/{}", operation % KEYS_PER_CLIENT)
}
