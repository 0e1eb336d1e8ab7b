//! Opening: from the files to the state that they tell.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint;
use super::error::OpenError;
use super::files;
use super::format::{HeaderBytes, Kind, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::index::{Index, Slot};
use super::scan::{Chain, Found, ScanError, Window, proof_behind};
use super::segment::Segment;
use super::view::View;
use crate::disk::{Disk, File, replace_file};

/// What the files told.
pub(super) struct Recovery {
    pub(super) view: View,
    pub(super) index: Index,
    pub(super) salt: u64,
    /// The last segment, ready for more.
    pub(super) tail: Segment,
    /// The segment before it, if nothing says there yet that this one is in use.
    unsealed: Option<Segment>,
    /// The oldest segment there is.
    pub(super) oldest: u64,
    /// The oldest segment that is needed.
    pub(super) needed: u64,
    /// The segment after the last one has been prepared already.
    pub(super) prepared: bool,
    pub(super) created: bool,
    /// No mark was at the end: a batch may have been torn there, and its rest cut off.
    pub(super) torn: bool,
}

/// Reads the log from where it is needed on, and only when all of that is good makes what it read durable.
pub(super) async fn recover(disk: &dyn Disk, directory: &Path, salt: u64) -> Result<Recovery, OpenError> {
    let io = |source| OpenError::Io { directory: directory.to_owned(), source };
    disk.create_dir_all(directory).await.map_err(io)?;
    let mut names = disk.list(directory).await.map_err(io)?;
    let created = !names.iter().any(|name| files::sequence_of(name).is_some());
    if created {
        create(disk, directory, &names, salt).await?;
        names = disk.list(directory).await.map_err(io)?;
    }
    let sequences: Vec<u64> = names.iter().filter_map(|name| files::sequence_of(name)).collect();
    let segments = open_all(disk, directory, &sequences).await?;
    let mut recovery = Replay::new(directory, &segments[first_needed(&segments)..])?.run().await?;
    recovery.oldest = sequences.first().copied().unwrap_or(recovery.needed);
    recovery.created = created;
    recovery.torn &= !created;
    recovery.prepared = sequences.last() != Some(&recovery.tail.sequence);
    // What the last life did to the names may not be durable either.
    disk.sync_dir(directory).await.map_err(|error| after_scan(directory, error))?;
    recovery.tail.settle().await.map_err(|error| after_scan(directory, error))?;
    if let Some(before) = recovery.unsealed.take()
        && let Err(error) = before.seal(recovery.tail.end).await
    {
        tracing::warn!(%error, segment = before.sequence, "could not seal a log segment, trying again with the next start");
    }
    Ok(recovery)
}

fn after_scan(directory: &Path, source: io::Error) -> OpenError {
    let directory = directory.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::Full { directory },
        _ => OpenError::Io { directory, source },
    }
}

/// Writes the first segment of a new log, whole or not at all.
async fn create(disk: &dyn Disk, directory: &Path, names: &[PathBuf], salt: u64) -> Result<(), OpenError> {
    if names.iter().any(|name| name == Path::new(files::SPARE)) {
        // A spare is made only behind the first segment.
        let file = directory.join(files::name_of(1));
        return Err(OpenError::Corrupt { file, offset: 0, reason: "all segments are gone".to_owned() });
    }
    let header = SegmentHeader { sequence: 1, generation: 1, salt, previous_end: 0 };
    let content = checkpoint::segment_start(&header, &View::default()).map_err(|error| after_scan(directory, error))?;
    replace_file(disk, directory, &files::name_of(1), &content).await.map_err(|error| after_scan(directory, error))
}

/// A segment's file and how it begins.
struct Opened {
    sequence: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    header: HeaderBytes,
    /// The header, when it is the one of this file's present life and its checkpoint is whole: the segment is in use.
    live: Option<SegmentHeader>,
    /// What it says of the log before it, when it is in use.
    before: Option<View>,
}

impl Opened {
    async fn open(disk: &dyn Disk, path: PathBuf, sequence: u64) -> Result<Self, ScanError> {
        let file: Arc<dyn File> = disk.open(&path, false).await?.into();
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let header = match file.read_at(&mut bytes, 0).await {
            Ok(()) => SegmentHeader::decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => HeaderBytes::Damaged,
            Err(error) => return Err(error.into()),
        };
        let (mut live, mut before) = (None, None);
        if let HeaderBytes::Valid(header) = header
            && header.sequence == sequence
        {
            let mut chain = Chain::new(&*file, SegmentHeader::seed(header.salt, sequence), header.generation)?;
            let first = chain.next(u64::MAX).await?;
            if let Some(first) = first.filter(|first| first.header.kind == Kind::Checkpoint) {
                live = Some(header);
                before = checkpoint::decode(first.payload);
            }
        }
        Ok(Self { sequence, path, file, header, live, before })
    }

    fn corrupt(&self, offset: u64, reason: impl Into<String>) -> OpenError {
        OpenError::Corrupt { file: self.path.clone(), offset, reason: reason.into() }
    }
}

