//! Opens a copy, and starts it once the cluster runs.

use std::sync::Arc;

use ha_cluster::Cluster;
use ha_cluster::disk::Disk;
use tokio_util::sync::CancellationToken;

use crate::copy::Copy;
use crate::gate::{Gate, ROOM};
use crate::held::Rules;
use crate::keeper::Keeper;
use crate::lead::{Known, Leader};
use crate::loose::{LooseCopy, Named, Seat};
use crate::quorum::Quorum;
use crate::remote::Remote;
use crate::replication::{Inner, Replication};
use crate::ship::Shipper;
use crate::store::Store;
use crate::{Config, ConfigError, Records, StoreError, fetch, serve};

/// Freed memory that the process may keep.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// A copy that is open, and not yet part of a cluster.
pub struct Opened {
    config: Config,
    disk: Arc<dyn Disk>,
    copy: Copy,
}

/// Why a copy cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Settings that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The disk, or what is on it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The records are not on the cluster's log: [`Records`] was not given to [`ha_cluster::start`].
    #[error("the records were not given to the cluster when it was started")]
    NotOnLog,
}

/// Opens the records of this node: the machine goes to [`ha_cluster::start`], the rest to [`Opened::start`]. A file
/// that is damaged is set aside, and what it held is fetched from the other copies.
pub async fn open(config: Config, disk: Arc<dyn Disk>) -> Result<(Records, Opened), OpenError> {
    config.validate()?;
    keep_freed_memory();
    let (store, writer) = Store::open(disk.clone(), config.directory.clone(), config.cache_bytes).await?;
    let state = store.state()?;
    let copy = Copy::new(store, &state, &config);
    let keeper = Keeper::new(copy.clone(), writer);
    let failed = |error: std::io::Error| StoreError::Disk {
        directory: config.directory.clone(),
        reason: format!("no worker could be started: {error}"),
    };
    disk.run("records", Box::pin(keeper.run())).map_err(failed)?;
    Ok((Records::new(copy.clone()), Opened { config, disk, copy }))
}

impl Opened {
    /// Takes part in a cluster that was started with the machine.
    pub fn start(self, cluster: Cluster) -> Result<Replication, OpenError> {
        let Self { config, disk, copy } = self;
        let log = cluster.replicated::<Records>().ok_or(OpenError::NotOnLog)?;
        let rules = Rules { on_sync_loss: config.on_sync_loss, quorum_size: config.quorum_size };
        let gate = Gate::new(cluster.clone(), copy.clone(), rules);
        let shipper = Shipper::start(log.clone(), gate.clone(), config.batch_items_max);
        let (known, stopped) = (Known::default(), CancellationToken::new());
        let (me, life) = {
            let view = cluster.watch().borrow().clone();
            (view.node_id.clone(), view.incarnation.0)
        };
        let loose = config.is_loose();
        let loose = loose.then(|| LooseCopy::new(copy.clone(), me, life, &config)).transpose()?;
        let quorum = loose.as_ref().filter(|_| config.is_leaderless_quorum());
        let quorum = quorum.map(|loose| Quorum::new(cluster.clone(), loose.clone(), &config));
        let named = Named::default();
        let seat = config.has_loose_master().then(|| Seat::new(disk.clone(), &config.directory, named.clone()));
        if let Some(loose) = &loose {
            if quorum.is_none() {
                until(&stopped, crate::loose::push(cluster.clone(), loose.clone(), config.clone()));
            }
            until(&stopped, crate::loose::compare(cluster.clone(), loose.clone(), seat.clone(), config.clone()));
        } else {
            until(&stopped, fetch::run(cluster.clone(), copy.clone(), config.clone()));
        }
        let leader = Leader {
            cluster: cluster.clone(),
            log: log.clone(),
            copy: copy.clone(),
            known: known.clone(),
            loose: loose.clone(),
            seat: seat.clone(),
            config: config.clone(),
        };
        until(&stopped, leader.run());
        until(&stopped, keep_stored(copy.clone(), disk.clone(), config.clone()));
        let remote = Remote::new(cluster.clone());
        let inner = Inner {
            config,
            cluster,
            disk,
            log,
            copy,
            gate,
            loose,
            quorum,
            seat,
            named,
            shipper,
            remote,
            known,
            stopped,
        };
        let replication = Replication::new(inner);
        replication.inner.cluster.serve(ROOM, serve::server(Arc::downgrade(&replication.inner)));
        Ok(replication)
    }

    /// The node whose copy it is has no cluster after all: writes what waits, and closes.
    pub async fn close(self) {
        self.copy.stop();
        self.copy.ended().await;
    }
}

/// What waits for the store is allocated and freed by the megabyte. An allocator that gives freed memory back to the
/// system at once takes it again page by page; the one of glibc learns from the first large piece that is freed to keep
/// about twice as much. No page of this piece is touched.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT_BYTES / 2)));
}

fn until(stopped: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let stopped = stopped.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = stopped.cancelled() => {}
            () = work => {}
        }
    });
}

/// Sends what waits to the store now and then, and watches the room on the disk.
async fn keep_stored(copy: Copy, disk: Arc<dyn Disk>, config: Config) {
    loop {
        tokio::time::sleep(config.store_interval).await;
        copy.flush();
        let (disk_, directory) = (disk.clone(), config.directory.clone());
        // Asking a disk that hangs must not hold anybody up.
        let free = ha_cluster::disk::perform(&disk, "room", async move { disk_.free_bytes(&directory) }).await;
        if let Ok(Ok(free)) = free {
            let full = free < config.free_bytes_min;
            if full != copy.is_full() {
                let directory = config.directory.display();
                match full {
                    true => tracing::error!(%directory, free, "the disk is nearly full: no more writes are taken"),
                    false => tracing::info!(%directory, free, "there is room on the disk again: writes are taken"),
                }
            }
            copy.set_full(full);
        }
    }
}
