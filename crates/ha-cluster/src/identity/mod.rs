//! Who this node is: the small files at the top of its data directory.
//!
//! ```text
//! LOCK        held by the running process
//! identity    node id, cluster, incarnation, generation
//! slot-NAME   small states that must survive, such as what formation has promised
//! aside-N     what it had before it was left behind
//! ```
//!
//! Each is replaced as a whole and synced, so that after a crash there is either the old one or the new one.

mod aside;
mod error;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod slot;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ha_net::{ClusterId, Incarnation, NodeId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use crate::disk::{DRAFT_SUFFIX, DirLock, Disk, LOCK_FILE, perform, read_file, replace_file};
pub(crate) use aside::directory_of as aside_directory;
pub use aside::put_aside;
pub use error::{IdentityError, SlotError};
pub use slot::{SLOT_BYTES_MAX, SLOT_NAME_BYTES_MAX};
use text::Content;

/// The file that says who this node is.
const IDENTITY_FILE: &str = "identity";

/// An identity file is far shorter.
const IDENTITY_BYTES_MAX: u64 = 64 * 1024;

/// What may be in a directory that is not a node's yet. The last one is put there by file systems.
const HARMLESS: [&str; 2] = [LOCK_FILE, "lost+found"];

/// The log of the node, below its data directory.
const WAL_DIRECTORY: &str = "wal";

/// The snapshots of the node, below its data directory.
const SNAPSHOT_DIRECTORY: &str = "snapshots";
/// The records of replication: good for nothing without the log that they go with.
pub const REPLICATION_DIRECTORY: &str = "replication";

/// Who the configuration says this node is.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Generated once, and kept, when `None`.
    pub node_id: Option<NodeId>,
    /// The name of the cluster.
    pub cluster_name: String,
    /// The source of a generated id, different on each node; the system's when `None`.
    pub seed: Option<u64>,
}

/// Who this node is, and the right to be it: the data directory stays locked until the last clone is dropped. Cheap to
/// clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    created: bool,
    /// What is on disk.
    content: Mutex<Content>,
    /// One change at a time: held while files are replaced.
    changing: tokio::sync::Mutex<()>,
    _lock: DirLock,
}

impl Identity {
    /// Takes a data directory: finds out whose it is, or makes it this node's when it is empty, and durably counts this
    /// start before anything else happens. A directory that is refused is left as it was.
    pub async fn open(disk: Arc<dyn Disk>, directory: PathBuf, expected: Expected) -> Result<Self, IdentityError> {
        let work = {
            let (disk, directory) = (disk.clone(), directory.clone());
            async move { take(&*disk, &directory, &expected).await }
        };
        let taken = perform(&disk, "identity", work).await;
        let (content, created, lock) = taken.map_err(|error| IdentityError::from_io(&directory, error))??;
        let (content, changing) = (Mutex::new(content), tokio::sync::Mutex::new(()));
        Ok(Self { inner: Arc::new(Inner { disk, directory, created, content, changing, _lock: lock }) })
    }

    fn content(&self) -> Content {
        self.inner.content.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The id of this node.
    pub fn node_id(&self) -> NodeId {
        self.content().node_id
    }

    /// The name of its cluster.
    pub fn cluster_name(&self) -> String {
        self.content().cluster_name
    }

    /// The id of its cluster, once it belongs to one that has formed.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.content().cluster_id
    }

    /// How often the node has started, this time included.
    pub fn incarnation(&self) -> Incarnation {
        self.content().incarnation
    }

    /// How often its cluster was recovered by force.
    pub fn generation(&self) -> u64 {
        self.content().generation
    }

    /// This start made the identity: the node has never run before.
    pub fn is_new(&self) -> bool {
        self.inner.created
    }

    /// Where the log belongs.
    pub fn wal_directory(&self) -> PathBuf {
        self.inner.directory.join(WAL_DIRECTORY)
    }

    /// Where snapshots belong.
    pub fn snapshot_directory(&self) -> PathBuf {
        self.inner.directory.join(SNAPSHOT_DIRECTORY)
    }

