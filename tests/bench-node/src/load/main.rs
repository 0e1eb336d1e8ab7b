//! Clients outside of any node: of etcd through its own gRPC, and of ours through HTTP with kept connections. What to
//! do comes as one JSON argument; what it came to goes out as one line of JSON.

mod etcd;
mod http;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

/// What to do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    kind: Kind,
    /// Where the nodes are.
    addresses: Vec<SocketAddr>,
    what: What,
    clients: usize,
    seconds: f64,
    #[serde(default)]
    bytes: usize,
    /// For a hand-over: how long the waiter has queued.
    #[serde(default)]
    queued_ms: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Etcd,
    Http,
}

/// One kind of operation.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Put,
    /// Of ours only: a record that was not there before.
    Record,
    Get,
    Lock,
    HandOver,
}

fn main() -> Result<(), Box<dyn Error>> {
    let text = std::env::args().nth(1).ok_or("usage: ha-bench-load JSON")?;
    let job: Job = serde_json::from_str(&text)?;
    let time = Duration::from_secs_f64(job.seconds);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let load = runtime.block_on(async {
        match job.kind {
            Kind::Etcd => etcd::run(&job, time).await,
            Kind::Http => http::run(&job, time).await,
        }
    })?;
    println!("{}", load.told());
    Ok(())
}
