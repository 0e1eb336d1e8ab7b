use super::*;
use crate::disk::faulty::Operation as On;

#[tokio::test]
async fn a_new_log_is_empty() {
    let disk = FaultyDisk::default();
    let (wal, recovered) = try_open(&disk).await.unwrap();
    assert_eq!(recovered, Recovered { created: true, torn: false });
    assert_eq!(wal.state(), State::default());
    assert!(all(&wal).await.is_empty());
    let disk = stop(&disk, wal).await;
    let (wal, recovered) = try_open(&disk).await.unwrap();
    assert_eq!(recovered, Recovered { created: false, torn: false });
    assert_eq!((wal.state(), wal.hard_state(), wal.committed()), (State::default(), None, None));
}

#[tokio::test]
async fn entries_are_readable_at_once_and_durable_when_called_back() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    let written = append(&wal, vec![record(0, 1, 10), record(1, 1, 0)]);
    assert_eq!(all(&wal).await, [record(0, 1, 10), record(1, 1, 0)]);
    assert_eq!(wal.state().durable_index, None);
    written.await.unwrap();
    assert_eq!(wal.state().durable_index, Some(1));
    let wal = open(&disk.crash(Survival::Nothing)).await;
    assert_eq!(all(&wal).await, [record(0, 1, 10), record(1, 1, 0)]);
    assert_eq!(wal.state().last, Some((1, 1)));
}

#[tokio::test]
async fn many_segments_come_back_with_everything() {
    let mut disk = FaultyDisk::default();
    let mut wal = open(&disk).await;
    let mut expected = Vec::new();
    for index in 1..200 {
        let next = record(index, index / 7, (index as usize * 37) % 300);
        expected.push(next.clone());
        append(&wal, vec![next]).await.unwrap();
        if index % 50 == 0 {
            wal.save_hard_state(format!("vote {index}").into()).await.unwrap();
            wal.save_committed(format!("committed {index}").into()).unwrap();
            disk = stop(&disk, wal).await;
            wal = open(&disk).await;
            assert_eq!(wal.hard_state().unwrap(), format!("vote {index}"));
            assert_eq!(wal.committed().unwrap(), format!("committed {index}"));
        }
    }
    assert!(segments(&disk).len() > 5, "{:?}", segments(&disk));
    assert_eq!(all(&wal).await, expected);
    let range = wal.read(20..30, usize::MAX).await.unwrap();
    assert_eq!(range, expected[19..29]);
    assert_eq!(wal.read(20..30, 1).await.unwrap(), expected[19..20], "at least one");
    for next in &expected {
        assert_eq!(wal.term_at(next.index), Some(next.term));
    }
}

#[tokio::test]
async fn truncated_entries_stay_gone() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    append(&wal, (1..=9).map(|index| record(index, 1, 600)).collect()).await.unwrap();
    wal.truncate_after(Some(4)).await.unwrap();
    assert_eq!(wal.state().last, Some((4, 1)));
    append(&wal, vec![record(5, 2, 600)]).await.unwrap();
    let expected: Vec<_> = (1..=4).map(|index| record(index, 1, 600)).chain([record(5, 2, 600)]).collect();
    assert_eq!(all(&wal).await, expected);
    let wal = open(&disk.crash(Survival::Nothing)).await;
    assert_eq!(all(&wal).await, expected);
    wal.truncate_after(None).await.unwrap();
    assert_eq!(wal.state(), State::default());
}