    /// Remembers the cluster that this node belongs to; durable when it returns. A node never changes its cluster, and
    /// a generation never goes back: that is an `InvalidInput` error.
    ///
    /// Not undone when the future is dropped, but then it is not known whether it was done.
    pub async fn save_cluster(&self, cluster_id: ClusterId, generation: u64) -> io::Result<()> {
        let _changing = self.inner.changing.lock().await;
        let mut content = self.content();
        if content.cluster_id.is_some_and(|known| known != cluster_id) || generation < content.generation {
            let message = format!(
                "this node belongs to cluster {} in generation {}, and cannot change to {cluster_id} in {generation}",
                content.cluster_id.map_or_else(|| "none".to_owned(), |known| known.to_string()),
                content.generation,
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        content.cluster_id = Some(cluster_id);
        content.generation = generation;
        let inner = self.inner.clone();
        let work = async move {
            replace_file(&*inner.disk, &inner.directory, IDENTITY_FILE, &content.encode()).await?;
            *inner.content.lock().unwrap_or_else(PoisonError::into_inner) = content;
            Ok(())
        };
        perform(&self.inner.disk, "identity", work).await?
    }

    /// What was written last under a name; `None` when nothing was.
    pub async fn read_slot(&self, name: &str) -> Result<Option<Bytes>, SlotError> {
        let file = slot::file_of(name)?;
        let inner = self.inner.clone();
        let work = async move { slot::read(&*inner.disk, &inner.directory.join(&file), &file).await };
        perform(&self.inner.disk, "slot", work).await?
    }

    /// Replaces what is kept under a name of at most [`SLOT_NAME_BYTES_MAX`] characters `a-z 0-9 -`; durable when it
    /// returns. At most [`SLOT_BYTES_MAX`] bytes.
    ///
    /// Not undone when the future is dropped, but then it is not known whether it was done.
    pub async fn write_slot(&self, name: &str, content: Bytes) -> Result<(), SlotError> {
        let file = slot::file_of(name)?;
        let sealed = slot::seal(&file, &content)?;
        let _changing = self.inner.changing.lock().await;
        let inner = self.inner.clone();
        let work = async move { replace_file(&*inner.disk, &inner.directory, &file, &sealed).await };
        Ok(perform(&self.inner.disk, "slot", work).await??)
    }
}

async fn take(
    disk: &dyn Disk,
    directory: &Path,
    expected: &Expected,
) -> Result<(Content, bool, DirLock), IdentityError> {
    let failed = |error| IdentityError::from_io(directory, error);
    text::check_name(&expected.cluster_name)?;
    disk.create_dir_all(directory).await.map_err(failed)?;
    refuse_strangers(disk, directory).await?;
    let lock = disk.lock_dir(directory).map_err(|error| IdentityError::from_lock(directory, error))?;
    // Now for certain: before the lock, another process may have been at work.
    refuse_strangers(disk, directory).await?;

    let path = directory.join(IDENTITY_FILE);
    let found = read_file(disk, &path, IDENTITY_BYTES_MAX).await.map_err(failed)?;
    let created = found.is_none();
    let mut content = match found {
        Some(bytes) => Content::decode(&path, &bytes)?,
        None => Content::new(expected.node_id.clone().map_or_else(|| generate(expected.seed), Ok)?, expected),
    };
    content.check(directory, expected)?;
    content.incarnation.0 += 1;
    replace_file(disk, directory, IDENTITY_FILE, &content.encode()).await.map_err(failed)?;
    Ok((content, created, lock))
}

/// Refuses a directory that holds something, but no identity.
async fn refuse_strangers(disk: &dyn Disk, directory: &Path) -> Result<(), IdentityError> {
    let names = disk.list(directory).await.map_err(|error| IdentityError::from_io(directory, error))?;
    if names.iter().any(|name| name == Path::new(IDENTITY_FILE)) {
        return Ok(());
    }
    let draft = format!("{IDENTITY_FILE}{DRAFT_SUFFIX}");
    let is_harmless = |name: &Path| name == Path::new(&draft) || HARMLESS.iter().any(|known| name == Path::new(known));
    let is_ours = |name: &Path| {
        [WAL_DIRECTORY, SNAPSHOT_DIRECTORY, REPLICATION_DIRECTORY].iter().any(|known| name == Path::new(known))
            || slot::is_slot(name)
    };
    let directory = directory.to_owned();
    match names.iter().find(|name| is_ours(name)).or_else(|| names.iter().find(|name| !is_harmless(name))) {
        None => Ok(()),
        Some(name) if is_ours(name) => Err(IdentityError::Gone { directory, name: name.clone() }),
        Some(name) => Err(IdentityError::Foreign { directory, name: name.clone() }),
    }
}

/// A new id: 40 random bits, so that among a thousand nodes two are equal once in two million clusters.
fn generate(seed: Option<u64>) -> Result<NodeId, IdentityError> {
    const LETTERS: [u8; 32] = *b"abcdefghijklmnopqrstuvwxyz234567";
    let mut rng = seed.map_or_else(rand::make_rng, StdRng::seed_from_u64);
    let suffix: String = (0..8).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect();
    format!("node-{suffix}").parse().map_err(|_| IdentityError::ClusterName { name: suffix })
}

#[cfg(test)]
mod tests;
