//! The segment that is written to.

use std::io;
use std::sync::Arc;

use super::format::{Kind, RecordHeader, record_bytes};
use crate::disk::File;

/// How much is rewritten at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// The segment that is written to.
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) generation: u64,
    /// Of the checksums.
    pub(super) seed: u32,
    pub(super) file: Arc<dyn File>,
    /// Up to here the file has its blocks: writing below it does not change the file system's own records.
    pub(super) allocated: u64,
    /// Where the next write begins.
    pub(super) end: u64,
    /// Everything before this is durable.
    pub(super) durable: u64,
}

impl Segment {
    /// Makes durable what recovery read, and raises the generation, so that nothing behind the end is ever valid again.
    ///
    /// What is not proved to be durable is written once more: when a sync failed in the life before, the kernel may have
    /// marked the lost pages clean, and a mere sync would report success for bytes that only memory has.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        let mut offset = self.durable;
        while offset < self.end {
            let bytes = (self.end - offset).min(CHUNK_BYTES as u64);
            let mut chunk = vec![0; usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?];
            self.file.read_at(&mut chunk, offset).await?;
            self.file.write_at(&chunk, offset).await?;
            offset += bytes;
        }
        self.file.sync_data().await?;
        self.durable = self.end;
        self.generation += 1;
        self.end += self.write_bare(Kind::Open).await?;
        self.file.sync_data().await?;
        self.durable = self.end;
        self.allocated = self.allocated.max(self.end);
        self.write_bare(Kind::Mark).await?;
        Ok(())
    }

    /// Writes down, durably, that the log goes on in the next segment, whose file has so many bytes at least: were that
    /// file gone or cut short, nothing in it could tell.
    pub(super) async fn seal(&self, next_bytes: u64) -> io::Result<()> {
        self.write(Kind::Mark, next_bytes).await?;
        self.file.sync_data().await
    }

    /// Writes a record without a payload at the end, and returns its length.
    pub(super) async fn write_bare(&self, kind: Kind) -> io::Result<u64> {
        self.write(kind, 0).await
    }

    async fn write(&self, kind: Kind, index: u64) -> io::Result<u64> {
        let mut buffer = Vec::new();
        self.record(kind, index, 0)?.encode(&[], self.seed, self.end, &mut buffer)?;
        self.file.write_at(&buffer, self.end).await?;
        Ok(record_bytes(0))
    }

    /// The header of a record in the batch that begins now.
    pub(super) fn record(&self, kind: Kind, index: u64, term: u64) -> io::Result<RecordHeader> {
        let durable = u32::try_from(self.durable).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(RecordHeader { kind, generation: self.generation, durable, index, term })
    }
}
