//! What a load came to, and the process that clients outside of a node run in.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use xtask::local_cluster::binary::Program;

/// Clients outside of the nodes.
pub(super) const BENCH_LOAD: Program = Program { package: "ha-bench-node", name: "ha-bench-load" };

/// Load on a cluster that was just started, until its files have their size.
pub(super) const RUN_IN: Duration = Duration::from_secs(2);

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Operations a second.
    pub(super) rate: f64,
    pub(super) median: Duration,
    pub(super) mean: Duration,
    pub(super) p99: Duration,
    pub(super) worst: Duration,
}

impl Load {
    /// What a bench program told. Nothing may have failed.
    pub(super) fn told(answer: &Value) -> Result<Self, Box<dyn std::error::Error>> {
        if answer["failed"] != 0 {
            return Err(format!("operations failed under plain load: {answer}").into());
        }
        let number = |name: &str| answer[name].as_f64().ok_or_else(|| format!("no {name} in {answer}"));
        let time = |name: &str| number(name).map(|micros| Duration::from_secs_f64(micros / 1e6));
        let operations = answer["operations"].as_f64().map_or_else(|| number("acknowledged"), Ok)?;
        let (rate, median) = (operations / number("seconds")?, time("p50_us")?);
        Ok(Self { rate, median, mean: time("mean_us")?, p99: time("p99_us")?, worst: time("max_us")? })
    }
}

/// What clients outside of the nodes do.
pub(super) struct Outside<'a> {
    pub(super) kind: &'a str,
    pub(super) addresses: &'a [SocketAddr],
    pub(super) what: &'a str,
    pub(super) clients: usize,
    /// Of a value.
    pub(super) bytes: usize,
    pub(super) queued_ms: u64,
}

impl Outside<'_> {
    /// Lets them work for a while, in a process of their own.
    pub(super) async fn run(&self, program: &Path, time: Duration) -> Result<Load, Box<dyn std::error::Error>> {
        let job = json!({
            "kind": self.kind, "addresses": self.addresses, "what": self.what, "clients": self.clients,
            "seconds": time.as_secs_f64(), "bytes": self.bytes, "queued_ms": self.queued_ms,
        });
        let output = Command::new(program).arg(job.to_string()).kill_on_drop(true).output().await?;
        if !output.status.success() {
            return Err(format!("{job}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Load::told(&serde_json::from_slice(&output.stdout)?)
    }
}
