//! Files of the operating system.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use futures::future::BoxFuture;
use rustix::fs::{Advice, FlockOperation, OFlags, fadvise};

use super::{DIRECT_ALIGNMENT, DirLock, Disk, File, LockError};

/// The file whose lock stands for the whole data directory.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// How much less of the processor than others a worker gets that works aside: about a tenth of an equal share, and none
/// before whoever has just woken up.
const ASIDE_NICE: i32 = 10;

/// How much is read ahead with one call.
const PREFETCH_BYTES: usize = 64 * 1024;

/// Files of the operating system; each worker has a thread of its own. Its calls block, and never wait for anything
/// else.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open<'a>(&'a self, path: &'a Path, create: bool) -> BoxFuture<'a, io::Result<Box<dyn File>>> {
        Box::pin(async move {
            let file =
                OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)?;
            Ok(Box::new(RealFile { file, direct: OnceLock::new() }) as Box<dyn File>)
        })
    }

    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { create_dir_all(path) })
    }

    fn list<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, io::Result<Vec<PathBuf>>> {
        Box::pin(async move {
            let mut names = fs::read_dir(directory)?
                .map(|entry| Ok(PathBuf::from(entry?.file_name())))
                .collect::<io::Result<Vec<_>>>()?;
            names.sort();
            Ok(names)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { fs::rename(from, to) })
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { fs::remove_file(path) })
    }

    fn sync_dir<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { sync_dir(directory) })
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        let status = rustix::fs::statvfs(directory)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    fn lock_dir(&self, directory: &Path) -> Result<DirLock, LockError> {
        let path = directory.join(LOCK_FILE);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Who holds it is only for the message: an unreadable file still means that somebody does.
                let read = file.by_ref().take(32).read_to_string(&mut holder);
                return Err(LockError::Held { pid: read.ok().and_then(|_| holder.trim().parse().ok()) });
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        file.set_len(0)?;
        file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)?;
        Ok(Box::new(file))
    }

    fn run(&self, name: &str, worker: BoxFuture<'static, ()>) -> io::Result<()> {
        thread::Builder::new().name(name.to_owned()).spawn(move || futures::executor::block_on(worker))?;
        Ok(())
    }

    fn run_aside(&self, name: &str, worker: BoxFuture<'static, ()>) -> io::Result<()> {
        let modest = async move {
            // Of this thread alone. Where it is not allowed, the work is merely less considerate.
            let _ = rustix::process::nice(ASIDE_NICE);
            worker.await;
        };
        self.run(name, Box::pin(modest))
    }
}

fn sync_dir(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Creates the missing directories from the top, and makes each name durable in its parent.
fn create_dir_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    create_dir_all(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => sync_dir(parent),
    }
}

struct RealFile {
    file: fs::File,
    /// The same file, opened for direct writes when the first one comes; `None` where it cannot be.
    direct: OnceLock<Option<fs::File>>,
}

impl RealFile {
    /// The same file for direct writes, whatever its name is by now.
    fn direct(&self) -> Option<&fs::File> {
        let reopen = || {
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path).ok()
        };
        self.direct.get_or_init(reopen).as_ref()
    }
}

/// Whether address, length and offset are what direct writes must be.
fn is_aligned(bytes: &[u8], offset: u64) -> bool {
    let aligned = |number: usize| number.is_multiple_of(DIRECT_ALIGNMENT);
    aligned(bytes.as_ptr().addr()) && aligned(bytes.len()) && offset.is_multiple_of(DIRECT_ALIGNMENT as u64)
}

impl File for RealFile {
    fn write_at<'a>(&'a self, bytes: &'a [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.file.write_all_at(bytes, offset) })
    }

    fn write_direct<'a>(&'a self, bytes: &'a [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let direct = if is_aligned(bytes, offset) { self.direct() } else { None };
            match direct.map(|direct| direct.write_all_at(bytes, offset)) {
                // A file system may open a file so, and take no such write.
                Some(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.file.write_all_at(bytes, offset)
                }
                Some(written) => written,
                None => self.file.write_all_at(bytes, offset),
            }
        })
    }

    fn read_at<'a>(&'a self, buffer: &'a mut [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.file.read_exact_at(buffer, offset) })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.file.sync_data() })
    }

    fn forget_cached(&self) {
        // Advice: where it is not taken, nothing is lost but memory.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn prefetch(&self, range: Range<u64>) {
        // No more is read for one call than the device takes at once.
        for offset in range.clone().step_by(PREFETCH_BYTES) {
            let length = NonZeroU64::new((range.end - offset).min(PREFETCH_BYTES as u64));
            // Advice: where it is not taken, a write waits.
            let _ = fadvise(&self.file, offset, length, Advice::WillNeed);
        }
    }

    fn set_len(&self, bytes: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.file.set_len(bytes) })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn is_done_at_once(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{conformance, perform};

    #[tokio::test]
    async fn conforms() {
        let directory = tempfile::tempdir().unwrap();
        conformance::check(Arc::new(RealDisk), &directory.path().join("root")).await;
    }

    #[tokio::test]
    async fn only_the_owner_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a/b");
        RealDisk.create_dir_all(&below).await.unwrap();
        drop(RealDisk.open(&below.join("file"), true).await.unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&below), 0o700);
        assert_eq!(mode(&below.join("file")), 0o600);
    }

    #[test]
    fn a_held_lock_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let lock = RealDisk.lock_dir(directory.path()).unwrap();
        let Err(LockError::Held { pid }) = RealDisk.lock_dir(directory.path()) else { panic!("locked twice") };
        assert_eq!(pid, Some(std::process::id()));
        drop(lock);
        drop(RealDisk.lock_dir(directory.path()).unwrap());
    }

    #[tokio::test]
    async fn workers_have_threads_of_their_own() {
        let here = thread::current().id();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let there = perform(&disk, "worker", async { thread::current().id() }).await.unwrap();
        assert_ne!(here, there);
    }
}
