//! A crash while a batch is written: what comes back is a prefix of it, never half an entry, never anything stale.

use super::*;
use crate::disk::faulty::Operation as On;

/// A log, up to this index. When it is long, its segments are recycled ones: records of the same lengths lie where more
/// will be written.
async fn prepare(last: u64) -> (FaultyDisk, Wal) {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    wal.save_hard_state("vote 1".into()).await.unwrap();
    quiet(&wal).await;
    for index in 1..=last {
        append(&wal, vec![record(index, 1, 70)]).await.unwrap();
        if index > 10 {
            wal.purge(index - 10, 1).await.unwrap();
        }
    }
    quiet(&wal).await;
    (disk, wal)
}

/// Entries of a log whose segments are new, and of one whose segments are recycled.
const SHORT: u64 = 10;
const LONG: u64 = 200;

/// Writes one batch of everything there is.
async fn write_batch(wal: &Wal, last: u64) {
    let entries = append(wal, (last + 1..=last + 3).map(|index| record(index, 2, 70)).collect());
    let vote = wal.save_hard_state("vote 2".into());
    let cut = wal.truncate_after(Some(last + 1));
    let entry = append(wal, vec![record(last + 2, 3, 1000)]);
    for outcome in [entries.await, vote.await, cut.await, entry.await] {
        outcome.unwrap();
    }
}

/// The contents before the batch and after each of its records.
fn steps(before: &Contents, last: u64) -> Vec<Contents> {
    let mut steps = vec![before.clone()];
    let mut next = before.clone();
    for index in last + 1..=last + 3 {
        next.records.push(record(index, 2, 70));
        steps.push(next.clone());
    }
    next.hard_state = Some("vote 2".into());
    steps.push(next.clone());
    next.records.truncate(next.records.len() - 2);
    steps.push(next.clone());
    next.records.push(record(last + 2, 3, 1000));
    steps.push(next);
    steps
}

/// What a torn write may leave, and how.
struct Torn {
    before: FaultyDisk,
    path: PathBuf,
    old: Vec<u8>,
    new: Vec<u8>,
    steps: Vec<Contents>,
}

impl Torn {
    async fn new(recycled: bool) -> Self {
        let mut last = if recycled { LONG } else { SHORT };
        loop {
            let (disk, wal) = prepare(last).await;
            let before = disk.fork();
            let steps = steps(&contents(&wal).await, last);
            // The mark behind the batch is never there together with a torn batch.
            disk.fail(On::Write, 2, io::ErrorKind::Other);
            write_batch(&wal, last).await;
            quiet(&wal).await;
            assert_eq!(contents(&wal).await, steps[6]);
            let differs = |path: &PathBuf| before.content(path) != disk.content(path);
            let paths: Vec<_> = disk.paths().into_iter().filter(differs).collect();
            if let [path] = &paths[..] {
                let [old, new] = [&before, &disk].map(|disk| disk.content(path).unwrap());
                return Self { before, path: path.clone(), old, new, steps };
            }
            // The batch began another segment; it may fit with a few entries more before it.
            last += 1;
        }
    }

    fn changed(&self) -> Range<usize> {
        let differs = |at: &usize| self.old[*at] != self.new[*at];
        let first = (0..self.old.len()).find(differs).unwrap();
        first..(0..self.old.len()).rfind(differs).unwrap() + 1
    }

    /// Opens what is left, and returns up to which step it goes. Then goes on, crashes again, and looks again.
    async fn recover(&self, left: Vec<u8>) -> usize {
        let disk = self.before.fork();
        disk.set_content(&self.path, left);
        let wal = open(&disk).await;
        let found = contents(&wal).await;
        let step = self.steps.iter().rposition(|step| *step == found);
        let step = step.unwrap_or_else(|| panic!("not a prefix: {found:?}"));
        // The same lengths as in the batch: whatever was cut off lies where the next record would be.
        let last = wal.state().last.unwrap().0;
        let more = vec![record(last + 1, 4, 70)];
        append(&wal, more.clone()).await.unwrap();
        let disk = disk.crash(Survival::Nothing);
        let wal = open(&disk).await;
        assert_eq!(wal.hard_state(), found.hard_state);
        assert_eq!(all(&wal).await, [found.records, more].concat());
        step
    }
}

