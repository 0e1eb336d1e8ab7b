//! A copy of a file, for redb where files take time that must pass (a simulated disk), for which redb cannot wait. What
//! it did on the copy is done again on the file, in the same order, by [`Mirror::drain`].

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ha_cluster::disk::File;
use redb::StorageBackend;

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
