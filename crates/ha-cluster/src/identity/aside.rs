//! Setting a node's data aside: what a cluster does not know that went on without this node is kept, in a directory of
//! its own, and the node begins anew as one that is about to join.
//!
//! ```text
//! slot-aside   the order, until it is carried out
//! slot-anew    from then until the new log has begun
//! aside-N/     what the node had in the life number N: log, snapshots, records, slots, and the identity
//! ```
//!
//! Each step may be repeated, so that a crash between any two of them does no harm.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ha_net::Incarnation;
use serde::{Deserialize, Serialize};

use super::text::Content;
use super::{
    IDENTITY_BYTES_MAX, IDENTITY_FILE, Identity, IdentityError, REPLICATION_DIRECTORY, SNAPSHOT_DIRECTORY, SlotError,
    WAL_DIRECTORY, slot,
};
use crate::codec;
use crate::disk::{Disk, LOCK_FILE, perform, read_file, replace_file};
use crate::lineage::Lineage;

/// The slot that holds the order.
const ASIDE: &str = "aside";
/// The slot that says that the log is new.
const ANEW: &str = "anew";
/// The slot that says how this node's cluster was recovered by force, once it was.
const LINEAGE: &str = "lineage";

/// What is ordered.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    /// In which life; it names the directory.
    incarnation: u64,
    /// Of the cluster to join.
    lineage: Lineage,
}

/// Where what a node had in one of its lives is set aside.
pub(crate) fn directory_of(data_dir: &Path, life: Incarnation) -> PathBuf {
    data_dir.join(format!("aside-{}", life.0))
}

impl Identity {
    /// Orders that everything is set aside with the next start, to join a cluster of this lineage anew.
    pub(crate) async fn order_aside(&self, lineage: Lineage) -> Result<(), SlotError> {
        let order = Order { incarnation: self.incarnation().0, lineage };
        self.write_slot(ASIDE, codec::record(&order)).await
    }

    /// Whether this node's log is one that has yet to begin.
    pub(crate) async fn begins_anew(&self) -> Result<bool, SlotError> {
        Ok(self.read_slot(ANEW).await?.is_some_and(|told| !told.is_empty()))
    }

    /// The log has begun.
    pub(crate) async fn has_begun(&self) -> Result<(), SlotError> {
        self.write_slot(ANEW, Bytes::new()).await
    }

    /// How this node's cluster was recovered by force.
    pub(crate) async fn lineage(&self) -> Result<Lineage, SlotError> {
        let generation = self.generation();
        let kept = self.read_slot(LINEAGE).await?.and_then(|bytes| codec::decode::<Lineage>(&bytes).ok());
        // A recovery that was cut short is in the lineage, and not yet in the generation.
        let kept = kept.map(|kept| if kept.generation == generation + 1 { kept.without_the_last() } else { kept });
        let kept = kept.filter(|lineage| lineage.generation == generation);
        Ok(kept.unwrap_or(Lineage::of_generation(generation)))
    }

    /// Remembers it; to be done before the generation is saved.
    pub(crate) async fn save_lineage(&self, lineage: &Lineage) -> Result<(), SlotError> {
        if lineage.generation == 0 {
            return Ok(());
        }
        self.write_slot(LINEAGE, codec::record(lineage)).await
    }
}