fn scan_failed(directory: &Path, path: &Path, error: ScanError) -> OpenError {
    match error {
        ScanError::Io(source) => OpenError::Io { directory: directory.to_owned(), source },
        ScanError::Newer(kind) => {
            OpenError::Newer { file: path.to_owned(), what: format!("it has a record of kind {kind}") }
        }
    }
}

async fn open_all(disk: &dyn Disk, directory: &Path, sequences: &[u64]) -> Result<Vec<Opened>, OpenError> {
    let mut segments: Vec<Opened> = Vec::new();
    for sequence in sequences.iter().copied() {
        if let Some(gone) = segments.last().map(|last| last.sequence + 1).filter(|expected| *expected != sequence) {
            let file = directory.join(files::name_of(gone));
            return Err(OpenError::Corrupt { file, offset: 0, reason: "this segment is gone".to_owned() });
        }
        let path = directory.join(files::name_of(sequence));
        let opened = Opened::open(disk, path.clone(), sequence).await;
        let opened = opened.map_err(|error| scan_failed(directory, &path, error))?;
        if let HeaderBytes::Newer(version) = opened.header {
            return Err(OpenError::Newer { file: path, what: format!("its format is {version}") });
        }
        segments.push(opened);
    }
    Ok(segments)
}

/// Which segment to begin with: the last one before which there is nothing but what was purged later. Segments that were
/// freed may still be there.
fn first_needed(segments: &[Opened]) -> usize {
    let last = segments.iter().rev().find_map(|segment| segment.before.as_ref());
    let Some((purged, _)) = last.and_then(|before| before.purged) else { return 0 };
    let is_first = |before: &View| before.last().is_none_or(|(last, _)| last <= purged);
    segments.iter().rposition(|segment| segment.before.as_ref().is_some_and(is_first)).unwrap_or(0)
}

/// Takes the view through every record, in order.
struct Replay<'a> {
    directory: &'a Path,
    segments: &'a [Opened],
    salt: u64,
    generation: u64,
    view: View,
    index: Index,
}

impl<'a> Replay<'a> {
    fn new(directory: &'a Path, segments: &'a [Opened]) -> Result<Self, OpenError> {
        // The oldest segment is in use in any case: the first of a log appears whole, and of the others one is removed
        // only when a later one is in use.
        match segments {
            [Opened { live: Some(header), .. }, ..] => {
                let (salt, generation) = (header.salt, header.generation.saturating_sub(1));
                Ok(Self { directory, segments, salt, generation, view: View::default(), index: Index::default() })
            }
            [oldest, ..] => {
                Err(oldest.corrupt(0, "the oldest segment does not begin with a valid header and checkpoint"))
            }
            [] => Err(OpenError::Io { directory: directory.to_owned(), source: io::ErrorKind::NotFound.into() }),
        }
    }

    async fn run(mut self) -> Result<Recovery, OpenError> {
        let live: Vec<_> = self.segments.iter().map_while(|segment| Some((segment, segment.live?))).collect();
        let (mut before, mut tail): (Option<Scanned>, Option<Scanned>) = (None, None);
        for (position, (segment, header)) in live.iter().enumerate() {
            let next = live.get(position + 1).map(|(_, next)| next);
            before = tail.replace(self.segment(segment, header, next).await?);
            if let (Some(Scanned { sealed: Some(least), .. }), Some(now)) = (&before, &tail)
                && now.segment.allocated < *least
            {
                let reason = format!("it was cut short: it had {least} bytes when the segment before it was sealed");
                return Err(segment.corrupt(now.segment.allocated, reason));
            }
        }
        let Some(Scanned { segment: tail, marked, sealed }) = tail else {
            return Err(self.segments[0].corrupt(0, "no segment is in use"));
        };
        if sealed.is_some() {
            let file = self.directory.join(files::name_of(tail.sequence + 1));
            let reason = "the log went on in this segment, which is gone, or has lost its beginning".to_owned();
            return Err(OpenError::Corrupt { file, offset: 0, reason });
        }
        let unsealed = before.filter(|before| before.sealed.is_none()).map(|before| before.segment);
        match &self.segments[live.len()..] {
            [] => {}
            [next] => self.check_unused(next).await?,
            [damaged, ..] => {
                return Err(damaged.corrupt(0, "a segment between others has no valid header and checkpoint"));
            }
        }
        self.check_complete()?;
        let needed = self.segments[0].sequence;
        let Self { view, index, salt, .. } = self;
        let (oldest, prepared, created) = (needed, false, false);
        Ok(Recovery { view, index, salt, tail, unsealed, oldest, needed, prepared, created, torn: !marked })
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { directory: self.directory.to_owned(), source }
    }

