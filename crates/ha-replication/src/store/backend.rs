//! Where redb reads and writes: a file behind the cluster's `Disk`.
//!
//! Redb calls and waits. Where the files of a disk do so too (a real machine), it uses them directly. Elsewhere (a
//! simulated disk, whose operations take time that must pass) it works on a copy of the file in memory, and what it did
//! is done again on the file, in the same order, by [`Mirror::drain`].

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ha_cluster::disk::File;
use redb::StorageBackend;

/// Times that a file which answers at once is asked before it is taken for broken.
const POLLS_MAX: usize = 3;

/// Bytes that are gathered before they are written.
const GATHERED_MAX: usize = 1024 * 1024;

/// A file that answers at once. Redb writes page by page; pages that lie side by side go to the file together.
pub(super) struct Direct {
    file: Arc<dyn File>,
    gathered: Mutex<Gathered>,
}

/// What is written and not in the file yet.
#[derive(Default)]
struct Gathered {
    offset: u64,
    bytes: Vec<u8>,
}

impl Direct {
    pub(super) fn new(file: Arc<dyn File>) -> Self {
        Self { file, gathered: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is gathered. It stays gathered when that fails: whoever reads must not find what was there before.
    fn pass_on(&self, gathered: &mut Gathered) -> io::Result<()> {
        if !gathered.bytes.is_empty() {
            now(self.file.write_at(&gathered.bytes, gathered.offset))?;
            gathered.bytes.clear();
        }
        Ok(())
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Direct")
    }
}

/// The result of a future that does not wait for anything.
fn now<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "the disk did not answer at once, as it said it would"))
}

impl StorageBackend for Direct {
    fn len(&self) -> io::Result<u64> {
        let mut gathered = self.lock();
        self.pass_on(&mut gathered)?;
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        {
            let mut gathered = self.lock();
            let (from, upto) = (gathered.offset, gathered.offset + gathered.bytes.len() as u64);
            if offset < upto && from < offset + out.len() as u64 {
                self.pass_on(&mut gathered)?;
            }
        }
        now(self.file.read_at(out, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut gathered = self.lock();
        self.pass_on(&mut gathered)?;
        now(self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        // Readers need not wait for the sync.
        self.pass_on(&mut self.lock())?;
        now(self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut gathered = self.lock();
        let follows = offset == gathered.offset + gathered.bytes.len() as u64;
        if !follows || gathered.bytes.len() + data.len() > GATHERED_MAX {
            self.pass_on(&mut gathered)?;
            gathered.offset = offset;
        }
        gathered.bytes.extend_from_slice(data);
        Ok(())
    }
}

enum Done {
    Wrote(u64, Vec<u8>),
    SetLen(u64),
    Synced,
}

/// A copy of a file in memory. Cheap to clone.
#[derive(Clone)]
pub(super) struct Mirror {
    file: Arc<dyn File>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    image: Vec<u8>,
    done: Vec<Done>,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mirror")
    }
}

impl Mirror {
    /// Reads the whole file.
    pub(super) async fn of(file: Arc<dyn File>) -> io::Result<Self> {
        let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut image = vec![0; length];
        if length > 0 {
            file.read_at(&mut image, 0).await?;
        }
        Ok(Self { file, inner: Arc::new(Mutex::new(Inner { image, done: Vec::new() })) })
    }

    /// Does on the file what was done on the copy. When that fails, the copy is good for nothing any more.
    pub(super) async fn drain(&self) -> io::Result<()> {
        let done = std::mem::take(&mut self.lock().done);
        for done in done {
            match done {
                Done::Wrote(offset, bytes) => self.file.write_at(&bytes, offset).await?,
                Done::SetLen(length) => self.file.set_len(length).await?,
                Done::Synced => self.file.sync_data().await?,
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn range(image: &[u8], offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let end = start.checked_add(length).filter(|end| *end <= image.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(start..end)
}

impl StorageBackend for Mirror {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.lock();
        out.copy_from_slice(&inner.image[range(&inner.image, offset, out.len())?]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.lock();
        inner.image.resize(usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?, 0);
        inner.done.push(Done::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.lock().done.push(Done::Synced);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let range = range(&inner.image, offset, data.len())?;
        inner.image[range].copy_from_slice(data);
        inner.done.push(Done::Wrote(offset, data.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ha_cluster::disk::{Disk, RealDisk};
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, u8, usize),
        Read(u64, usize),
        SetLen(u64),
        Sync,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u64..24, any::<u8>(), 1_usize..4).prop_map(|(at, byte, pages)| Step::Write(at, byte, pages)),
            2 => (0_u64..24, 1_usize..4).prop_map(|(at, pages)| Step::Read(at, pages)),
            1 => (16_u64..32).prop_map(Step::SetLen),
            1 => Just(Step::Sync),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever is still gathered, a reader finds what was written last, and the file holds it after a sync.
        #[test]
        fn gathered_writes_are_read_as_if_they_were_in_the_file(steps in prop::collection::vec(step(), 1..40)) {
            const PAGE: usize = 512;
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            let file: Arc<dyn File> = now(RealDisk.open(&path, true)).unwrap().into();
            let direct = Direct::new(file);
            let mut model = vec![0; 32 * PAGE];
            direct.set_len(model.len() as u64).unwrap();
            for step in steps {
                match step {
                    Step::Write(at, byte, pages) => {
                        let (from, data) = (at as usize * PAGE, vec![byte; pages * PAGE]);
                        if from + data.len() <= model.len() {
                            model[from..from + data.len()].copy_from_slice(&data);
                            direct.write(from as u64, &data).unwrap();
                        }
                    }
                    Step::Read(at, pages) => {
                        let (from, mut out) = (at as usize * PAGE, vec![0; pages * PAGE]);
                        if from + out.len() <= model.len() {
                            direct.read(from as u64, &mut out).unwrap();
                            prop_assert_eq!(&out, &model[from..from + out.len()]);
                        }
                    }
                    Step::SetLen(pages) => {
                        model.resize(pages as usize * PAGE, 0);
                        direct.set_len(model.len() as u64).unwrap();
                        prop_assert_eq!(direct.len().unwrap(), model.len() as u64);
                    }
                    Step::Sync => {
                        direct.sync_data().unwrap();
                        prop_assert_eq!(std::fs::read(&path).unwrap(), model.clone());
                    }
                }
            }
        }
    }
}
