//! A disk in memory that loses, tears and refuses on demand. For tests.

mod state;

use std::future::poll_fn;
use std::io;
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;

use futures::future::BoxFuture;

use super::{DirLock, Disk, File, LockError};
use state::State;
pub use state::{Operation, Survival};

/// A disk in memory. A clone shares the files; [`Self::fork`] copies them.
///
/// Each operation first lets other tasks run. Everything written is readable at once and durable only after its sync. [`Self::crash`] ends one *life* of the
/// machine: every handle of that life fails from then on, and what was not durable survives as asked. Workers are tasks
/// of the tokio runtime when there is one, so that a test on a current-thread runtime is deterministic.
#[derive(Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl Default for FaultyDisk {
    fn default() -> Self {
        Self::from_state(State::default())
    }
}

impl FaultyDisk {
    fn from_state(state: State) -> Self {
        let life = state.life;
        Self { state: Arc::new(Mutex::new(state)), life }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits a turn, as for a disk; then [`Self::begin_now`].
    async fn begin(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        turn().await;
        self.begin_now(operation)
    }

    /// Counts one operation, and fails it when a fault is due or the life of this handle has ended.
    fn begin_now(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.check_life(self.life)?;
        state.count(operation)?;
        Ok(state)
    }

    /// Ends this life by itself, as [`Self::crash`] does, after so many operations more.
    pub fn crash_after(&self, operations: u64, survival: Survival) {
        self.lock().power_cut = Some((operations, survival));
    }

    /// The disk in its present life, if that of this handle may have ended.
    #[must_use]
    pub fn reborn(&self) -> Self {
        Self { state: self.state.clone(), life: self.lock().life }
    }

    /// Ends this life and returns the disk as the next one finds it.
    #[must_use]
    pub fn crash(&self, survival: Survival) -> Self {
        let mut state = self.lock();
        state.crash(survival);
        Self { state: self.state.clone(), life: state.life }
    }

    /// An independent copy, unsynced bytes and all, without the faults still to come.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::from_state(self.lock().fork())
    }

    /// Fails the `nth` operation of this kind from now on, once; 1 is the next.
    pub fn fail(&self, operation: Operation, nth: u64, kind: io::ErrorKind) {
        self.lock().add_fault(operation, nth, kind);
    }

    /// Limits all files together, as a full disk does; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// How many operations of this kind were tried so far.
    pub fn operations(&self, operation: Operation) -> u64 {
        self.lock().operations(operation)
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().paths()
    }

    /// The bytes of a file as a reader sees them now.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.lock().content(path).cloned()
    }

    /// Replaces the durable bytes of a file: damage, or another machine's copy.
    pub fn set_content(&self, path: &Path, bytes: Vec<u8>) {
        self.lock().set_content(path, bytes);
    }

    /// Removes a file for good.
    pub fn erase(&self, path: &Path) {
        self.lock().erase(path);
    }
}

impl Disk for FaultyDisk {
    fn open<'a>(&'a self, path: &'a Path, create: bool) -> BoxFuture<'a, io::Result<Box<dyn File>>> {
        Box::pin(async move {
            let inode = self.begin(Operation::Open).await?.open(path, create)?;
            Ok(Box::new(FaultyFile { disk: self.clone(), inode }) as Box<dyn File>)
        })
    }

    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.begin(Operation::Open).await?.create_dir_all(path) })
    }

    fn list<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, io::Result<Vec<PathBuf>>> {
        Box::pin(async move { self.begin(Operation::Read).await?.list(directory) })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.begin(Operation::Rename).await?.rename(from, to) })
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.begin(Operation::Remove).await?.remove(path) })
    }

    fn sync_dir<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.begin(Operation::SyncDir).await?.sync_dir(directory) })
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        Ok(self.begin_now(Operation::Read)?.free_bytes())
    }

    fn lock_dir(&self, directory: &Path) -> Result<DirLock, LockError> {
        let mut state = self.begin_now(Operation::Open)?;
        if !state.locks.insert(directory.to_owned()) {
            return Err(LockError::Held { pid: None });
        }
        Ok(Box::new(FaultyLock { disk: self.clone(), directory: directory.to_owned() }))
    }

    fn run(&self, name: &str, worker: BoxFuture<'static, ()>) -> io::Result<()> {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(worker);
        } else {
            thread::Builder::new().name(name.to_owned()).spawn(move || futures::executor::block_on(worker))?;
        }
        Ok(())
    }
}

/// Lets every other task run once, so that a crash can fall between any two operations.
async fn turn() {
    let mut waited = false;
    poll_fn(|context| {
        if mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

struct FaultyLock {
    disk: FaultyDisk,
    directory: PathBuf,
}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        // A crash has freed it already, and the next life may hold it.
        if state.check_life(self.disk.life).is_ok() {
            state.locks.remove(&self.directory);
        }
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: u64,
}

impl File for FaultyFile {
    fn write_at<'a>(&'a self, bytes: &'a [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.disk.begin(Operation::Write).await?.write_at(self.inode, bytes, offset) })
    }

    fn read_at<'a>(&'a self, buffer: &'a mut [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.disk.begin(Operation::Read).await?.read_at(self.inode, buffer, offset) })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            turn().await;
            let mut state = self.disk.lock();
            state.check_life(self.disk.life)?;
            let outcome = state.count(Operation::Sync);
            state.sync_data(self.inode, outcome)
        })
    }

    fn forget_cached(&self) {
        drop(self.disk.begin_now(Operation::Forget));
    }

    fn prefetch(&self, _: Range<u64>) {
        drop(self.disk.begin_now(Operation::Prefetch));
    }

    fn set_len(&self, bytes: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.disk.begin(Operation::Write).await?.set_len(self.inode, bytes) })
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.lock();
        state.check_life(self.disk.life)?;
        Ok(state.len(self.inode))
    }
}

#[cfg(test)]
mod tests;
