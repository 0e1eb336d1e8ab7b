//! What the secret and TLS cost a durable proposal of 64 clients: three clusters stand side by side, and the same load
//! goes to one after the other, round after round, so that what else the machine does falls on all of them alike.

use std::time::Duration;

use xtask::local_cluster::{Certificates, NodeSpec, Settings};

use super::cluster::Bench;
use super::figures::{Report, milliseconds};
use super::proposals::{Load, WARM_UP, propose};
use crate::commands::writers::Writers;
use crate::ui::Step;

/// Clients of the load.
const CLIENTS: usize = 64;
/// What was asked for: how much less may be done, as a share of what is done without.
const SECRET_COST_MOST: f64 = 0.10;
const TLS_COST_MOST: f64 = 0.20;
/// Any secret; what it costs does not depend on it.
const SECRET: &str = "f6b0c1de4a7f39c2815d";
const IDS: [&str; 3] = ["node-1", "node-2", "node-3"];

struct Side {
    name: &'static str,
    writers: Writers,
    leader: usize,
    loads: Vec<Load>,
}

/// Measures it.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir_in(&bench.folder)?;
    let certificates = Certificates::create(&bench.ha, &folder.path().join("certs"), &IDS, 30)?;
    let secret = |spec: &mut NodeSpec| drop(spec.options.insert("CLUSTER_SECRET".to_owned(), SECRET.to_owned()));
    let tls = |spec: &mut NodeSpec| spec.options.extend(certificates.options(&spec.node_id.clone()));
    let mut step = Step::begin("security");
    step.update(0, bench.rounds, "forming three clusters");
    let mut sides = [
        side(bench, "neither", |_| ()).await?,
        side(bench, "the secret", secret).await?,
        side(bench, "TLS", tls).await?,
    ];
    for round in 0..=bench.rounds {
        step.update(round, bench.rounds, "64 clients, one cluster after the other");
        for side in &mut sides {
            let time = if round == 0 { WARM_UP } else { bench.load };
            let load = propose(&mut side.writers, side.leader, CLIENTS, time).await?;
            if round > 0 {
                side.loads.push(load);
            }
        }
    }
    step.end("done");
    let [neither, others @ ..] = &sides;
    for (side, most) in others.iter().zip([SECRET_COST_MOST, TLS_COST_MOST]) {
        let mut ratios: Vec<f64> =
            neither.loads.iter().zip(&side.loads).map(|(without, with)| with.rate / without.rate).collect();
        ratios.sort_by(f64::total_cmp);
        let cost = |ratio: Option<&f64>| 1.0 - ratio.copied().unwrap_or_default();
        let (median, worst) = (cost(ratios.get(ratios.len() / 2)), cost(ratios.first()));
        let measured = format!("{:.1} % (worst round {:.1} %)", median * 100.0, worst * 100.0);
        let figure = format!("{CLIENTS} clients, proposals that {} costs", side.name);
        report.judge(&figure, measured, format!("at most {:.0} %", most * 100.0), median <= most);
    }
    for side in &sides {
        let middle = |value: fn(&Load) -> f64| {
            let mut values: Vec<f64> = side.loads.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let p99 = milliseconds(Duration::from_secs_f64(middle(|load| load.p99.as_secs_f64())));
        report.tell(&format!("  with {}", side.name), format!("{:.0} a second (p99 {p99})", middle(|load| load.rate)));
    }
    Ok(())
}

async fn side(
    bench: &Bench,
    name: &'static str,
    give: impl FnMut(&mut NodeSpec),
) -> Result<Side, Box<dyn std::error::Error>> {
    let writers = Writers::start_each(Settings::new(3), &bench.bench_node, &bench.folder, give).await?;
    let leader = writers.cluster.wait_leader().await?;
    Ok(Side { name, writers, leader, loads: Vec::new() })
}
