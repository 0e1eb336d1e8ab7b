//! What becomes of a file that is damaged.

use super::*;

const FILE_PATH: &str = "/data/replication/records.redb";

/// Flips a bit of a byte of these, wherever they stand in the file.
fn flip(disk: &FaultyDisk, needle: &[u8], byte: usize) {
    let mut bytes = disk.content(Path::new(FILE_PATH)).unwrap();
    let places: Vec<_> = (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + byte] ^= 1;
    }
    disk.set_content(Path::new(FILE_PATH), bytes);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_the_copy_begins_anew() {
    let disk = FaultyDisk::default();
    let (_, mut writer) = open(&disk).await;
    put(&mut writer, 1, &[(1, Some("lost"))]).await.unwrap();
    writer.close().await;
    let mut bytes = disk.content(Path::new(FILE_PATH)).unwrap();
    bytes[..4096].fill(0x55);
    disk.set_content(Path::new(FILE_PATH), bytes.clone());
    let (store, _writer) = open(&disk).await;
    assert_eq!(content(&store).len(), 0);
    assert_eq!(store.state().unwrap().position, Position::default());
    assert_eq!(
        disk.content(Path::new("/data/replication/records.redb.damaged")).unwrap(),
        bytes,
        "nothing is thrown away"
    );
}

#[tokio::test]
async fn damage_in_a_record_is_seen_when_it_is_read_and_by_the_check() {
    let disk = FaultyDisk::default();
    let (_, mut writer) = open(&disk).await;
    put(&mut writer, 1, &[(1, Some("a needle in the hay"))]).await.unwrap();
    writer.close().await;
    flip(&disk, b"a needle", 0);
    let (store, _writer) = open(&disk).await;
    assert!(matches!(store.get(&key(1)), Err(StoreError::Damaged { .. })));
    assert!(store.check().unwrap().wrong > 0);
}

/// Wherever a bit of a block is flipped.
#[tokio::test]
async fn damage_in_a_block_hides_no_change_and_stops_no_write() {
    let disk = FaultyDisk::default();
    let (_, mut writer) = open(&disk).await;
    let data = |n: u8| format!("needle {n}");
    let texts: Vec<_> = (1..=4).map(data).collect();
    let changes: Vec<_> = (1..).zip(&texts).map(|(n, text)| (n, Some(&text[..]))).collect();
    put(&mut writer, 1, &changes).await.unwrap();
    writer.close().await;
    let file = Path::new(FILE_PATH);
    let whole = disk.content(file).unwrap();
    let places = |text: &str| -> Vec<usize> {
        (0..whole.len() - text.len()).filter(|at| whole[*at..].starts_with(text.as_bytes())).collect()
    };
    // Length, length of the key, key, and the head of the record lie before its data.
    let before = 4 + 2 + key(1).bytes().len() + crate::record::HEADER_BYTES;
    let (begins, ends) = (places(&texts[0]), places(&texts[3]));
    let block = ends[0] + texts[3].len() - (begins[0] - before);
    let (mut told, mut lost) = (0, 0);
    for bit in (0..block * 8).step_by(3) {
        let mut bytes = whole.clone();
        begins.iter().for_each(|begin| bytes[begin - before + bit / 8] ^= 1 << (bit % 8));
        let disk = disk.fork();
        disk.set_content(file, bytes);
        let (store, mut writer) = open(&disk).await;
        let found = store.changes((0, 0), (u64::MAX, u64::MAX), 100, usize::MAX);
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "bit {bit}: {found:?}");
        told += usize::from(store.check().unwrap().wrong > 0);
        lost += (1..=4).filter(|n| store.get(&key(*n)).is_err()).count();
        put(&mut writer, 2, &[(4, Some("again")), (5, Some("more"))]).await.unwrap();
        assert_eq!(store.get(&key(4)).unwrap().unwrap().data.unwrap(), "again", "bit {bit}");
    }
    let flips = (block * 8).div_ceil(3);
    assert_eq!(told, flips);
    // One each, and what follows a damaged length.
    assert!(lost < flips * 5 / 4, "{lost} records of {flips} flips");
}

