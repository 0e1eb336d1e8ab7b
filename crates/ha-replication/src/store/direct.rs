//! A file that redb reads and writes by itself.
//!
//! Redb writes page by page, in no order of the file. What belongs to one batch is gathered, put in the order of the
//! file, and written in long runs, those of large pages past the page cache: a sync then finds little to wait for, and
//! those of the log, on the same disk, are held up by no more than a run. Small pages, of which indexes are made, stay
//! in the page cache: they are read again soon, and are more than redb's own cache may hold.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ha_cluster::disk::{DIRECT_ALIGNMENT, File};
use redb::StorageBackend;

/// Bytes that are gathered before they are written: those of a batch, mostly.
const GATHERED_MAX: usize = 32 * 1024 * 1024;

/// From here on a page is written past the page cache: one with a block of changes.
const DIRECT_PAGE_MIN: usize = 32 * 1024;

/// Bytes that are written at once.
const RUN_MAX: usize = 1024 * 1024;

/// Up to here the memory of a run is kept for the next one.
const RUN_MEMORY_MAX: usize = 2 * RUN_MAX;

/// Times that a file which answers at once is asked before it is taken for broken.
const POLLS_MAX: usize = 3;

/// A file that answers at once.
pub(super) struct Direct {
    file: Arc<dyn File>,
    gathered: Mutex<Gathered>,
    /// Held by who writes what is gathered; the memory of the last run, for the next one.
    writing: Mutex<Vec<u8>>,
}

/// What is written and not in the file yet. No two pieces overlap.
#[derive(Default)]
struct Gathered {
    pieces: BTreeMap<u64, Piece>,
    bytes: usize,
    /// How many pieces there have been.
    count: u64,
}

struct Piece {
    number: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn is_direct(&self) -> bool {
        self.bytes.len() >= DIRECT_PAGE_MIN
    }
}

impl Gathered {
    /// A piece with bytes in this range, and where it begins: the last one.
    fn within(&self, from: u64, upto: u64) -> Option<(u64, &[u8])> {
        let (begin, piece) = self.pieces.range(..upto).next_back()?;
        (from < begin + piece.bytes.len() as u64).then_some((*begin, &piece.bytes[..]))
    }

    /// The first pieces that lie side by side, as one run.
    fn first_run(&self, memory: &mut Vec<u8>) -> Option<Run> {
        let (begin, first) = self.pieces.first_key_value()?;
        let (mut end, room) = (*begin, first.bytes.len().max(RUN_MAX) as u64);
        let pieces = self.pieces.iter().take_while(|(at, piece)| {
            let is_next = **at == end && piece.is_direct() == first.is_direct();
            end += piece.bytes.len() as u64;
            is_next && end - begin <= room
        });
        let pieces: Vec<_> = pieces.collect();
        let length = pieces.iter().map(|(_, piece)| piece.bytes.len()).sum();
        let mut run = Run::new(std::mem::take(memory), *begin, first.is_direct(), length);
        for (begin, piece) in pieces {
            run.memory.extend_from_slice(&piece.bytes);
            run.numbers.push((*begin, piece.number));
        }
        Some(run)
    }

    fn put(&mut self, begin: u64, bytes: Vec<u8>) {
        self.count += 1;
        self.bytes += bytes.len();
        let replaced = self.pieces.insert(begin, Piece { number: self.count, bytes });
        self.bytes -= replaced.map_or(0, |replaced| replaced.bytes.len());
    }

    /// Lets go of what is in the file now, but for pieces that were written again meanwhile.
    fn forget(&mut self, written: &Run) {
        for (begin, number) in &written.numbers {
            if self.pieces.get(begin).is_some_and(|piece| piece.number == *number) {
                self.bytes -= self.pieces.remove(begin).map_or(0, |piece| piece.bytes.len());
            }
        }
    }
}

/// Pieces that lie side by side, aligned in memory as direct writes must be.
struct Run {
    begin: u64,
    is_direct: bool,
    memory: Vec<u8>,
    skipped: usize,
    numbers: Vec<(u64, u64)>,
}

impl Run {
    fn new(mut memory: Vec<u8>, begin: u64, is_direct: bool, length: usize) -> Self {
        memory.clear();
        memory.reserve(length + DIRECT_ALIGNMENT);
        let skipped = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
        memory.resize(skipped, 0);
        Self { begin, is_direct, memory, skipped, numbers: Vec::new() }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.skipped..]
    }
}

