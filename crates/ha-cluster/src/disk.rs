//! The seam between real and simulated disks.

use std::io;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;

/// A place that keeps files. Every call may block the thread it runs on: run callers through [`Disk::run`], except at
/// start, before the node serves anything.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for reading and writing, and creates it (readable by its owner only) when `create` is set.
    fn open<'a>(&'a self, path: &'a Path, create: bool) -> BoxFuture<'a, io::Result<Box<dyn File>>>;

    /// Creates a directory and its parents.
    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// The names in a directory, sorted.
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
    /// process holds it.
    fn lock_dir(&self, directory: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// Runs a worker to its end where blocking is allowed: a thread of its own on a real machine, a task in simulation.
    fn run(&self, name: &str, worker: BoxFuture<'static, ()>);
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Writes all bytes at an offset, growing the file when needed.
    fn write_at<'a>(&'a self, bytes: &'a [u8], offset: u64) -> BoxFuture<'a, io::Result<()>>;

    /// Fills the buffer from an offset; `UnexpectedEof` when the file is shorter.
    fn read_at<'a>(&'a self, buffer: &'a mut [u8], offset: u64) -> BoxFuture<'a, io::Result<()>>;

    /// Makes the bytes written so far durable (`fdatasync`).
    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>>;

    /// Cuts or extends.
    fn set_len(&self, bytes: u64) -> BoxFuture<'_, io::Result<()>>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
}
