//! Reading a segment from its start, and judging how it ends.
//!
//! # Torn, or damaged?
//!
//! Where a chain of valid records ends before the file does, one of two things happened:
//!
//! * **A write was torn.** The machine died before a sync returned. Of the last batch any blocks may have reached the
//!   disk, in any order. Nothing of that batch was acknowledged, so what is left of it may be cut off, valid records
//!   after a gap included.
//! * **Something durable was damaged.** Its records may have been acknowledged. To cut them off would lose what others
//!   were told is safe, and later let this node vote as if it had never held it. Only a human, or a fresh copy from the
//!   other nodes, can help.
//!
//! The proof is in what was written *later*. A batch is written only after the sync of the one before has returned, and
//! each record states up to where its segment was durable when it was written. So one valid record anywhere behind the
//! end that states a durable offset behind it proves damage; so does a later segment, which states where this one ended.
//! Nothing else is proof: records of the torn batch itself state the offset at which it began.
//!
//! After the last batch there is no later one. So when the writer has nothing to do it writes a *mark* behind the
//! batch, without a sync: proof for all but a loss of power in the seconds before the system writes the mark out by
//! itself. In that window, and only there, a damaged last batch is taken for a torn one. A clean stop syncs its mark.
//!
//! A segment that is gone, or cut short, could not tell either. So the one before it is *sealed* once a batch of its
//! successor is durable: it says that there is one, and how long its file is.
//!
//! Records that were cut off, and those of a recycled file's former life, cannot come back: each start and each new
//! segment raises the generation, durably, before anything else is written, and a chain never goes back to an older one.

use std::io;

use super::format::{ALIGNMENT, Candidate, Kind, NotARecord, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES};
use crate::disk::File;

/// How much is read at once.
const WINDOW_BYTES: usize = 256 * 1024;

/// A file that is read forwards.
pub(super) struct Window<'a> {
    file: &'a dyn File,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn File) -> io::Result<Self> {
        Ok(Self { file, length: file.len()?, start: 0, bytes: Vec::new() })
    }

    /// These bytes, or `None` when the file is shorter.
    async fn get(&mut self, offset: u64, bytes: usize) -> io::Result<Option<&[u8]>> {
        Ok(self.fill(offset, bytes).await?.map(|window| &window[..bytes]))
    }

    /// As many bytes as are at hand, but enough for the header of a record.
    async fn rest(&mut self, offset: u64) -> io::Result<Option<&[u8]>> {
        self.fill(offset, RECORD_HEADER_BYTES).await
    }

    async fn fill(&mut self, offset: u64, bytes: usize) -> io::Result<Option<&[u8]>> {
        let end = offset + bytes as u64;
        if end > self.length {
            return Ok(None);
        }
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let filled = (self.length - offset).min(bytes.max(WINDOW_BYTES) as u64);
            // Bounded by the window and the longest record.
            self.bytes.resize(usize::try_from(filled).map_err(|_| io::ErrorKind::FileTooLarge)?, 0);
            self.start = offset;
            self.file.read_at(&mut self.bytes, offset).await?;
        }
        let at = usize::try_from(offset - self.start).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(Some(&self.bytes[at..]))
    }
}

/// A record of the chain.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) header: RecordHeader,
    pub(super) offset: u64,
    pub(super) payload: &'a [u8],
}

/// The chain of valid records in one segment.
pub(super) struct Chain<'a> {
    window: Window<'a>,
    seed: u32,
    /// Of the records from here on.
    pub(super) generation: u64,
    /// Where the next record must begin.
    pub(super) end: u64,
    /// What the records so far prove to have been durable.
    pub(super) durable: u64,
    /// The chain ended with a mark.
    pub(super) marked: bool,
    /// The mark is a seal: the least length of the next segment's file.
    pub(super) sealed: Option<u64>,
}

