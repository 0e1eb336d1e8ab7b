//! Reads entries that are no longer in memory.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::Record;
use super::files;
use super::format::{Candidate, Kind, RECORD_HEADER_BYTES, SegmentHeader};
use super::index::{Slot, Span};
use super::shared::{Shared, lock};
use super::tail;
use crate::codec;
use crate::disk::{Disk, File};

/// How much is read at once, unless one entry is longer.
const READ_BYTES: u64 = 1024 * 1024;

/// Reads entries that are no longer in memory.
pub(super) struct Reader {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    shared: Arc<Shared>,
    salt: u64,
    /// The segment that was read last.
    open: Option<(u64, Arc<dyn File>)>,
}

impl Reader {
    pub(super) fn new(disk: Arc<dyn Disk>, directory: PathBuf, shared: Arc<Shared>, salt: u64) -> Self {
        Self { disk, directory, shared, salt, open: None }
    }

    /// Lets go of a segment's file, which is about to be another's.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.open.take_if(|(open, _)| *open == sequence);
    }

    /// Reads entries until the bytes are used up, but at least one; fewer when the rest is gone meanwhile.
    pub(super) async fn read(&mut self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        let (mut next, mut bytes_left) = (range.start, bytes_max);
        while next < range.end && (bytes_left > 0 || records.is_empty()) {
            let at_once = READ_BYTES.min(bytes_left as u64);
            let Some(span) = lock(&self.shared.index).span(next, range.end, at_once) else { break };
            for record in self.span(&span).await? {
                if !tail::take(record.payload.len(), &mut bytes_left, records.is_empty()) {
                    return Ok(records);
                }
                next = record.index + 1;
                records.push(record);
            }
        }
        Ok(records)
    }

    async fn span(&mut self, span: &Span) -> io::Result<Vec<Record>> {
        let (Some(first), Some(last)) = (span.slots.first(), span.slots.last()) else { return Ok(Vec::new()) };
        let length = (last.offset - first.offset) as usize + RECORD_HEADER_BYTES + last.length as usize;
        let mut bytes = vec![0; length];
        self.file(span.sequence).await?.read_at(&mut bytes, first.offset.into()).await?;
        let bytes = Bytes::from(bytes);
        let seed = SegmentHeader::seed(self.salt, span.sequence);
        let records = span.slots.iter().zip(span.first..).map(|(slot, index)| {
            let start = (slot.offset - first.offset) as usize;
            let record = bytes.slice(start..start + RECORD_HEADER_BYTES + slot.length as usize);
            let record = codec::apart(record, length);
            decode(&record, *slot, seed, index).ok_or_else(|| self.damaged(span.sequence, slot.offset))
        });
        records.collect()
    }

    async fn file(&mut self, sequence: u64) -> io::Result<Arc<dyn File>> {
        match &self.open {
            Some((open, file)) if *open == sequence => Ok(file.clone()),
            _ => {
                let path = self.directory.join(files::name_of(sequence));
                let file: Arc<dyn File> = self.disk.open(&path, false).await?.into();
                self.open = Some((sequence, file.clone()));
                Ok(file)
            }
        }
    }

    fn damaged(&self, sequence: u64, offset: u32) -> io::Error {
        let path = self.directory.join(files::name_of(sequence));
        let message = format!("the log is damaged in {} at byte {offset}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    }
}

fn decode(record: &Bytes, slot: Slot, seed: u32, index: u64) -> Option<Record> {
    let candidate = Candidate::peek(record).filter(|candidate| candidate.length == slot.length as usize)?;
    let header = candidate.check(record, seed, slot.offset.into()).ok()?;
    let payload = record.slice(RECORD_HEADER_BYTES..);
    (header.kind == Kind::Entry && header.index == index).then_some(Record { index, term: header.term, payload })
}
