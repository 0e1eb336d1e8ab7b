mod damage;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use ha_cluster::disk::RealDisk;
use ha_cluster::disk::faulty::{FaultyDisk, Operation, Survival};
use proptest::prelude::*;

use super::*;
use crate::Version;

const CACHE: usize = 1024 * 1024;

fn key(n: u8) -> Key {
    Key::new("t", &n.to_string()).unwrap()
}

fn kept(epoch: u64, tie: u64, data: Option<&str>) -> Kept {
    Kept {
        version: Version { time: epoch, tie },
        place: epoch,
        data: data.map(|data| Bytes::copy_from_slice(data.as_bytes())),
        past: Bytes::new(),
    }
}

async fn open(disk: &FaultyDisk) -> (Store, Writer) {
    Store::open(Arc::new(disk.clone()), "/data/replication".into(), CACHE).await.unwrap()
}

async fn put(writer: &mut Writer, epoch: u64, changes: &[(u8, Option<&str>)]) -> Result<(), StoreError> {
    let changes = (0..).zip(changes).map(|(tie, (n, data))| (key(*n), kept(epoch, tie, *data))).collect();
    write(writer, epoch, &changes, u64::MAX).await
}

/// As [`put`], of changes that no leader ordered.
async fn put_loose(writer: &mut Writer, epoch: u64, changes: &[(u8, Option<&str>)]) -> Result<(), StoreError> {
    let place = |tie| epoch * 100 + tie;
    let stamped = |tie, data| {
        let version = Version { time: place(tie), tie: Version::STAMPED };
        Kept { version, place: place(tie), ..kept(epoch, tie, data) }
    };
    let changes: BTreeMap<_, _> = (0..).zip(changes).map(|(tie, (n, data))| (key(*n), stamped(tie, *data))).collect();
    let batch =
        Batch { changes: changes.iter().collect(), may_be_old: false, anew: false, graves_max: u64::MAX, horizon: 0 };
    writer.write(batch, |state| state.place = place(99)).await.map(drop)
}

async fn write(
    writer: &mut Writer,
    epoch: u64,
    changes: &BTreeMap<Key, Kept>,
    graves_max: u64,
) -> Result<(), StoreError> {
    let batch = Batch { changes: changes.iter().collect(), may_be_old: false, anew: false, graves_max, horizon: 0 };
    writer.write(batch, |state| state.position.epoch = epoch).await.map(drop)
}

/// Everything that can be read.
fn content(store: &Store) -> BTreeMap<Key, (Version, Bytes)> {
    let page = store.page(&Key::prefix("t").unwrap(), None, usize::MAX, usize::MAX).unwrap();
    page.into_iter().map(|(key, kept)| (key, (kept.version, kept.data.unwrap()))).collect()
}

fn sound(store: &Store) {
    let report = store.check().unwrap();
    assert_eq!(report.wrong, 0, "{report:?}");
}

#[tokio::test]
async fn keeps_the_newest_change_of_each_record_and_their_order() {
    let disk = FaultyDisk::default();
    let (store, mut writer) = open(&disk).await;
    put(&mut writer, 1, &[(1, Some("a")), (2, Some("b"))]).await.unwrap();
    put(&mut writer, 2, &[(1, Some("c")), (3, Some("d"))]).await.unwrap();
    put(&mut writer, 3, &[(3, None)]).await.unwrap();
    assert_eq!(content(&store).len(), 2);
    assert_eq!(store.get(&key(1)).unwrap().unwrap().data.unwrap(), "c");
    assert_eq!(store.get(&key(3)).unwrap().unwrap().data, None, "a grave");
    assert_eq!(store.get(&key(4)).unwrap(), None);
    let order = |after| -> Vec<_> {
        let changes = store.changes(after, (u64::MAX, u64::MAX), 10, usize::MAX).unwrap();
        changes.into_iter().map(|(key, kept)| (key.data_id().to_owned(), kept.version.time)).collect()
    };
    assert_eq!(order((0, 0)), [("2".to_owned(), 1), ("1".to_owned(), 2), ("3".to_owned(), 3)]);
    assert_eq!(order((2, 0)), [("3".to_owned(), 3)]);
    let totals = store.state().unwrap().totals;
    assert_eq!((totals.records, totals.graves), (2, 1));
    sound(&store);
}