impl Direct {
    pub(super) fn new(file: Arc<dyn File>) -> Self {
        Self { file, gathered: Mutex::default(), writing: Mutex::default() }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the first run of what is gathered; false when there is none. It stays gathered until then, and when that
    /// fails: whoever reads must not find what was there before.
    fn pass_on_run(&self) -> io::Result<bool> {
        let mut memory = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(run) = self.gathered().first_run(&mut memory) else { return Ok(false) };
        now(match run.is_direct {
            true => self.file.write_direct(run.bytes(), run.begin),
            false => self.file.write_at(run.bytes(), run.begin),
        })?;
        self.gathered().forget(&run);
        if run.memory.capacity() <= RUN_MEMORY_MAX {
            *memory = run.memory;
        }
        Ok(true)
    }

    /// Writes all that is gathered.
    fn pass_on(&self) -> io::Result<()> {
        while self.pass_on_run()? {}
        Ok(())
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

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Direct")
    }
}

impl StorageBackend for Direct {
    fn len(&self) -> io::Result<u64> {
        self.pass_on()?;
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let upto = offset + out.len() as u64;
        loop {
            let gathered = self.gathered();
            let Some((begin, piece)) = gathered.within(offset, upto) else { break };
            if begin <= offset && upto <= begin + piece.len() as u64 {
                out.copy_from_slice(&piece[(offset - begin) as usize..][..out.len()]);
                return Ok(());
            }
            drop(gathered);
            self.pass_on_run()?;
        }
        now(self.file.read_at(out, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pass_on()?;
        now(self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pass_on()?;
        now(self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        loop {
            let mut gathered = self.gathered();
            let fits = match gathered.within(offset, offset + data.len() as u64) {
                Some((begin, piece)) => begin == offset && piece.len() == data.len(),
                None => gathered.bytes == 0 || gathered.bytes + data.len() <= GATHERED_MAX,
            };
            if fits {
                gathered.put(offset, data.to_vec());
                return Ok(());
            }
            drop(gathered);
            self.pass_on_run()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::future::BoxFuture;
    use ha_cluster::disk::{Disk, RealDisk};
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = DIRECT_ALIGNMENT;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, u8, usize),
        Read(u64, usize),
        SetLen(u64),
        Sync,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u64..24, any::<u8>(), 1_usize..10).prop_map(|(at, byte, pages)| Step::Write(at, byte, pages)),
            2 => (0_u64..24, 1_usize..4).prop_map(|(at, pages)| Step::Read(at, pages)),
            1 => (16_u64..32).prop_map(Step::SetLen),
            1 => Just(Step::Sync),
        ]
    }

    /// A file that refuses to be written to while it is told to.
    struct Refusing(Arc<dyn File>, AtomicBool);

    impl File for Refusing {
        fn write_at<'a>(&'a self, bytes: &'a [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
            match self.1.load(Ordering::Relaxed) {
                true => Box::pin(std::future::ready(Err(io::ErrorKind::StorageFull.into()))),
                false => self.0.write_at(bytes, offset),
            }
        }

        fn read_at<'a>(&'a self, buffer: &'a mut [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
            self.0.read_at(buffer, offset)
        }

        fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
            self.0.sync_data()
        }

