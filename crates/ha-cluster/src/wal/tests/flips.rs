//! Damage to what was durable: refused, and left alone; never wrong, never less.

use super::*;

/// A log over several segments, with one of everything.
async fn prepare() -> (FaultyDisk, Wal) {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    for index in 1..=45 {
        append(&wal, vec![record(index, index / 9, 200)]).await.unwrap();
    }
    wal.save_hard_state("vote".into()).await.unwrap();
    wal.purge(20, 2).await.unwrap();
    wal.truncate_after(Some(40)).await.unwrap();
    wal.save_committed("committed".into()).unwrap();
    append(&wal, vec![record(41, 5, 100), record(42, 5, 100)]).await.unwrap();
    (disk, wal)
}

/// Every byte of every file with one bit flipped; which bit goes round.
fn flips(disk: &FaultyDisk) -> impl Iterator<Item = (PathBuf, usize, Vec<u8>)> + use<> {
    let disk = disk.clone();
    disk.paths().into_iter().flat_map(move |path| {
        let whole = disk.content(&path).unwrap();
        (0..whole.len()).map(move |at| {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            (path.clone(), at, flipped)
        })
    })
}

/// Opens a copy with a damaged file; what was refused must have been left alone.
async fn open_flipped(disk: &FaultyDisk, path: &Path, content: Vec<u8>) -> Option<Contents> {
    let disk = disk.fork();
    disk.set_content(path, content);
    let before: Vec<_> = disk.paths().iter().map(|path| disk.content(path)).collect();
    match try_open(&disk).await {
        Ok((wal, _)) => Some(contents(&wal).await),
        Err(OpenError::Corrupt { .. }) => {
            let after: Vec<_> = disk.paths().iter().map(|path| disk.content(path)).collect();
            assert!(before == after, "a damaged log was changed");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn after_a_clean_stop_every_flip_is_refused_or_harmless() {
    let (disk, wal) = prepare().await;
    let expected = contents(&wal).await;
    let disk = stop(&disk, wal).await;
    let (mut refused, mut harmless) = (0, 0);
    for (path, at, flipped) in flips(&disk) {
        match open_flipped(&disk, &path, flipped).await {
            Some(found) => {
                assert!(found == expected, "{} at {at}: {found:?}", path.display());
                harmless += 1;
            }
            None => refused += 1,
        }
    }
    // All of the entries left have 22 × 200 bytes.
    assert!(refused > 22 * 200 && harmless > 0, "{refused} refused, {harmless} harmless");
}

#[tokio::test]
async fn after_a_loss_of_power_no_more_than_the_last_batch_is_in_doubt() {
    let (disk, wal) = prepare().await;
    let expected = contents(&wal).await;
    // The mark was written, but not synced.
    let disk = disk.crash(Survival::Nothing);
    let mut in_doubt = 0;
    for (path, at, flipped) in flips(&disk) {
        let Some(found) = open_flipped(&disk, &path, flipped).await else { continue };
        if found == expected {
            continue;
        }
        let mut shorter = expected.clone();
        let without_last = shorter.records.pop();
        let without_both =
            Contents { records: shorter.records[..shorter.records.len() - 1].to_vec(), ..shorter.clone() };
        assert!(found == shorter || found == without_both, "{} at {at}: {found:?}", path.display());
        assert!(without_last.is_some());
        in_doubt += 1;
    }
    // Two records of 40 and 104 bytes, and what is committed in the same batch.
    assert!((2 * 140..=2 * 144).contains(&in_doubt), "{in_doubt}");
}

#[tokio::test]
async fn a_lost_segment_is_refused_whichever_it_is() {
    let (disk, wal) = prepare().await;
    let expected = contents(&wal).await;
    let disk = stop(&disk, wal).await;
    let used: Vec<_> = segments(&disk);
    // The last one may be prepared only, and the one before it may have nothing that is missed.
    for path in &used[..used.len() - 2] {
        let disk = disk.fork();
        disk.erase(path);
        let opened = try_open(&disk).await;
        if *path == used[0] {
            assert!(contents(&opened.unwrap().0).await == expected, "the oldest is free");
            continue;
        }
        let error = opened.err().unwrap();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{} lost: {error}", path.display());
    }
    let disk = disk.fork();
    used.iter().for_each(|path| disk.erase(path));
    disk.set_content(&Path::new(DIRECTORY).join(files::SPARE), vec![0; 10]);
    assert!(matches!(try_open(&disk).await, Err(OpenError::Corrupt { .. })), "all lost but the spare");
}

/// Whatever the file itself could tell is gone: the segment before it tells.
#[tokio::test]
async fn a_segment_in_use_that_is_gone_or_cut_short_is_refused() {
    for restarts in [false, true] {
        let disk = FaultyDisk::default();
        let wal = open(&disk).await;
        quiet(&wal).await;
        append(&wal, vec![record(1, 1, 70)]).await.unwrap();
        quiet(&wal).await;
        append(&wal, vec![record(2, 1, 70)]).await.unwrap();
        let mut disk = disk.crash(Survival::Nothing);
        if restarts {
            disk = stop(&disk, open(&disk).await).await;
        }
        let path = Path::new(DIRECTORY).join(files::name_of(2));
        let whole = disk.content(&path).unwrap();
        assert_eq!(open_flipped(&disk, &path, whole.clone()).await.unwrap().records.len(), 2);
        for length in 0..whole.len() {
            assert!(open_flipped(&disk, &path, whole[..length].to_vec()).await.is_none(), "{length} bytes are left");
        }
        assert!(open_flipped(&disk, &path, vec![0; whole.len()]).await.is_none(), "nothing but zeros");
        // With and without one that was prepared behind it.
        for prepared in [true, false] {
            let disk = disk.fork();
            disk.erase(&path);
            if !prepared {
                segments(&disk).iter().skip(1).for_each(|later| disk.erase(later));
            }
            assert!(matches!(try_open(&disk).await, Err(OpenError::Corrupt { .. })), "prepared: {prepared}");
        }
    }
}

/// A seal that a crash prevented is made up for by the next life.
#[tokio::test]
async fn a_segment_is_sealed_later_if_not_at_once() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    quiet(&wal).await;
    let first = segments(&disk).into_iter().next().unwrap();
    let unsealed = disk.content(&first).unwrap();
    append(&wal, vec![record(1, 1, 70)]).await.unwrap();
    let disk = stop(&disk, wal).await;
    disk.set_content(&first, unsealed);
    let disk = stop(&disk, open(&disk).await).await;
    disk.erase(&Path::new(DIRECTORY).join(files::name_of(2)));
    segments(&disk).iter().skip(1).for_each(|path| disk.erase(path));
    assert!(matches!(try_open(&disk).await, Err(OpenError::Corrupt { .. })));
}

#[tokio::test]
async fn a_newer_format_is_not_called_damaged() {
    let (disk, wal) = prepare().await;
    let disk = stop(&disk, wal).await;
    let path = segments(&disk).remove(0);
    let mut content = disk.content(&path).unwrap();
    content[8] = 2;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&content[..12]), &content[16..48]);
    content[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.set_content(&path, content);
    assert!(matches!(try_open(&disk).await, Err(OpenError::Newer { .. })));
}

#[tokio::test]
async fn damage_that_is_met_while_reading_is_an_error() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    for index in 1..=30 {
        append(&wal, vec![record(index, 1, 200)]).await.unwrap();
    }
    let path = segments(&disk).into_iter().nth(1).unwrap();
    let mut content = disk.content(&path).unwrap();
    content[400] ^= 1;
    disk.set_content(&path, content);
    let error = wal.read(1..20, usize::MAX).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(wal.read(29..31, usize::MAX).await.unwrap().len(), 2, "what is in memory is not concerned");
}
