//! Three nodes of ours, with clients inside the leader, and outside over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::{Bench, Figure, Figures, VALUE_BYTES, WARM_UP};
use crate::commands::bench::outside::{Load, Outside, RUN_IN};
use crate::commands::writers::Writers;

type Failure = Box<dyn std::error::Error>;

/// Nodes that run, and the one that leads.
pub(super) struct Ours {
    pub(super) writers: Writers,
    pub(super) leader: usize,
}

impl Ours {
    pub(super) async fn start(bench: &Bench) -> Result<Self, Failure> {
        let writers = Writers::start(3, &bench.bench_node, &bench.folder).await?;
        let leader = writers.cluster.wait_leader().await?;
        Ok(Self { writers, leader })
    }

    /// Lets clients inside the leader work for a while.
    pub(super) async fn inside(&mut self, what: &str, clients: usize, time: Duration) -> Result<Load, Failure> {
        let request = json!({
            "do": "state", "what": what, "clients": clients, "seconds": time.as_secs_f64(), "bytes": VALUE_BYTES,
        });
        Load::told(&self.writers.ask(self.leader, request, time).await?)
    }

    async fn hand_over(&mut self, queued_ms: u64, time: Duration) -> Result<Load, Failure> {
        let request = json!({"do": "hand_over", "queued_ms": queued_ms, "seconds": time.as_secs_f64()});
        Load::told(&self.writers.ask(self.leader, request, time).await?)
    }

    /// Where the leader speaks HTTP.
    pub(super) fn http(&self) -> SocketAddr {
        let spec = &self.writers.cluster.node(self.leader).spec;
        SocketAddr::from((spec.address, spec.http_port))
    }
}

/// Measures these figures.
pub(super) async fn measure(bench: &Bench, figures: &[Figure]) -> Result<Figures, Failure> {
    let mut ours = Ours::start(bench).await?;
    ours.inside("put", 64, RUN_IN).await?;
    let mut measured = Figures::new();
    for figure in figures {
        for time in [WARM_UP, bench.load] {
            let load = one(&mut ours, bench, *figure, time).await?;
            measured.insert(*figure, load);
        }
    }
    Ok(measured)
}

async fn one(ours: &mut Ours, bench: &Bench, figure: Figure, time: Duration) -> Result<Load, Failure> {
    let addresses = [ours.http()];
    let outside =
        |what| Outside { kind: "http", addresses: &addresses, what, clients: 64, bytes: VALUE_BYTES, queued_ms: 0 };
    match figure {
        Figure::Put(clients) => ours.inside("put", clients, time).await,
        Figure::PutHttp => outside("put").run(&bench.bench_load, time).await,
        Figure::Get => ours.inside("get", 64, time).await,
        Figure::GetHttp => outside("get").run(&bench.bench_load, time).await,
        Figure::GetLocal => ours.inside("get_local", 1, time).await,
        Figure::Lock(clients) => ours.inside("lock", clients, time).await,
        Figure::HandOver(queued) => ours.hand_over(queued, time).await,
    }
}