    async fn segment(
        &mut self,
        segment: &Opened,
        header: &SegmentHeader,
        next: Option<&SegmentHeader>,
    ) -> Result<Scanned, OpenError> {
        if header.salt != self.salt || header.generation <= self.generation {
            return Err(segment.corrupt(0, "it belongs to another log, or to another time of this one"));
        }
        let seed = SegmentHeader::seed(self.salt, segment.sequence);
        let limit = next.map_or(u64::MAX, |next| next.previous_end);
        let mut chain = Chain::new(&*segment.file, seed, header.generation).map_err(|error| self.io(error))?;
        loop {
            match chain.next(limit).await {
                Ok(Some(found)) => self.record(segment, &found)?,
                Ok(None) => break,
                Err(error) => return Err(scan_failed(self.directory, &segment.path, error)),
            }
        }
        self.generation = chain.generation;
        match next {
            Some(_) if chain.end != limit => {
                let reason = "a record that the next segment proves to have been here is damaged";
                return Err(segment.corrupt(chain.end, reason));
            }
            Some(_) => {
                chain.durable = chain.end;
                // What is behind its end may be the seal, or nothing that counts.
                let _ = chain.next(u64::MAX).await;
            }
            None => {}
        }
        let (end, durable, marked, sealed) = (chain.end, chain.durable, chain.marked, chain.sealed);
        if next.is_none()
            && let Some(proof) = chain.proof_of_damage().await.map_err(|error| self.io(error))?
        {
            let reason = format!("a record is damaged that was durable before the one at byte {proof} was written");
            return Err(segment.corrupt(end, reason));
        }
        let segment = Segment {
            sequence: segment.sequence,
            generation: self.generation,
            seed,
            allocated: segment.file.len().map_err(|error| self.io(error))?,
            file: segment.file.clone(),
            end,
            durable,
        };
        Ok(Scanned { segment, marked, sealed })
    }

    fn record(&mut self, segment: &Opened, found: &Found<'_>) -> Result<(), OpenError> {
        let (index, term) = (found.header.index, found.header.term);
        let payload = || bytes::Bytes::copy_from_slice(found.payload);
        match found.header.kind {
            Kind::Checkpoint => {
                let view = checkpoint::decode(found.payload)
                    .ok_or_else(|| segment.corrupt(found.offset, "the checkpoint cannot be read"))?;
                if segment.sequence == self.segments[0].sequence {
                    self.index.start_at(view.terms.next());
                    self.view = view;
                } else if !checkpoint::agree(&view, &self.view) {
                    return Err(segment.corrupt(found.offset, "the checkpoint contradicts the segments before it"));
                }
            }
            Kind::Entry => {
                if !self.view.accepts(index) {
                    return Err(segment.corrupt(found.offset, format!("entry {index} does not follow the one before")));
                }
                let slot = Slot::new(found.offset, found.payload.len()).map_err(|error| self.io(error))?;
                self.view.append(index, term);
                self.index.push(index, segment.sequence, slot);
            }
            Kind::HardState => self.view.hard_state = Some(payload()),
            Kind::Committed => self.view.committed = Some(payload()),
            Kind::Cut => {
                self.view.cut(index);
                self.index.cut(index);
            }
            Kind::Purge => {
                self.view.purge(index, term);
                self.index.start_at(index.saturating_add(1));
            }
            Kind::Open | Kind::Mark => {}
        }
        Ok(())
    }

    /// Judges the file behind the last segment in use: prepared and never begun, or begun and torn, or damaged.
    async fn check_unused(&self, next: &Opened) -> Result<(), OpenError> {
        let generation = match next.header {
            // Zeros, or the header of the file's former life: the write that begins a segment never reached the disk.
            HeaderBytes::Zero | HeaderBytes::Newer(_) => return Ok(()),
            HeaderBytes::Valid(header) if header.sequence < next.sequence => return Ok(()),
            HeaderBytes::Valid(header) => header.generation,
            HeaderBytes::Damaged => self.generation + 1,
        };
        let seed = SegmentHeader::seed(self.salt, next.sequence);
        let mut window = Window::new(&*next.file).map_err(|error| self.io(error))?;
        match proof_behind(&mut window, seed, generation, 0).await.map_err(|error| self.io(error))? {
            None => Ok(()),
            Some(proof) => {
                let reason = format!("its start was durable before the record at byte {proof} was written");
                Err(next.corrupt(0, reason))
            }
        }
    }

    fn check_complete(&self) -> Result<(), OpenError> {
        let terms = &self.view.terms;
        if terms.is_empty() || (self.index.first() <= terms.first() && self.index.next() == terms.next()) {
            return Ok(());
        }
        let oldest = &self.segments[0];
        let file = self.directory.join(files::name_of(oldest.sequence.saturating_sub(1)));
        let reason = format!("entries from {} on were in a segment that is gone", terms.first());
        Err(OpenError::Corrupt { file, offset: 0, reason })
    }
}

/// A segment that was read to its end.
struct Scanned {
    segment: Segment,
    marked: bool,
    /// The least length of the next segment's file, if it is sealed.
    sealed: Option<u64>,
}