#[tokio::test]
async fn purged_segments_are_recycled() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    wal.save_hard_state("vote".into()).await.unwrap();
    let mut most = 0;
    for index in 1..400 {
        append(&wal, vec![record(index, 1, 500)]).await.unwrap();
        if index > 10 {
            wal.purge(index - 10, 1).await.unwrap();
        }
        most = most.max(disk.paths().len());
    }
    assert!(most <= 6, "{most} files at once");
    let wal = open(&stop(&disk, wal).await).await;
    assert_eq!(wal.hard_state().unwrap(), "vote");
    assert_eq!(wal.state().purged, Some((389, 1)));
    assert_eq!(all(&wal).await, (390..400).map(|index| record(index, 1, 500)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_purge_beyond_the_end_moves_the_log() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    append(&wal, vec![record(1, 1, 10)]).await.unwrap();
    wal.purge(100, 7).await.unwrap();
    let expected = State { purged: Some((100, 7)), first: None, last: Some((100, 7)), durable_index: Some(100) };
    assert_eq!(wal.state(), expected);
    assert_eq!(wal.term_at(100), Some(7));
    assert!(append(&wal, vec![record(2, 1, 10)]).await.is_err());
    append(&wal, vec![record(101, 7, 10)]).await.unwrap();
    let wal = open(&disk.crash(Survival::Nothing)).await;
    assert_eq!(all(&wal).await, [record(101, 7, 10)]);
}

#[tokio::test]
async fn what_does_not_follow_or_fit_is_refused_and_changes_nothing() {
    let wal = open(&FaultyDisk::default()).await;
    append(&wal, vec![record(5, 1, 10)]).await.unwrap();
    for refused in [
        vec![record(5, 1, 1)],
        vec![record(7, 1, 1)],
        vec![record(6, 1, 1), record(8, 1, 1)],
        vec![record(6, 1, PAYLOAD_BYTES_MAX + 1)],
    ] {
        let error = append(&wal, refused).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let long = Bytes::from(vec![0; STATE_BYTES_MAX + 1]);
    assert!(wal.save_hard_state(long.clone()).await.is_err());
    assert!(wal.save_committed(long).is_err());
    assert_eq!(all(&wal).await, [record(5, 1, 10)]);
    assert_eq!(wal.failed(), None);
    append(&wal, vec![record(6, 1, PAYLOAD_BYTES_MAX)]).await.unwrap();
    assert_eq!(wal.read(6..7, 0).await.unwrap(), [record(6, 1, PAYLOAD_BYTES_MAX)]);
}

#[tokio::test]
async fn what_queues_up_during_a_sync_shares_the_next_one() {
    let wal = open(&FaultyDisk::default()).await;
    append(&wal, vec![record(1, 1, 10)]).await.unwrap();
    let before = wal.sync_times().count;
    let waiting: Vec<_> = (2..=40).map(|index| append(&wal, vec![record(index, 1, 10)])).collect();
    let vote = wal.save_hard_state("vote".into());
    for written in waiting {
        written.await.unwrap();
    }
    vote.await.unwrap();
    assert_eq!(wal.sync_times().count, before + 1);
}

#[tokio::test]
async fn a_closed_log_refuses_and_says_so() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    let written = append(&wal, vec![record(1, 1, 10)]);
    let clone = wal.clone();
    wal.close().await;
    written.await.unwrap();
    assert!(append(&clone, vec![record(2, 1, 10)]).await.is_err());
    assert!(clone.save_hard_state("vote".into()).await.is_err());
    assert_eq!(all(&open(&disk).await).await, [record(1, 1, 10)]);
}

#[tokio::test]
async fn a_long_queue_is_synced_in_parts() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    let payload = Bytes::from(vec![7; 1024 * 1024]);
    let (sender, mut durable) = futures::channel::mpsc::unbounded();
    for index in 1..=20 {
        let (log, sender) = (wal.clone(), sender.clone());
        let record = Record { index, term: 1, payload: payload.clone() };
        wal.append(
            vec![record],
            Box::new(move |outcome| {
                outcome.unwrap();
                sender.unbounded_send(log.state().durable_index).unwrap();
            }),
        );
    }
    wal.save_hard_state("after all".into()).await.unwrap();
    let seen: Vec<_> = (0..20).map(|_| durable.try_recv().unwrap().unwrap()).collect();
    assert_eq!(seen[..8], [8; 8], "the first ones did not wait for the last");
    assert_eq!(seen[16..], [20; 4]);
    let wal = open(&disk.crash(Survival::Nothing)).await;
    assert_eq!(wal.state().last, Some((20, 1)));
}

#[tokio::test]
async fn a_segment_is_made_ready_while_the_one_before_fills() {
    const PIECES: u64 = 8;
    let disk = FaultyDisk::default();
    let config = Config { segment_bytes: PIECES * keeper::PIECE_BYTES, ..config() };
    let wal = Wal::open(Arc::new(disk.clone()), PathBuf::from(DIRECTORY), config).await.unwrap().0;
    let spare = || disk.content(&Path::new(DIRECTORY).join(files::SPARE)).map(|spare| spare.len() as u64);
    let mut ready = Vec::new();
    for index in 1..=12 {
        append(&wal, vec![record(index, 1, keeper::PIECE_BYTES as usize * 9 / 8)]).await.unwrap();
        quiet(&wal).await;
        ready.push(spare().map(|bytes| bytes / keeper::PIECE_BYTES));
    }
    // The first segment has no room of its own: the second is made at once. From then on two pieces and a bit for each
    // that is written, and then it has its name.
    let filling = [Some(3), Some(5), Some(7), None, None, None, None];
    assert_eq!(ready, [&[None], &filling[..], &filling[..4]].concat());
    let longest = segments(&disk).iter().map(|path| disk.content(path).unwrap().len()).max();
    assert_eq!(longest, Some(PIECES as usize * keeper::PIECE_BYTES as usize), "nothing had to grow");
}

#[tokio::test]
async fn a_segment_that_is_needed_soon_is_made_ready_with_few_syncs() {
    let disk = FaultyDisk::default();
    let config = Config { segment_bytes: 32 * keeper::PIECE_BYTES, ..config() };
    let wal = Wal::open(Arc::new(disk.clone()), PathBuf::from(DIRECTORY), config).await.unwrap().0;
    append(&wal, vec![record(1, 1, 100)]).await.unwrap();
    quiet(&wal).await;
    assert_eq!(segments(&disk).len(), 2, "the first has no room");
    let before = disk.operations(On::Sync);
    append(&wal, vec![record(2, 1, 16 * keeper::PIECE_BYTES as usize)]).await.unwrap();
    quiet(&wal).await;
    assert_eq!(segments(&disk).len(), 3, "half of the second is written: the next is ready");
    let syncs = disk.operations(On::Sync) - before;
    assert!(syncs <= 6, "{syncs} syncs");
}

#[tokio::test]
async fn finished_segments_leave_memory_and_those_used_again_come_back_first() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    let mut last = 0;
    while segments(&disk).len() < 6 {
        last += 1;
        append(&wal, vec![record(last, 1, 900)]).await.unwrap();
        quiet(&wal).await;
    }
    assert!(disk.operations(On::Forget) >= 3, "of all but the present one and the next, and the first");
    let before = disk.operations(On::Prefetch);
    assert_eq!(before, 0, "new ones are written whole");
    wal.purge(last, 1).await.unwrap();
    for index in last + 1..last + 12 {
        append(&wal, vec![record(index, 1, 900)]).await.unwrap();
        quiet(&wal).await;
    }
    assert!(disk.operations(On::Prefetch) >= 2);
}
