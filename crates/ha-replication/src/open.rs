//! Opens a copy, and starts it once the cluster runs.

use std::path::PathBuf;
use std::sync::Arc;

use ha_cluster::Cluster;
use ha_cluster::disk::Disk;
use tokio_util::sync::CancellationToken;

use crate::copy::Copy;
use crate::gate::{Gate, ROOM};
use crate::held::Rules;
use crate::keeper::Keeper;
use crate::known::Known;
use crate::lead::Leader;
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
    /// The records were written in an order that is not the one of the settings: by a leader, or without one. Copies
    /// would not find what is there.
    #[error(
        "the records in {} were written {}, and REPLICATION_CONSISTENCY with REPLICATION_MODE asks for records {}: set \
         them as they were, or begin a new cluster and write the records to it over HTTP (docs/guide/replication.md)",
        directory.display(), ordered(*is_ordered), ordered(!is_ordered)
    )]
    OtherOrder {
        /// Where they are.
        directory: PathBuf,
        /// Whether a leader ordered those that are there.
        is_ordered: bool,
    },
    /// The records are not on the cluster's log: [`Records`] was not given to [`ha_cluster::start`].
    #[error("the records were not given to the cluster when it was started")]
    NotOnLog,
}

fn ordered(is_ordered: bool) -> &'static str {
    if is_ordered { "in an order that a leader gives" } else { "without an order" }
}

/// Opens the records of this node: the machine goes to [`ha_cluster::start`], the rest to [`Opened::start`]. A file
/// that is damaged is set aside, and what it held is fetched from the other copies.
pub async fn open(config: Config, disk: Arc<dyn Disk>) -> Result<(Records, Opened), OpenError> {
    config.validate()?;
    keep_freed_memory();
    let (store, writer) = Store::open(disk.clone(), config.directory.clone(), config.cache_bytes).await?;
    let state = store.state()?;
    if let Some(is_ordered) = store.is_ordered().filter(|is_ordered| *is_ordered == config.is_loose()) {
        return Err(OpenError::OtherOrder { directory: config.directory, is_ordered });
    }
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
    let mut sent = 0;
    loop {
        tokio::time::sleep(config.store_interval).await;
        let is_quiet = copy.memory().sent() == sent;
        // Layers that fill up go by themselves: a part of one beside them would cost the disk two syncs more.
        if is_quiet || copy.trouble().borrow().is_some() {
            copy.flush();
        }
        sent = copy.memory().sent();
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use ha_cluster::Machine;
    use ha_cluster::disk::faulty::FaultyDisk;

    use super::*;
    use crate::message::Command;
    use crate::packed::Packed;
    use crate::record::Kept;
    use crate::{Change, Consistency, Key, Mode, Version};

    fn config(mode: Mode, consistency: Consistency) -> Config {
        Config { directory: "/data/replication".into(), mode, consistency, ..Config::default() }
    }

    #[tokio::test]
    async fn records_that_a_leader_ordered_are_not_opened_without_one_nor_the_other_way_round() {
        let ordered = [(Mode::MasterSlave, Consistency::Quorum), (Mode::MultiMaster, Consistency::Strong)];
        let loose = [
            (Mode::MasterSlave, Consistency::Eventual),
            (Mode::MultiMaster, Consistency::Eventual),
            (Mode::MultiMaster, Consistency::Quorum),
        ];
        for (these, others) in [(&ordered[..], &loose[..]), (&loose[..], &ordered[..])] {
            let disk = Arc::new(FaultyDisk::default());
            let reopened = async |(mode, consistency)| open(config(mode, consistency), disk.clone()).await;
            for empty in [others, these].into_iter().flatten() {
                reopened(*empty).await.unwrap().1.close().await;
            }
            let (mut records, opened) = reopened(these[0]).await.unwrap();
            let key = Key::new("t", "1").unwrap();
            if opened.config.is_loose() {
                let version = Version { time: 7 << 16, tie: Version::STAMPED | 1 };
                opened.copy.change(|memory| {
                    memory.put_next(key, Kept { version, place: 0, data: None, past: Bytes::new() });
                });
            } else {
                let change = Change { key, data: Some(Bytes::from_static(b"1")) };
                let command = Command::WriteAll(Packed::of([&change].into_iter()));
                records.apply(ha_cluster::Applied { epoch: ha_cluster::Epoch(1), index: 1 }, command);
            }
            opened.close().await;
            drop(records);
            for other in others {
                let Err(error) = reopened(*other).await else { panic!("{other:?}") };
                let directory = "/data/replication".into();
                assert_eq!(error, OpenError::OtherOrder { directory, is_ordered: these == ordered });
            }
            for same in these {
                reopened(*same).await.unwrap().1.close().await;
            }
        }
    }

    #[tokio::test]
    async fn what_is_stored_stays_readable_while_the_disk_takes_nothing() {
        let disk = Arc::new(FaultyDisk::default());
        let config = config(Mode::MasterSlave, Consistency::Quorum);
        let (mut records, opened) = open(config.clone(), disk.clone()).await.unwrap();
        let key = |n: u64| Key::new("t", &n.to_string()).unwrap();
        let mut write = |n: u64, data: Vec<u8>| {
            let change = Change { key: key(n), data: Some(data.into()) };
            let command = Command::WriteAll(Packed::of([&change].into_iter()));
            records.apply(ha_cluster::Applied { epoch: ha_cluster::Epoch(n), index: n }, command);
            records.passed(n);
            opened.copy.flush();
        };
        write(1, b"before".to_vec());
        opened.copy.durable().wait_for(|index| *index > 0).await.unwrap();
        let file = config.directory.join(crate::store::FILE);
        disk.set_capacity(Some(disk.content(&file).unwrap().len() as u64));
        write(2, vec![0; 3 * 1024 * 1024]);
        let mut trouble = opened.copy.trouble();
        for _ in 0..3 {
            trouble.wait_for(Option::is_some).await.unwrap();
            opened.copy.flush();
            tokio::time::sleep(Duration::from_millis(20)).await;
            // While it tries again there is a moment in which the file is closed.
            let is_readable = async {
                while opened.copy.get(&key(1)).is_err() || !opened.copy.report().is_complete() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(9), is_readable).await.unwrap();
        }
        disk.set_capacity(None);
        opened.copy.flush();
        trouble.wait_for(Option::is_none).await.unwrap();
        opened.close().await;
    }
}
