//! A snapshot that is being read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::format::{self, HEADER_BYTES, Header, META_BYTES_MAX, NotAHeader};
use super::{CHUNK_BYTES, File, Inner, SnapshotError, perform};

/// A finished snapshot. Cheap to clone, and readable for as long as it is held.
#[derive(Clone)]
pub struct Snapshot {
    store: Arc<Inner>,
    sequence: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    header: Header,
    meta: Bytes,
}

impl Snapshot {
    pub(super) async fn open(store: Arc<Inner>, sequence: u64) -> Result<Self, SnapshotError> {
        let path = store.path(&format::name_of(sequence));
        let file: Arc<dyn File> = match store.disk.open(&path, false).await {
            Ok(file) => file.into(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(corrupt(&path, "the file is gone")),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = [0; HEADER_BYTES];
        read_exact(&path, &*file, &mut bytes, 0).await?;
        let header = match Header::decode(&bytes) {
            Ok(header) => header,
            Err(NotAHeader::Newer(format)) => return Err(SnapshotError::Newer { file: path, format }),
            Err(NotAHeader::Damaged) => return Err(corrupt(&path, "its header is not valid")),
        };
        let meta_bytes = header.meta_bytes as usize;
        let length = (HEADER_BYTES + meta_bytes) as u64;
        if meta_bytes > META_BYTES_MAX || length.checked_add(header.body_bytes) != Some(file.len()?) {
            return Err(corrupt(&path, "its length is wrong"));
        }
        let mut meta = vec![0; meta_bytes];
        read_exact(&path, &*file, &mut meta, HEADER_BYTES as u64).await?;
        Ok(Self { store, sequence, path, file, header, meta: meta.into() })
    }

    /// Reads all of it, unless that was done before, to see that it is whole; the CRC32C of its body. Cancel-safe.
    pub async fn check(&self) -> Result<u32, SnapshotError> {
        let checked = self.store.lock().checked;
        if let Some((_, body_crc)) = checked.filter(|(sequence, _)| *sequence == self.sequence) {
            return Ok(body_crc);
        }
        let snapshot = self.clone();
        let body_crc = perform(&self.store.disk, "snapshot", async move { snapshot.sum().await }).await??;
        self.store.lock().checked = Some((self.sequence, body_crc));
        Ok(body_crc)
    }

    async fn sum(&self) -> Result<u32, SnapshotError> {
        let (mut crc, mut body_crc) = (crc32c::crc32c(&self.meta), 0);
        let mut offset = 0;
        while offset < self.header.body_bytes {
            let chunk = self.piece(offset, CHUNK_BYTES).await?;
            crc = crc32c::crc32c_append(crc, &chunk);
            body_crc = crc32c::crc32c_append(body_crc, &chunk);
            offset += chunk.len() as u64;
        }
        if crc == self.header.content_crc { Ok(body_crc) } else { Err(corrupt(&self.path, "its checksum is wrong")) }
    }

    /// What describes it; to be relied on once all was checked.
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// Bytes of the body.
    pub fn body_bytes(&self) -> u64 {
        self.header.body_bytes
    }

    /// A piece of the body; shorter than asked for only at its end. Cancel-safe.
    pub async fn read(&self, offset: u64, bytes_max: usize) -> Result<Bytes, SnapshotError> {
        let snapshot = self.clone();
        perform(&self.store.disk, "snapshot", async move { snapshot.piece(offset, bytes_max).await }).await?
    }

    /// The whole body, in memory. Cancel-safe.
    pub async fn body(&self) -> Result<Bytes, SnapshotError> {
        self.read(0, usize::MAX).await
    }

    async fn piece(&self, offset: u64, bytes_max: usize) -> Result<Bytes, SnapshotError> {
        let left = usize::try_from(self.header.body_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(bytes_max)];
        let start = HEADER_BYTES as u64 + self.meta.len() as u64;
        read_exact(&self.path, &*self.file, &mut piece, start.saturating_add(offset)).await?;
        Ok(piece.into())
    }
}

async fn read_exact(path: &Path, file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<(), SnapshotError> {
    if buffer.is_empty() {
        return Ok(());
    }
    match file.read_at(buffer, offset).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(corrupt(path, "it is too short")),
        outcome => Ok(outcome?),
    }
}

fn corrupt(path: &Path, reason: &str) -> SnapshotError {
    SnapshotError::Corrupt { file: path.to_owned(), reason: reason.to_owned() }
}
