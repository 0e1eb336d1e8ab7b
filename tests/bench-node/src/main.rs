//! A node of a cluster with clients inside it, for measurements and for chaos: it proposes through the Rust API, as a
//! program does that embeds `ha-cluster`. It is configured by the same environment as `ha run` and serves the same
//! HTTP; what its clients do is told on standard input, a line of JSON each. It ends when its input does.

mod acknowledged;
mod ledger;
mod records;
mod state;
mod talk;
mod writers;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ha_cluster::{Cluster, Machines, Seams};
use ha_config::Config;
use ha_replication::Replication;
use ha_runtime::ha_state::{self, State, Store};
use ha_runtime::{ClusterHandle, Ha, ReplicationHandle, Rooms, huge_pages};
use mimalloc::MiMalloc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};

use crate::acknowledged::Acknowledged;
use crate::ledger::Ledger;
use crate::talk::Talk;
use crate::writers::Bench;

/// As `ha` has.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// As `ha run` has.
const WORKER_THREADS: usize = 1;

fn main() -> Result<(), Box<dyn Error>> {
    huge_pages::hold_back();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()?;
    runtime.block_on(node())
}

async fn node() -> Result<(), Box<dyn Error>> {
    tokio::spawn(huge_pages::allow_once_large());
    let config = Config::builder().with_env()?;
    let listen = SocketAddr::new(config.http.address, config.http.port);
    let http = ha_http::Config { listen, ..ha_http::Config::default() }.within(ha_http::make_room());
    let door = ha_http::listen(http).await?;
    let (seams, certificate) = ha_runtime::guarded(&config, Seams::default()).await?;
    let mut machines = Machines::new().with(Ledger::default()).with(Store::new());
    let mut opened = None;
    if config.replication.enabled {
        let (records, copy) =
            ha_replication::open(ha_runtime::replication_config(&config)?, seams.disk.clone()).await?;
        machines = machines.with(records);
        opened = Some(copy);
    }
    let cluster = ha_cluster::start(ha_runtime::cluster_config(&config)?, seams.clone(), machines).await?;
    let state = ha_state::start(ha_state::Config::default(), &cluster, seams.clock)?;
    let replication = opened.map(|copy| copy.start(cluster.clone())).transpose()?;
    let rooms = Rooms { cluster: true, state: true, replication: replication.is_some(), ..Rooms::default() };
    let mut ha = Ha::assemble(rooms, ClusterHandle::new(Arc::new(cluster.clone()))).with_state(state.clone());
    ha = ha.with_certificate(certificate);
    if let Some(replication) = &replication {
        ha = ha.with_replication(ReplicationHandle::new(replication.clone()));
    }
    let server = door.serve(ha.clone());
    converse(&cluster, state, replication).await?;
    ha.stop().await;
    server.stop().await;
    Ok(())
}

async fn converse(cluster: &Cluster, state: State, replication: Option<Replication>) -> Result<(), Box<dyn Error>> {
    let node_id = cluster.watch().borrow().node_id.to_string();
    let log = cluster.replicated::<Ledger>().ok_or("the ledger is not on the log")?;
    let bench = Bench { node_id, log, acknowledged: Acknowledged::open()?, writers: AtomicU64::new(0) };
    let mut talk = Talk::new(Arc::new(bench), state, replication);
    let mut lines = BufReader::new(stdin()).lines();
    let mut answers = stdout();
    while let Some(line) = lines.next_line().await? {
        answers.write_all(format!("{}\n", talk.answer(&line).await).as_bytes()).await?;
        answers.flush().await?;
    }
    Ok(())
}