#[tokio::test]
async fn torn_at_every_byte() {
    for recycled in [false, true] {
        let torn = Torn::new(recycled).await;
        let changed = torn.changed();
        let mut reached = 0;
        for end in changed.start..=changed.end {
            let step = torn.recover([&torn.new[..end], &torn.old[end..]].concat()).await;
            assert!(step >= reached, "more of the batch was written, and less was found");
            reached = step;
        }
        assert_eq!(reached, 6);
    }
}

#[tokio::test]
async fn a_segment_that_grows_cut_at_every_byte() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    quiet(&wal).await;
    (1..50).for_each(|nth| disk.fail(On::Rename, nth, io::ErrorKind::PermissionDenied));
    let longest = || disk.paths().into_iter().max_by_key(|path| disk.content(path).unwrap().len()).unwrap();
    let mut last = 0;
    while disk.content(&longest()).unwrap().len() <= 4096 {
        last += 1;
        append(&wal, vec![record(last, 1, 70)]).await.unwrap();
    }
    quiet(&wal).await;
    let (before, path, steps) = (disk.fork(), longest(), steps(&contents(&wal).await, last));
    write_batch(&wal, last).await;
    let [old, new] = [&before, &disk].map(|disk| disk.content(&path).unwrap());
    let torn = Torn { before, path, old, new, steps };
    let mut reached = 0;
    for end in torn.old.len()..=torn.new.len() {
        let step = torn.recover(torn.new[..end].to_vec()).await;
        assert!(step >= reached, "more of the batch was written, and less was found");
        reached = step;
    }
    assert_eq!(reached, 6);
}

#[tokio::test]
async fn every_set_of_blocks() {
    const BLOCK: usize = 512;
    for recycled in [false, true] {
        let torn = Torn::new(recycled).await;
        let changed = torn.changed();
        let blocks: Vec<usize> = (changed.start / BLOCK..changed.end.div_ceil(BLOCK)).collect();
        assert!((3..10).contains(&blocks.len()), "{blocks:?}");
        for set in 0..1usize << blocks.len() {
            let mut left = torn.old.clone();
            for (_, block) in blocks.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1) {
                let block = block * BLOCK..((block + 1) * BLOCK).min(left.len());
                left[block.clone()].copy_from_slice(&torn.new[block]);
            }
            torn.recover(left).await;
        }
    }
}

#[tokio::test]
async fn the_start_of_a_segment_torn_at_every_byte() {
    for recycled in [false, true] {
        let mut last = if recycled { LONG } else { SHORT };
        let (disk, wal) = prepare(last).await;
        // One more at a time, until a new segment begins.
        let (before, steps, path) = loop {
            quiet(&wal).await;
            let (before, old) = (disk.fork(), contents(&wal).await);
            last += 1;
            append(&wal, vec![record(last, 2, 70)]).await.unwrap();
            let newest = segments(&disk).pop().unwrap();
            // One that was freed may be gone.
            let began =
                |path: &PathBuf| disk.content(path).is_some_and(|now| before.content(path).unwrap()[..48] != now[..48]);
            if let Some(path) = segments(&before).into_iter().find(began) {
                assert!(path <= newest);
                break (before, [old, contents(&wal).await], path);
            }
        };
        quiet(&wal).await;
        let [old, new] = [&before, &disk].map(|disk| disk.content(&path).unwrap());
        let end = (0..old.len()).rfind(|at| old[*at] != new[*at]).unwrap() + 1;
        let torn = Torn { before, path, old, new, steps: steps.to_vec() };
        let mut reached = 0;
        for cut in 0..=end {
            let step = torn.recover([&torn.new[..cut], &torn.old[cut..]].concat()).await;
            assert!(step >= reached);
            reached = step;
        }
        assert_eq!(reached, 1);
    }
}
