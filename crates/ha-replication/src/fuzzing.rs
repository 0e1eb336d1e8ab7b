//! Commands, messages and stored records, to be fed with anything: see the package `ha-fuzz`.

use std::collections::BTreeSet;

use bytes::Bytes;
use ha_cluster::{NodeId, encoding};

use crate::loose;
use crate::machine;
use crate::message::{Ask, Command, Consistency, Loose, NotHeld, Page, Told};
use crate::quorum;
use crate::record::Kept;
use crate::store;
use crate::{Change, Key, Version};

/// A name, valid inputs to begin with, and what takes an input.
pub type Target = (&'static str, Vec<Vec<u8>>, fn(&[u8]));

/// All of this crate.
pub fn targets() -> Vec<Target> {
    vec![
        ("record-command", commands(), command),
        ("record-ask", asks(), ask),
        ("record-answer", answers(), answer),
        ("record", records(), record),
        ("record-past", pasts(), past),
        ("record-entry", entries(), store::fuzz_entry),
        ("record-state", store::fuzzing_states(), store::fuzz_state),
        ("record-manifest", vec![vec![0; 12]], machine::fuzz_manifest),
        ("record-tail", loose::fuzzing_lines(), loose::fuzz_line),
        ("record-clock", vec![vec![0xff; 24], vec![1; 24]], clock),
    ]
}

fn key() -> Key {
    Key::new("task", "1").unwrap_or_else(|_| unreachable!("a key"))
}

fn node() -> NodeId {
    "n1".parse().unwrap_or_else(|_| unreachable!("a node id"))
}

fn sealed<T: serde::Serialize>(values: &[T]) -> Vec<Vec<u8>> {
    values.iter().filter_map(|value| encoding::encode(value).ok()).collect()
}

fn commands() -> Vec<Vec<u8>> {
    let change = || Change { key: key(), data: Some(Bytes::from_static(b"{}")) };
    sealed(&[
        Command::Write(vec![change(), Change { data: None, ..change() }]),
        Command::SyncSet { seen: 3, members: BTreeSet::from([node()]) },
        Command::Import { source: "old".to_owned(), after: 1, upto: 2, changes: vec![change()] },
        Command::Horizon { horizon: 7, resets: BTreeSet::from([node()]) },
    ])
}

fn command(input: &[u8]) {
    if let Ok(command) = encoding::decode::<Command>(input) {
        assert!(encoding::encode(&command).is_ok());
        if let Command::Write(changes) | Command::Import { changes, .. } = command {
            for change in changes {
                // What a peer put on the log may be no key at all: whoever looks must not fall over.
                let _ = (change.key.is_valid(), change.key.data_type().len(), change.key.data_id().len());
            }
        }
    }
}

fn loose() -> Loose {
    Loose { key: key(), time: 1 << 40, tie: 5, data: Some(Bytes::from_static(b"{}")), past: Bytes::new() }
}

fn asks() -> Vec<Vec<u8>> {
    sealed(&[
        Ask::Held { index: 9, level: Consistency::Strong },
        Ask::Report,
        Ask::Get { key: key(), level: Consistency::Quorum },
        Ask::List { data_type: "task".to_owned(), after: Some(key()), limit: 100, level: Consistency::Quorum },
        Ask::Imported { source: "old".to_owned() },
        Ask::Push { changes: vec![loose()], epoch: 3, left: 9 },
        Ask::Groups { stamp: 7, epoch: 3 },
        Ask::Buckets { groups: vec![1, 2] },
        Ask::Slots { buckets: vec![1, 700] },
        Ask::Wanted { bucket: 3, names: vec![1, 2, 3] },
        Ask::Peek { epoch: 3, stamp: 7, key: key(), bare: true },
        Ask::Keep { epoch: 3, change: loose() },
        Ask::PeekPage { epoch: 3, prefix: key().bytes().clone(), after: Some(key()), limit: 100 },
    ])
}

fn ask(input: &[u8]) {
    let _ = encoding::decode::<Ask>(input);
}

fn answers() -> Vec<Vec<u8>> {
    let (by, reason) = (BTreeSet::from([node()]), "too few".to_owned());
    sealed(&[
        Told::Held(Err(NotHeld { by: by.clone(), needed: 2, reason, elsewhere: true })),
        Told::Held(Ok(by)),
        Told::Imported(Ok(9)),
        Told::Status(b"{}".to_vec()),
        Told::Done(Ok(())),
        Told::Sums(vec![vec![1, 2], vec![3]]),
        Told::Slots(vec![vec![(1, 2, 3)]]),
        Told::Wanted(vec![loose()]),
        Told::Peeked(Ok((Some(loose()), true))),
        Told::PeekedPage(Ok((vec![(loose(), false)], true))),
        Told::Changes(Page::Some {
            changes: vec![(key().bytes().clone(), records()[0].clone().into())],
            last: true,
            floor: (0, 0),
        }),
    ])
}

fn answer(input: &[u8]) {
    if let Ok(Told::Changes(Page::Some { changes, .. })) = encoding::decode::<Told>(input) {
        for (key, kept) in changes {
            let _ = Key::from_bytes(key).map(|key| Kept::decode(&key, &kept));
        }
    }
}

fn records() -> Vec<Vec<u8>> {
    let data = Some(Bytes::from_static(b"{\"a\": 1}"));
    let kept = Kept { version: Version { time: 4, tie: 1 }, place: 9, data, past: Bytes::new() };
    [kept.clone(), Kept { past: pasts().concat().into(), ..kept.clone() }, Kept { data: None, ..kept }]
        .map(|kept| kept.encode(&key()).to_vec())
        .into()
}

fn entries() -> Vec<Vec<u8>> {
    let kept = Kept::decode(&key(), &records()[0]);
    kept.map(|kept| store::fuzzing_entries(&key(), &kept)).unwrap_or_default()
}

/// As it is, and with a right checksum.
fn record(input: &[u8]) {
    let key = key();
    let _ = Kept::decode(&key, input);
    let _ = Key::from_bytes(Bytes::copy_from_slice(input)).map(|key| (key.data_type().len(), key.data_id().len()));
    if let Some(kept) = Kept::header(input).filter(|kept| kept.past.is_empty()) {
        let data = input.get(30..).map(Bytes::copy_from_slice);
        let kept = Kept { data, ..kept };
        assert_eq!(Kept::decode(&key, &kept.encode(&key)), Ok(kept));
    }
}

/// What a record has seen, where a majority holds it and no leader orders it.
fn pasts() -> Vec<Vec<u8>> {
    let joined = quorum::merged(None, &loose()).ok().flatten();
    joined.map(|kept| kept.past.to_vec()).into_iter().collect()
}

fn past(input: &[u8]) {
    let change = Loose { past: Bytes::copy_from_slice(input), ..loose() };
    if let Ok(Some(kept)) = quorum::merged(None, &change) {
        assert_eq!(quorum::merged(Some(&kept), &change), Ok(None), "the same state is nothing new");
    }
    let kept = Kept { version: Version { time: 4, tie: 1 }, place: 9, data: None, past: change.past.clone() };
    let _ = (quorum::latest(&kept), quorum::merged(Some(&kept), &change));
}

/// Stamps of other nodes, however absurd, and the time here: stamps only grow, and none runs away.
fn clock(input: &[u8]) {
    let mut clock = loose::FuzzedClock::new(&node(), 0, 0);
    let mut last = 0;
    for numbers in input.chunks_exact(12) {
        let number = |at: usize| numbers[at..at + 6].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let (now_ms, seen) = (number(0) >> 4, number(6) << 16 | 0xffff);
        let _ = clock.see(seen, now_ms);
        let stamp = clock.stamp(now_ms);
        assert!(stamp.time > last, "a stamp that is not later than the one before");
        last = stamp.time;
    }
}