/// Carries the order out, if there is one: sets everything in a data directory aside. To be called before anything in it
/// is opened; no process may be using it. Returns the directory in which everything is now.
pub async fn put_aside(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<Option<PathBuf>, IdentityError> {
    let failed = |error| IdentityError::from_io(data_dir, error);
    let path = data_dir.join(slot_file(ASIDE));
    // Without a file there is nothing to do, and nothing to be locked.
    let order = match slot::read(&**disk, &path, &slot_file(ASIDE)).await {
        Ok(Some(order)) if !order.is_empty() => order,
        Ok(_) => return Ok(None),
        Err(SlotError::Io(error)) => return Err(failed(error)),
        Err(error) => return Err(failed(io::Error::other(error.to_string()))),
    };
    let order: Order = codec::decode(&order).map_err(|error| failed(io::Error::other(error.to_string())))?;
    let lock = disk.lock_dir(data_dir).map_err(|error| IdentityError::from_lock(data_dir, error))?;
    let target = directory_of(data_dir, Incarnation(order.incarnation));
    let work = {
        let (disk, data_dir, target) = (disk.clone(), data_dir.to_owned(), target.clone());
        async move { carry_out(&*disk, &data_dir, &target, &order).await }
    };
    perform(disk, "aside", work).await.map_err(failed)?.map_err(failed)?;
    drop(lock);
    Ok(Some(target))
}

async fn carry_out(disk: &dyn Disk, data_dir: &Path, target: &Path, order: &Order) -> io::Result<()> {
    disk.create_dir_all(target).await?;
    for part in [WAL_DIRECTORY, SNAPSHOT_DIRECTORY, REPLICATION_DIRECTORY] {
        move_files(disk, &data_dir.join(part), &target.join(part)).await?;
    }
    let stays = [ASIDE, ANEW, LINEAGE].map(slot_file);
    for name in names_in(disk, data_dir).await? {
        let is_kept = stays.iter().any(|kept| name == Path::new(kept));
        if slot::is_slot(&name) && !is_kept {
            disk.rename(&data_dir.join(&name), &target.join(&name)).await?;
        }
    }
    disk.sync_dir(target).await?;
    disk.sync_dir(data_dir).await?;

    let path = data_dir.join(IDENTITY_FILE);
    let identity = read_file(disk, &path, IDENTITY_BYTES_MAX).await?.ok_or(io::ErrorKind::NotFound)?;
    let mut content = Content::decode(&path, &identity).map_err(|error| io::Error::other(error.to_string()))?;
    if !names_in(disk, target).await?.iter().any(|name| name == Path::new(IDENTITY_FILE)) {
        replace_file(disk, target, IDENTITY_FILE, &identity).await?;
    }
    write_slot(disk, data_dir, ANEW, b"yes").await?;
    write_slot(disk, data_dir, LINEAGE, &codec::record(&order.lineage)).await?;
    content.generation = order.lineage.generation;
    replace_file(disk, data_dir, IDENTITY_FILE, &content.encode()).await?;
    // Last: until then the next start does it all again.
    disk.remove(&data_dir.join(slot_file(ASIDE))).await?;
    disk.sync_dir(data_dir).await
}

async fn move_files(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let names = names_in(disk, from).await?;
    if names.is_empty() {
        return Ok(());
    }
    disk.create_dir_all(to).await?;
    for name in names.iter().filter(|name| *name != Path::new(LOCK_FILE)) {
        disk.rename(&from.join(name), &to.join(name)).await?;
    }
    disk.sync_dir(to).await?;
    disk.sync_dir(from).await
}

/// The names in a directory; none where there is no directory.
async fn names_in(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<PathBuf>> {
    match disk.list(directory).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}

fn slot_file(name: &str) -> String {
    format!("{}{name}", slot::PREFIX)
}

async fn write_slot(disk: &dyn Disk, data_dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let file = slot_file(name);
    let sealed = slot::seal(&file, content).map_err(|error| io::Error::other(error.to_string()))?;
    replace_file(disk, data_dir, &file, &sealed).await
}

#[cfg(test)]
mod tests {
    use ha_net::ClusterId;

    use super::super::Expected;
    use super::*;
    use crate::disk::faulty::{FaultyDisk, Operation, Survival};
    use crate::lineage::Fork;

    const DATA: &str = "/data";

    fn path(name: &str) -> PathBuf {
        Path::new(DATA).join(name)
    }

    fn lineage() -> Lineage {
        let by = "node-2".parse().unwrap();
        Lineage::default().and(Fork { generation: 1, term: 3, index: 9, by, applied_at: Some(7), forked_at: Some(8) })
    }

    async fn open(disk: &FaultyDisk) -> Identity {
        let node_id = Some("node-1".parse().unwrap());
        let expected = Expected { node_id, cluster_name: "c".to_owned(), seed: Some(1) };
        Identity::open(Arc::new(disk.clone()), DATA.into(), expected).await.unwrap()
    }

    async fn write(disk: &FaultyDisk, name: &str) {
        let path = path(name);
        disk.create_dir_all(path.parent().unwrap()).await.unwrap();
        let file = disk.open(&path, true).await.unwrap();
        file.write_at(name.as_bytes(), 0).await.unwrap();
        file.sync_data().await.unwrap();
        disk.sync_dir(path.parent().unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn a_recovery_that_was_cut_short_is_not_counted_yet() {
        let disk = FaultyDisk::default();
        let identity = open(&disk).await;
        identity.save_lineage(&lineage()).await.unwrap();
        identity.save_cluster(ClusterId(7), 1).await.unwrap();
        let next = Fork { generation: 2, ..lineage().forks.remove(0) };
        identity.save_lineage(&lineage().and(next)).await.unwrap();
        assert_eq!(identity.lineage().await.unwrap(), lineage());
    }

    /// A node with something in each place, which is told to set it aside.
    async fn told(disk: &FaultyDisk) {
        let identity = open(disk).await;
        identity.save_cluster(ClusterId(7), 0).await.unwrap();
        for name in ["wal/1", "wal/2", "snapshots/5", "replication/records"] {
            write(disk, name).await;
        }
        identity.write_slot("disk", Bytes::from_static(b"number")).await.unwrap();
        identity.order_aside(lineage()).await.unwrap();
    }

    async fn expect_all_aside(disk: &FaultyDisk) {
        for name in ["wal/1", "wal/2", "snapshots/5", "replication/records"] {
            let kept = disk.content(&path("aside-1").join(name));
            assert_eq!(kept.as_deref(), Some(name.as_bytes()), "{name}");
            assert_eq!(disk.content(&path(name)), None, "{name} is in both places");
        }
        assert!(
            disk.content(&path("aside-1/slot-disk")).is_some() && disk.content(&path("aside-1/identity")).is_some()
        );
        let identity = open(disk).await;
        assert_eq!((identity.node_id().as_str(), identity.incarnation().0), ("node-1", 2));
        assert_eq!((identity.cluster_id(), identity.generation()), (Some(ClusterId(7)), 1));
        assert_eq!(identity.lineage().await.unwrap(), lineage());
        assert_eq!(identity.read_slot("disk").await.unwrap(), None, "it is the same disk to others");
        assert!(identity.begins_anew().await.unwrap());
        identity.has_begun().await.unwrap();
        assert!(!identity.begins_anew().await.unwrap());
    }

    #[tokio::test]
    async fn nothing_happens_unless_it_was_ordered() {
        let disk = FaultyDisk::default();
        let seam: Arc<dyn Disk> = Arc::new(disk.clone());
        assert_eq!(put_aside(&seam, Path::new(DATA)).await.unwrap(), None, "there is not even a directory");
        drop(open(&disk).await);
        let before = disk.paths();
        assert_eq!(put_aside(&seam, Path::new(DATA)).await.unwrap(), None);
        assert_eq!(disk.paths(), before);
    }

    #[tokio::test]
    async fn everything_is_set_aside_once() {
        let disk = FaultyDisk::default();
        told(&disk).await;
        let seam: Arc<dyn Disk> = Arc::new(disk.clone());
        assert_eq!(put_aside(&seam, Path::new(DATA)).await.unwrap(), Some(path("aside-1")));
        write(&disk, "wal/1-of-the-new-log").await;
        assert_eq!(put_aside(&seam, Path::new(DATA)).await.unwrap(), None);
        assert!(disk.content(&path("wal/1-of-the-new-log")).is_some());
        expect_all_aside(&disk).await;
    }

    #[tokio::test]
    async fn a_crash_at_any_point_loses_nothing() {
        for kind in [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir, Operation::Open] {
            for at in 1..16 {
                let disk = FaultyDisk::default();
                told(&disk).await;
                disk.fail(kind, at, io::ErrorKind::Other);
                // A failure of the last step of all leaves nothing to do, and is told all the same.
                let _ = put_aside(&(Arc::new(disk.clone()) as Arc<dyn Disk>), Path::new(DATA)).await;
                for seed in 0..3 {
                    let disk = disk.fork().crash(Survival::Scattered(seed));
                    put_aside(&(Arc::new(disk.clone()) as Arc<dyn Disk>), Path::new(DATA)).await.unwrap();
                    expect_all_aside(&disk).await;
                }
            }
        }
    }
}
