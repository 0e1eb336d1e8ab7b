//! What becomes of a file that is damaged.

use super::*;

const FILE_PATH: &str = "/data/replication/records.redb";

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_the_copy_begins_anew() {
    let disk = FaultyDisk::default();
    let (_, mut writer) = open(&disk).await;
    put(&mut writer, 1, &[(1, Some("lost"))]).await.unwrap();
    writer.close().await;
    let file = Path::new("/data/replication/records.redb");
    let mut bytes = disk.content(file).unwrap();
    bytes[..4096].fill(0x55);
    disk.set_content(file, bytes.clone());
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
    let file = Path::new("/data/replication/records.redb");
    let mut bytes = disk.content(file).unwrap();
    let needle = b"a needle";
    let places: Vec<_> = (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    disk.set_content(file, bytes);
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
    let file = Path::new("/data/replication/records.redb");
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

#[tokio::test]
async fn damage_in_an_index_entry_stops_no_write_and_the_check_tells_of_it() {
    for may_be_old in [false, true] {
        let disk = FaultyDisk::default();
        let (_, mut writer) = open(&disk).await;
        let before = kept(1, 0, Some("before"));
        put(&mut writer, 1, &[(1, Some("before")), (2, Some("other"))]).await.unwrap();
        writer.close().await;
        let entry = Entry::of(&key(1), &before).encode(key(1).bytes());
        let mut bytes = disk.content(Path::new(FILE_PATH)).unwrap();
        let places: Vec<_> = (0..bytes.len() - entry.len()).filter(|at| bytes[*at..].starts_with(&entry)).collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at + 7] ^= 1;
        }
        disk.set_content(Path::new(FILE_PATH), bytes);
        let (store, mut writer) = open(&disk).await;
        assert!(matches!(store.get(&key(1)), Err(StoreError::Damaged { .. })));
        let changes = BTreeMap::from([(key(1), kept(2, 0, Some("after"))), (key(3), kept(2, 1, Some("more")))]);
        let batch =
            Batch { changes: changes.iter().collect(), may_be_old, anew: false, graves_max: u64::MAX, horizon: 0 };
        writer.write(batch, |state| state.position.epoch = 2).await.unwrap();
        let texts: Vec<_> = content(&store).into_values().map(|(_, data)| data).collect();
        assert_eq!(texts, ["after", "other", "more"]);
        assert!(store.check().unwrap().wrong > 0);
    }
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
