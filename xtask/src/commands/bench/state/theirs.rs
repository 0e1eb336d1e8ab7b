//! Three nodes of etcd, with clients outside.

use super::{Bench, Figure, Figures, VALUE_BYTES, WARM_UP};
use crate::commands::bench::etcd::Cluster;
use crate::commands::bench::outside::{Outside, RUN_IN};

/// Measures what of these figures etcd has.
pub(super) async fn measure(bench: &Bench, figures: &[Figure]) -> Result<Figures, Box<dyn std::error::Error>> {
    let cluster = Cluster::start(&bench.bench_load, &bench.folder).await?;
    let outside = |what, clients, queued_ms| Outside {
        kind: "etcd",
        addresses: cluster.clients(),
        what,
        clients,
        bytes: VALUE_BYTES,
        queued_ms,
    };
    outside("put", 64, 0).run(&bench.bench_load, RUN_IN).await?;
    let mut measured = Figures::new();
    for figure in figures {
        let (what, clients, queued_ms) = match figure {
            Figure::Put(clients) => ("put", *clients, 0),
            Figure::Get => ("get", 64, 0),
            Figure::Lock(clients) => ("lock", *clients, 0),
            Figure::HandOver(queued) => ("hand_over", 2, *queued),
            Figure::PutHttp | Figure::GetHttp | Figure::GetLocal => continue,
        };
        let outside = outside(what, clients, queued_ms);
        outside.run(&bench.bench_load, WARM_UP).await?;
        measured.insert(*figure, outside.run(&bench.bench_load, bench.load).await?);
    }
    Ok(measured)
}
