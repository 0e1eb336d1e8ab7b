//! The seam between real and simulated disks.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
mod real;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

pub(crate) use real::LOCK_FILE;
pub use real::RealDisk;

/// A place that keeps files. Every call may block the thread it runs on: run callers through [`Disk::run`], except at
/// start, before the node serves anything.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for reading and writing, and creates it (readable by its owner only) when `create` is set. Never
    /// cuts what is there.
    fn open<'a>(&'a self, path: &'a Path, create: bool) -> BoxFuture<'a, io::Result<Box<dyn File>>>;

    /// Creates a directory and its parents (readable by their owner only), so that they are still there after a crash.
    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// The names in a directory, without the directory's own path, sorted.
    fn list<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, io::Result<Vec<PathBuf>>>;

    /// Renames within one file system, replacing what was there.
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Removes a file.
    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Bytes still free below this directory.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;

    /// Takes the only right to use a data directory until the returned guard is dropped; fails at once when another
    /// holds it.
    fn lock_dir(&self, directory: &Path) -> Result<DirLock, LockError>;

    /// Runs a worker to its end where blocking is allowed: a thread of its own on a real machine, a task in simulation.
    /// An error means that the worker never ran.
    fn run(&self, name: &str, worker: BoxFuture<'static, ()>) -> io::Result<()>;

    /// Like [`Self::run`], for long work that may take longer yet: on a real machine whatever serves goes before it.
    fn run_aside(&self, name: &str, worker: BoxFuture<'static, ()>) -> io::Result<()> {
        self.run(name, worker)
    }
}

/// What addresses and lengths are multiples of in [`File::write_direct`], in bytes. Where a device or a file system has
/// larger blocks, what it refuses goes through the page cache.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Writes all bytes at an offset, growing the file when needed.
    fn write_at<'a>(&'a self, bytes: &'a [u8], offset: u64) -> BoxFuture<'a, io::Result<()>>;

    /// Like [`Self::write_at`], for much that is not read soon: whole blocks of [`DIRECT_ALIGNMENT`], at its multiples in
    /// memory and file, go past the page cache where the file system lets them. They are on their way to the disk at
    /// once, so that no later sync has to wait for all of them. Not durable before a sync either.
    fn write_direct<'a>(&'a self, bytes: &'a [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
        self.write_at(bytes, offset)
    }

    /// Fills the buffer from an offset; `UnexpectedEof` when the file is shorter.
    fn read_at<'a>(&'a self, buffer: &'a mut [u8], offset: u64) -> BoxFuture<'a, io::Result<()>>;

    /// Makes the bytes written so far durable (`fdatasync`).
    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>>;

    /// Says that what was written and synced will not be used soon, and need not stay in memory.
    fn forget_cached(&self) {}

    /// Says that these bytes will be used soon: a write of less than a block waits for the rest of it to be read.
    fn prefetch(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Cuts or extends.
    fn set_len(&self, bytes: u64) -> BoxFuture<'_, io::Result<()>>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether every call is done when its future is first polled, as it is where calls block. What cannot wait for a
    /// future (a library that wants plain reads and writes) uses such a file directly, and others through a copy.
    fn is_done_at_once(&self) -> bool {
        false
    }

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The right to use a data directory; ends when dropped, and with the process.
pub type DirLock = Box<dyn Send + Sync>;

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it.
    #[error("it is in use by {}", match .pid { Some(pid) => format!("process {pid}"), None => "another process".to_owned() })]
    Held {
        /// Its process id, when it could be read.
        pid: Option<u32>,
    },
    /// The lock file could not be used.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs one piece of work through [`Disk::run`] and waits for its result. When the waiting is cancelled, the work goes
/// on to its end.
pub async fn perform<T: Send + 'static>(
    disk: &Arc<dyn Disk>,
    name: &str,
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    performed(name, work, |worker| disk.run(name, worker)).await
}

/// Like [`perform`], through [`Disk::run_aside`].
pub async fn perform_aside<T: Send + 'static>(
    disk: &Arc<dyn Disk>,
    name: &str,
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    performed(name, work, |worker| disk.run_aside(name, worker)).await
}

async fn performed<T: Send + 'static>(
    name: &str,
    work: impl Future<Output = T> + Send + 'static,
    run: impl FnOnce(BoxFuture<'static, ()>) -> io::Result<()>,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    // The receiver is gone only when nobody waits for the result any more.
    run(Box::pin(async move { drop(sender.send(work.await)) }))?;
    receiver.await.map_err(|_| io::Error::other(format!("the worker {name} ended without a result")))
}

/// Reads a whole file of at most `bytes_max` bytes; `None` when there is none of that name.
pub(crate) async fn read_file(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, false).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.len()?;
    if length > bytes_max {
        let message = format!("{} has {length} bytes, more than the {bytes_max} expected", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut content = vec![0; length];
    file.read_at(&mut content, 0).await?;
    Ok(Some(content))
}

/// Replaces a file so that after a crash there is either the old one or the new one, whole. Durable when it returns.
pub(crate) async fn replace_file(disk: &dyn Disk, directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = directory.join(format!("{name}{DRAFT_SUFFIX}"));
    let file = disk.open(&draft, true).await?;
    file.set_len(0).await?;
    file.write_at(content, 0).await?;
    file.sync_data().await?;
    disk.rename(&draft, &directory.join(name)).await?;
    disk.sync_dir(directory).await
}

/// Ends the name of a file that is not finished yet.
pub(crate) const DRAFT_SUFFIX: &str = ".new";