#[tokio::test]
async fn an_older_change_does_not_replace_a_later_one_and_all_can_be_begun_anew() {
    let (store, mut writer) = open(&FaultyDisk::default()).await;
    put(&mut writer, 9, &[(1, None), (2, Some("new"))]).await.unwrap();
    let old = BTreeMap::from([
        (key(1), kept(3, 0, Some("old"))),
        (key(2), kept(3, 1, Some("old"))),
        (key(3), kept(3, 2, Some("x"))),
    ]);
    let batch = Batch { changes: old.iter().collect(), may_be_old: true, anew: false, graves_max: 0, horizon: 0 };
    writer
        .write(batch, |state| state.hole = Some(Hole { after: 0, after_tie: 0, upto: 5, anew: false }))
        .await
        .unwrap();
    assert_eq!(content(&store).into_values().map(|(_, data)| data).collect::<Vec<_>>(), ["new", "x"]);
    assert_eq!(store.state().unwrap().totals.graves, 1, "graves stay while changes are missing");
    let batch = Batch { changes: Vec::new(), may_be_old: true, anew: true, graves_max: 0, horizon: 0 };
    writer.write(batch, |_| {}).await.unwrap();
    assert_eq!(store.state().unwrap().totals, Totals::default());
    sound(&store);
}

#[tokio::test]
async fn old_graves_are_dug_up_and_the_floor_says_so() {
    let (store, mut writer) = open(&FaultyDisk::default()).await;
    let graves = (1..=9).map(|n| (key(n), kept(1, u64::from(n), None))).collect();
    write(&mut writer, 1, &graves, 9).await.unwrap();
    assert_eq!(store.state().unwrap().floor, (0, 0));
    write(&mut writer, 2, &BTreeMap::new(), 4).await.unwrap();
    let state = store.state().unwrap();
    assert_eq!((state.floor, state.totals.graves), ((1, 5), 4));
    assert_eq!(store.get(&key(5)).unwrap(), None);
    sound(&store);
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_writing_goes_on_when_there_is_room_again() {
    let disk = FaultyDisk::default();
    let (store, mut writer) = open(&disk).await;
    put(&mut writer, 1, &[(1, Some("before"))]).await.unwrap();
    disk.set_capacity(Some(disk.content(Path::new("/data/replication/records.redb")).unwrap().len() as u64));
    let big = "x".repeat(3 * 1024 * 1024);
    assert_eq!(
        put(&mut writer, 2, &[(2, Some(&big))]).await,
        Err(StoreError::Full { directory: "/data/replication".into() })
    );
    assert_eq!(store.get(&key(1)), Err(StoreError::Closed), "until it is tried again");
    disk.set_capacity(None);
    put(&mut writer, 2, &[(2, Some(&big))]).await.unwrap();
    assert_eq!(content(&store).len(), 2);
    sound(&store);
}

#[tokio::test]
async fn a_refused_sync_is_an_error_and_what_was_there_before_is_there_after() {
    let disk = FaultyDisk::default();
    let (store, mut writer) = open(&disk).await;
    put(&mut writer, 1, &[(1, Some("before"))]).await.unwrap();
    disk.fail(Operation::Sync, 1, std::io::ErrorKind::Other);
    assert!(matches!(put(&mut writer, 2, &[(1, Some("after"))]).await, Err(StoreError::Disk { .. })));
    let disk = disk.crash(Survival::Nothing);
    drop((store, writer));
    let (store, _writer) = open(&disk).await;
    assert_eq!(content(&store)[&key(1)].1, "before");
    sound(&store);
}

#[tokio::test]
async fn works_on_real_files() {
    let directory = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (store, mut writer) = Store::open(disk.clone(), directory.path().join("replication"), CACHE).await.unwrap();
    put(&mut writer, 1, &[(1, Some("a")), (2, None)]).await.unwrap();
    let before = content(&store);
    // As a killed process leaves it.
    drop((store, writer));
    let (store, _writer) = Store::open(disk, directory.path().join("replication"), CACHE).await.unwrap();
    assert_eq!(content(&store), before);
    sound(&store);
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    Crash { after: u64, survival: Survival },
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0_u8..12, prop::option::weighted(0.7, any::<u8>()));
    let survival = prop_oneof![
        Just(Survival::All),
        Just(Survival::Nothing),
        (0_usize..9).prop_map(Survival::FirstBlocks),
        (0_usize..5000).prop_map(Survival::FirstBytes),
        any::<u64>().prop_map(Survival::Scattered),
    ];
    prop_oneof![
        3 => prop::collection::btree_map(0_u8..12, change.prop_map(|(_, data)| data), 1..6)
            .prop_map(|changes| Step::Write(changes.into_iter().collect())),
        1 => (1_u64..120, survival).prop_map(|(after, survival)| Step::Crash { after, survival }),
    ]
}