/// Damages the index entry of the first record, as it was written.
fn damage_entry(disk: &FaultyDisk, written: &Kept) {
    flip(disk, &Entry::of(&key(1), written).encode(key(1).bytes()), 7);
}

#[tokio::test]
async fn damage_in_an_index_entry_stops_no_write_and_the_check_tells_of_it() {
    for may_be_old in [false, true] {
        let disk = FaultyDisk::default();
        let (_, mut writer) = open(&disk).await;
        put(&mut writer, 1, &[(1, Some("before")), (2, Some("other"))]).await.unwrap();
        writer.close().await;
        damage_entry(&disk, &kept(1, 0, Some("before")));
        let (store, mut writer) = open(&disk).await;
        assert!(matches!(store.get(&key(1)), Err(StoreError::Damaged { .. })));
        let changes = BTreeMap::from([(key(1), kept(2, 0, Some("after"))), (key(3), kept(2, 1, Some("more")))]);
        let batch =
            Batch { changes: changes.iter().collect(), may_be_old, anew: false, graves_max: u64::MAX, horizon: 0 };
        writer.write(batch, |state| state.position.epoch = 2).await.unwrap();
        assert!(store.get(&key(3)).unwrap().is_some());
        match store.get(&key(1)) {
            Ok(found) => assert_eq!((may_be_old, found.unwrap().data.as_deref()), (false, Some(&b"after"[..]))),
            // What is there may be newer than what is fetched.
            Err(error) => assert!(may_be_old && matches!(error, StoreError::Damaged { .. }), "{error}"),
        }
        assert!(store.check().unwrap().wrong > 0);
    }
}

#[tokio::test]
async fn a_grave_whose_entry_was_damaged_takes_nothing_with_it_that_was_written_since() {
    let disk = FaultyDisk::default();
    let (_, mut writer) = open(&disk).await;
    put(&mut writer, 1, &[(1, None)]).await.unwrap();
    writer.close().await;
    damage_entry(&disk, &kept(1, 0, None));
    let (store, mut writer) = open(&disk).await;
    put(&mut writer, 2, &[(1, Some("back"))]).await.unwrap();
    let none = BTreeMap::<Key, Kept>::new();
    for _ in 0..2 {
        let batch = Batch { changes: none.iter().collect(), may_be_old: false, anew: false, graves_max: 0, horizon: 0 };
        writer.write(batch, |_| ()).await.unwrap();
    }
    assert_eq!(store.state().unwrap().floor, (1, 0), "it is dug up");
    assert_eq!(store.get(&key(1)).unwrap().unwrap().data.as_deref(), Some(&b"back"[..]));
}

#[tokio::test]
async fn a_file_in_which_damage_stops_every_write_is_set_aside_by_whoever_opens_it_next() {
    let disk = FaultyDisk::default();
    let (store, mut writer) = open(&disk).await;
    put(&mut writer, 1, &[(1, Some("before"))]).await.unwrap();
    let refused = async |writer: &mut Writer| {
        disk.fail(Operation::Sync, 1, std::io::ErrorKind::InvalidData);
        let put = put(writer, 2, &[(1, Some("after"))]).await;
        assert!(matches!(put, Err(StoreError::Damaged { .. })), "{put:?}");
    };
    // Once may be chance, and so may be what can be written in the end.
    refused(&mut writer).await;
    put(&mut writer, 2, &[(2, Some("between"))]).await.unwrap();
    refused(&mut writer).await;
    refused(&mut writer).await;
    put(&mut writer, 2, &[(2, Some("after all"))]).await.unwrap();
    writer.close().await;
    drop(store);
    let (store, mut writer) = open(&disk).await;
    assert_eq!(content(&store).len(), 2);
    refused(&mut writer).await;
    refused(&mut writer).await;
    writer.close().await;
    let damaged = disk.content(Path::new(FILE_PATH)).unwrap();
    for _ in 0..2 {
        let (store, mut writer) = open(&disk).await;
        assert_eq!(disk.content(Path::new("/data/replication/records.redb.damaged")).unwrap(), damaged);
        put(&mut writer, 1, &[(1, Some("again"))]).await.unwrap();
        assert!(content(&store).len() == 1, "and once only");
        writer.close().await;
    }
}