        fn set_len(&self, bytes: u64) -> BoxFuture<'_, io::Result<()>> {
            self.0.set_len(bytes)
        }

        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
    }

    #[test]
    fn what_a_full_disk_refuses_stays_readable_and_is_written_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let refusing = Arc::new(Refusing(file(&folder), AtomicBool::new(true)));
        let direct = Direct::new(refusing.clone());
        for (page, bytes) in [(0, PAGE), (9, DIRECT_PAGE_MIN)] {
            direct.write(page * PAGE as u64, &vec![page as u8; bytes]).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(direct.sync_data().unwrap_err().kind(), io::ErrorKind::StorageFull);
            let mut out = [1; PAGE];
            direct.read(10 * PAGE as u64, &mut out).unwrap();
            assert_eq!(out, [9; PAGE]);
        }
        refusing.1.store(false, Ordering::Relaxed);
        direct.sync_data().unwrap();
        let written = std::fs::read(folder.path().join("file")).unwrap();
        assert!(written[..9 * PAGE].iter().all(|byte| *byte == 0) && written[9 * PAGE..] == vec![9; DIRECT_PAGE_MIN]);
    }

    #[test]
    fn more_than_is_gathered_goes_to_the_file_run_by_run() {
        let folder = tempfile::tempdir().unwrap();
        let direct = Direct::new(file(&folder));
        let page = |number: usize| vec![number as u8; DIRECT_PAGE_MIN];
        let pages = GATHERED_MAX / DIRECT_PAGE_MIN;
        for number in 0..pages + 2 {
            direct.write((number * DIRECT_PAGE_MIN) as u64, &page(number)).unwrap();
        }
        let waits = direct.gathered().bytes;
        assert!(waits > GATHERED_MAX - 2 * RUN_MAX && waits <= GATHERED_MAX, "{waits} bytes wait");
        direct.sync_data().unwrap();
        let written = std::fs::read(folder.path().join("file")).unwrap();
        assert!((0..pages + 2).all(|number| written[number * DIRECT_PAGE_MIN..][..DIRECT_PAGE_MIN] == page(number)));
    }

    #[test]
    fn small_pages_stay_in_the_page_cache() {
        let folder = tempfile::tempdir().unwrap();
        let direct = Direct::new(file(&folder));
        direct.write(0, &[1; PAGE]).unwrap();
        direct.write(PAGE as u64, &vec![2; DIRECT_PAGE_MIN]).unwrap();
        let mut runs = std::iter::from_fn(|| {
            let run = direct.gathered().first_run(&mut Vec::new())?;
            direct.gathered().forget(&run);
            Some((run.is_direct, run.bytes().len()))
        });
        assert_eq!([runs.next(), runs.next(), runs.next()], [Some((false, PAGE)), Some((true, DIRECT_PAGE_MIN)), None]);
    }

    fn file(folder: &tempfile::TempDir) -> Arc<dyn File> {
        now(RealDisk.open(&folder.path().join("file"), true)).unwrap().into()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever is still gathered, a reader finds what was written last, and the file holds it after a sync.
        #[test]
        fn gathered_writes_are_read_as_if_they_were_in_the_file(steps in prop::collection::vec(step(), 1..40)) {
            let folder = tempfile::tempdir().unwrap();
            let direct = Direct::new(file(&folder));
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
                            prop_assert!(out == model[from..from + out.len()]);
                        }
                    }
                    Step::SetLen(pages) => {
                        model.resize(pages as usize * PAGE, 0);
                        direct.set_len(model.len() as u64).unwrap();
                        prop_assert_eq!(direct.len().unwrap(), model.len() as u64);
                    }
                    Step::Sync => {
                        direct.sync_data().unwrap();
                        prop_assert!(std::fs::read(folder.path().join("file")).unwrap() == model);
                        prop_assert_eq!(direct.gathered().bytes, 0);
                    }
                }
            }
        }
    }

    #[test]
    fn pages_are_written_in_long_runs_in_the_order_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let direct = Direct::new(file(&folder));
        for page in [3_u64, 1, 0, 9, 2] {
            direct.write(page * PAGE as u64, &[page as u8; PAGE]).unwrap();
        }
        let run = direct.gathered().first_run(&mut Vec::new()).unwrap();
        assert_eq!((run.begin, run.bytes().len()), (0, 4 * PAGE), "the first four lie side by side");
        assert!(run.bytes().as_ptr().addr().is_multiple_of(PAGE), "else no write is direct");
        direct.gathered().forget(&run);
        let run = direct.gathered().first_run(&mut Vec::new()).unwrap();
        assert_eq!((run.begin, run.bytes()), (9 * PAGE as u64, &[9; PAGE][..]));
    }

    #[test]
    fn a_page_that_is_written_again_meanwhile_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let direct = Direct::new(file(&folder));
        direct.write(0, &[1; PAGE]).unwrap();
        let run = direct.gathered().first_run(&mut Vec::new()).unwrap();
        direct.write(0, &[2; PAGE]).unwrap();
        direct.gathered().forget(&run);
        let mut out = [0; PAGE];
        direct.read(0, &mut out).unwrap();
        assert_eq!(out, [2; PAGE]);
    }

    #[test]
    fn a_page_longer_than_a_run_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let direct = Direct::new(file(&folder));
        direct.write(0, &vec![7; 3 * RUN_MAX]).unwrap();
        direct.sync_data().unwrap();
        assert!(std::fs::read(folder.path().join("file")).unwrap() == vec![7; 3 * RUN_MAX]);
    }
}