/// As after another choice of how records are replicated.
#[tokio::test]
async fn what_a_leader_ordered_and_what_it_did_not_take_no_place_from_each_other() {
    let (store, mut writer) = open(&FaultyDisk::default()).await;
    put_loose(&mut writer, 0, &[(1, Some("loose")), (2, Some("loose")), (3, Some("loose"))]).await.unwrap();
    put(&mut writer, 1, &[(2, Some("ordered")), (4, Some("ordered"))]).await.unwrap();
    put(&mut writer, 2, &[(3, Some("ordered"))]).await.unwrap();
    sound(&store);
    let texts: Vec<_> = content(&store).into_values().map(|(_, data)| data).collect();
    assert_eq!(texts, ["loose", "ordered", "ordered", "ordered"]);
    let named = |n| store.slots(bucket_of(&key(n))).unwrap().len();
    assert_eq!((named(1), named(2), named(3)), (1, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is cut off, and wherever: a batch that was acknowledged is there, one that was not is there whole or
    /// not at all, and everything fits together.
    #[test]
    fn every_batch_survives_every_crash_whole_or_not_at_all(
        steps in prop::collection::vec(step(), 1..24),
        is_loose in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut disk = FaultyDisk::default();
            let (mut store, mut writer) = open(&disk).await;
            // The models after each batch that may be the last one: the acknowledged one first.
            let mut models: Vec<BTreeMap<Key, u8>> = vec![BTreeMap::new()];
            let mut epoch = 0;
            let mut due = false;
            for step in steps {
                match step {
                    Step::Write(changes) => {
                        epoch += 1;
                        let mut model = models[0].clone();
                        for (n, data) in &changes {
                            match data {
                                Some(data) => drop(model.insert(key(*n), *data)),
                                None => drop(model.remove(&key(*n))),
                            }
                        }
                        let texts: Vec<_> = changes.iter().map(|(n, data)| (*n, data.map(|data| data.to_string()))).collect();
                        let texts: Vec<_> = texts.iter().map(|(n, data)| (*n, data.as_deref())).collect();
                        let written = if is_loose {
                            put_loose(&mut writer, epoch, &texts).await
                        } else {
                            put(&mut writer, epoch, &texts).await
                        };
                        match written {
                            Ok(()) => models = vec![model],
                            Err(error) => {
                                assert!(due, "{error}");
                                due = false;
                                models.push(model);
                                drop((store, writer));
                                disk = disk.reborn();
                                (store, writer) = open(&disk).await;
                                let read: BTreeMap<_, _> = content(&store).into_iter()
                                    .map(|(key, (_, data))| (key, std::str::from_utf8(&data).unwrap().parse().unwrap())).collect();
                                models.retain(|model| *model == read);
                                assert!(!models.is_empty(), "neither before nor after: {read:?}");
                                sound(&store);
                            }
                        }
                        if !due {
                            sound(&store);
                        }
                    }
                    Step::Crash { after, survival } => {
                        disk.crash_after(after, survival);
                        due = true;
                    }
                }
            }
        });
    }
}

#[derive(Clone, Debug)]
enum LooseStep {
    Write(BTreeMap<u8, bool>),
    /// Graves of before so many writes ago are dug up.
    Purge(u64),
    Anew,
    Reopen,
}

fn loose_step() -> impl Strategy<Value = LooseStep> {
    prop_oneof![
        6 => prop::collection::btree_map(0_u8..40, prop::bool::weighted(0.8), 1..6).prop_map(LooseStep::Write),
        2 => (0_u64..6).prop_map(LooseStep::Purge),
        1 => Just(LooseStep::Anew),
        2 => Just(LooseStep::Reopen),
    ]
}