/// Why a chain could not be followed.
#[derive(Debug)]
pub(super) enum ScanError {
    Io(io::Error),
    /// A valid record of a kind that this version does not know.
    Newer(u8),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<'a> Chain<'a> {
    pub(super) fn new(file: &'a dyn File, seed: u32, generation: u64) -> io::Result<Self> {
        let end = SEGMENT_HEADER_BYTES as u64;
        Ok(Self { window: Window::new(file)?, seed, generation, end, durable: 0, marked: false, sealed: None })
    }

    /// The next record before `limit`, or `None` at the end of the chain.
    pub(super) async fn next(&mut self, limit: u64) -> Result<Option<Found<'_>>, ScanError> {
        let offset = self.end;
        if self.marked || offset >= limit {
            return Ok(None);
        }
        let Some(candidate) = self.window.get(offset, RECORD_HEADER_BYTES).await?.and_then(Candidate::peek) else {
            return Ok(None);
        };
        if !(self.generation..=self.generation + 1).contains(&candidate.generation) {
            return Ok(None);
        }
        // With the zeros behind it, which a file may end within.
        let padded = candidate.bytes().next_multiple_of(ALIGNMENT);
        let Some(bytes) = self.window.get(offset, padded).await? else { return Ok(None) };
        let bytes = &bytes[..candidate.bytes()];
        let header = match candidate.check(bytes, self.seed, offset) {
            Ok(header) => header,
            Err(NotARecord::Damaged) => return Ok(None),
            Err(NotARecord::Newer(kind)) => return Err(ScanError::Newer(kind)),
        };
        let follows = candidate.generation == self.generation + u64::from(header.kind == Kind::Open);
        if !follows || u64::from(header.durable) < self.durable || u64::from(header.durable) > offset {
            return Ok(None);
        }
        self.generation = header.generation;
        self.durable = header.durable.into();
        if header.kind == Kind::Mark {
            self.marked = true;
            self.sealed = (header.index > 0).then_some(header.index);
            return Ok(None);
        }
        self.end = offset + padded as u64;
        Ok(Some(Found { header, offset, payload: &bytes[RECORD_HEADER_BYTES..] }))
    }

    /// Looks behind the end of the chain for proof that something there was durable; returns where the proof is.
    pub(super) async fn proof_of_damage(mut self) -> io::Result<Option<u64>> {
        // A mark is overwritten by whatever comes next.
        if self.marked {
            return Ok(None);
        }
        proof_behind(&mut self.window, self.seed, self.generation, self.end).await
    }
}

/// The first valid record from `end` on that states a durable offset behind `end`, in this generation or a later one.
pub(super) async fn proof_behind(
    window: &mut Window<'_>,
    seed: u32,
    generation: u64,
    end: u64,
) -> io::Result<Option<u64>> {
    let mut offset = end.next_multiple_of(ALIGNMENT as u64);
    while let Some(bytes) = window.rest(offset).await? {
        let Some((skipped, candidate)) = first_candidate(bytes, generation, end) else {
            // The next header may have begun in the last bytes of this window.
            let checked = bytes.len() - RECORD_HEADER_BYTES + 1;
            offset += checked.next_multiple_of(ALIGNMENT) as u64;
            continue;
        };
        offset += skipped as u64;
        if let Some(bytes) = window.get(offset, candidate.bytes()).await?
            && u64::from(candidate.durable) <= offset
            && candidate.check(bytes, seed, offset) != Err(NotARecord::Damaged)
        {
            return Ok(Some(offset));
        }
        offset += ALIGNMENT as u64;
    }
    Ok(None)
}

/// Where the first header that could be proof begins.
fn first_candidate(bytes: &[u8], generation: u64, end: u64) -> Option<(usize, Candidate)> {
    let starts = (0..=bytes.len().checked_sub(RECORD_HEADER_BYTES)?).step_by(ALIGNMENT);
    let mut candidates = starts.filter_map(|at| Some((at, Candidate::peek(&bytes[at..])?)));
    candidates.find(|(_, candidate)| candidate.generation >= generation && u64::from(candidate.durable) > end)
}