/// What the buckets say is what is there: each slot once, and sums that fit.
fn buckets_fit(store: &Store, model: &BTreeMap<Key, Version>) {
    let mut slots = BTreeMap::new();
    let mut sums = vec![0_u64; BUCKETS];
    for (key, version) in model {
        let bucket = bucket_of(key);
        slots.entry(bucket).or_insert_with(Vec::new).push((key.clone(), *version));
        sums[usize::from(bucket)] = sums[usize::from(bucket)].wrapping_add(buckets::share(key, *version));
    }
    for n in 0..40 {
        let bucket = bucket_of(&key(n));
        let expected = slots.get(&bucket).cloned().unwrap_or_default();
        let named: Vec<_> = expected.iter().map(|(key, version)| (name_of(key), *version)).collect();
        assert_eq!(store.slots(bucket).unwrap(), named);
        let names: Vec<u64> = named.iter().map(|(name, _)| *name).collect();
        let keys: Vec<Key> = expected.into_iter().map(|(key, _)| key).collect();
        assert_eq!(store.keys(bucket, &names).unwrap(), keys);
    }
    let told: Vec<u64> = (0..=u8::MAX).flat_map(|group| store.bucket_sums(group)).collect();
    assert!(told == sums, "the sums do not fit");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Wherever slots wait, and whenever the file is opened again: every record that no leader ordered is in its bucket.
    #[test]
    fn buckets_name_every_record_at_its_newest_version(steps in prop::collection::vec(loose_step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let disk = FaultyDisk::default();
            let (mut store, mut writer) = open(&disk).await;
            let (mut place, mut model) = (0, BTreeMap::new());
            let mut graves = BTreeMap::new();
            for step in steps {
                let (mut changes, mut horizon, mut anew) = (BTreeMap::new(), 0, false);
                match step {
                    LooseStep::Write(write) => {
                        for (n, stays) in write {
                            place += 1;
                            // Of some, a later change has an earlier stamp: such as one that is stamped again.
                            let time = if n % 4 == 0 { 1_000_000 - place } else { place };
                            let version = Version { time, tie: Version::STAMPED | 1 };
                            let data = stays.then(|| Bytes::from_static(b"data"));
                            changes.insert(key(n), Kept { version, place, data, past: Bytes::new() });
                            model.insert(key(n), version);
                            graves.remove(&key(n));
                            if !stays {
                                graves.insert(key(n), time);
                            }
                        }
                    }
                    LooseStep::Purge(ago) => {
                        horizon = place.saturating_sub(ago).max(1);
                        graves.retain(|key, at| *at >= horizon || model.remove(key).is_none());
                    }
                    LooseStep::Anew => {
                        anew = true;
                        model.clear();
                        graves.clear();
                    }
                    LooseStep::Reopen => {
                        writer.close().await;
                        drop(store);
                        (store, writer) = open(&disk).await;
                        buckets_fit(&store, &model);
                        continue;
                    }
                }
                let batch = Batch { changes: changes.iter().collect(), may_be_old: false, anew, graves_max: u64::MAX, horizon };
                writer.write(batch, |state| state.place = place).await.unwrap();
                buckets_fit(&store, &model);
                sound(&store);
            }
        });
    }
}

/// The versions of all changes, in their order, as a follower that began `after` is shown them.
fn told(store: &Store, mut after: Place, limit: usize) -> Vec<(Key, u64)> {
    let mut told = Vec::new();
    loop {
        let changes = store.changes(after, (u64::MAX, u64::MAX), limit, usize::MAX).unwrap();
        let Some((_, last)) = changes.last() else { return told };
        after = last.order();
        told.extend(changes.into_iter().map(|(key, kept)| (key, kept.version.time)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever order changes arrive in, as when a hole is filled while the log goes on: each record is at its newest
    /// one, those are told in their order wherever one begins, and what was replaced takes no more than half.
    #[test]
    fn changes_are_told_in_their_order_whatever_order_they_came_in(
        batches in prop::collection::vec((0_u64..40, prop::collection::btree_map(0_u8..30, 0_usize..90, 1..12)), 1..30),
        limit in 1_usize..7,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (store, mut writer) = open(&FaultyDisk::default()).await;
            let mut newest: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
            for (serial, (around, batch)) in (0..).zip(batches) {
                let changes: BTreeMap<Key, Kept> = batch.into_iter().map(|(n, bytes)| {
                    // Each epoch once, and some lie between those that are there.
                    let epoch = 1 + (around + u64::from(n) * 13) % 40 * 100_000 + serial * 100 + u64::from(n);
                    (key(n), kept(epoch, u64::from(n), (bytes > 0).then(|| "x".repeat(bytes)).as_deref()))
                }).collect();
                for (key, kept) in &changes {
                    let held = newest.entry(key.clone()).or_default();
                    *held = (*held).max(kept.order());
                }
                let batch = Batch { changes: changes.iter().collect(), may_be_old: true, anew: false, graves_max: u64::MAX, horizon: 0 };
                writer.write(batch, |_| {}).await.unwrap();
                sound(&store);
            }
            let mut expected: Vec<_> = newest.into_iter().map(|(key, order)| (order, key)).collect();
            expected.sort();
            for after in (0..expected.len()).step_by(5) {
                let begin = expected[after].0;
                let rest: Vec<_> = expected[after + 1..].iter().map(|(order, key)| (key.clone(), order.0)).collect();
                assert_eq!(told(&store, begin, limit), rest);
            }
            store.tables().unwrap().unwrap().changes.fits();
        });
    }
}
