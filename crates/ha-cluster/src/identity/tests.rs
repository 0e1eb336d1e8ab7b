use super::*;
use crate::disk::RealDisk;
use crate::disk::faulty::{FaultyDisk, Operation, Survival};

const DIRECTORY: &str = "/data";

fn expected() -> Expected {
    Expected { node_id: None, cluster_name: "orders".to_owned(), seed: Some(1) }
}

async fn try_open(disk: &FaultyDisk, expected: Expected) -> Result<Identity, IdentityError> {
    Identity::open(Arc::new(disk.clone()), PathBuf::from(DIRECTORY), expected).await
}

async fn open(disk: &FaultyDisk) -> Identity {
    try_open(disk, expected()).await.unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

#[tokio::test]
async fn an_id_is_generated_once() {
    let disk = FaultyDisk::default();
    let first = open(&disk).await;
    let node_id = first.node_id();
    assert!(first.is_new() && node_id.as_str().starts_with("node-") && node_id.as_str().len() == 13, "{node_id}");
    assert_eq!(first.incarnation(), Incarnation(1));
    let disk = disk.crash(Survival::Nothing);
    let second = try_open(&disk, Expected { seed: None, ..expected() }).await.unwrap();
    assert_eq!((second.node_id(), second.incarnation(), second.is_new()), (node_id, Incarnation(2), false));
}

#[tokio::test]
async fn ids_differ_without_a_seed() {
    let expected = Expected { seed: None, ..expected() };
    let [one, other] = [FaultyDisk::default(), FaultyDisk::default()];
    let one = try_open(&one, expected.clone()).await.unwrap();
    assert_ne!(one.node_id(), try_open(&other, expected).await.unwrap().node_id());
}

#[tokio::test]
async fn the_cluster_is_kept_and_never_goes_back() {
    let disk = FaultyDisk::default();
    let identity = open(&disk).await;
    assert_eq!(identity.cluster_id(), None);
    identity.save_cluster(ClusterId(7), 0).await.unwrap();
    identity.save_cluster(ClusterId(7), 2).await.unwrap();
    assert!(identity.save_cluster(ClusterId(8), 2).await.is_err());
    assert!(identity.save_cluster(ClusterId(7), 1).await.is_err());
    let identity = open(&disk.crash(Survival::Nothing)).await;
    assert_eq!((identity.cluster_id(), identity.generation()), (Some(ClusterId(7)), 2));
    assert_eq!(identity.cluster_name(), "orders");
}

#[tokio::test]
async fn each_mismatch_has_its_own_error_and_changes_nothing() {
    let disk = FaultyDisk::default();
    let found = open(&disk).await.node_id();
    let disk = disk.crash(Survival::Nothing);
    let before = disk.content(&path("identity"));
    let other: NodeId = "other".parse().unwrap();
    match try_open(&disk, Expected { node_id: Some(other.clone()), ..expected() }).await {
        Err(error @ IdentityError::OtherNode { .. }) => {
            let text = error.to_string();
            assert!(text.contains(found.as_str()) && text.contains("other"), "{text}");
        }
        outcome => panic!("{:?}", outcome.err()),
    }
    let named = Expected { cluster_name: "billing".to_owned(), ..expected() };
    assert!(matches!(try_open(&disk, named).await, Err(IdentityError::OtherCluster { .. })));
    let nameless = Expected { cluster_name: "two\nlines".to_owned(), ..expected() };
    assert!(matches!(try_open(&disk, nameless).await, Err(IdentityError::ClusterName { .. })));
    assert_eq!(disk.content(&path("identity")), before);
    assert!(try_open(&disk, Expected { node_id: Some(found), ..expected() }).await.is_ok());
}

#[tokio::test]
async fn a_directory_is_used_once_at_a_time() {
    let disk = FaultyDisk::default();
    let identity = open(&disk).await;
    assert!(matches!(try_open(&disk, expected()).await, Err(IdentityError::Locked { .. })));
    drop(identity);
    assert_eq!(open(&disk).await.incarnation(), Incarnation(2));
}

#[tokio::test]
async fn strangers_and_lost_identities_are_refused_and_left_alone() {
    for (name, is_ours) in [("notes.txt", false), ("slot-formation", true)] {
        let disk = FaultyDisk::default();
        disk.create_dir_all(Path::new(DIRECTORY)).await.unwrap();
        disk.set_content(&path(name), b"mine".to_vec());
        match try_open(&disk, expected()).await {
            Err(IdentityError::Gone { .. }) if is_ours => {}
            Err(IdentityError::Foreign { .. }) if !is_ours => {}
            outcome => panic!("{name}: {:?}", outcome.err()),
        }
        assert_eq!(disk.paths(), [path(name)]);
    }
}

#[tokio::test]
async fn damage_is_refused_and_left_alone() {
    let disk = FaultyDisk::default();
    drop(open(&disk).await);
    let mut bytes = disk.content(&path("identity")).unwrap();
    bytes[100] ^= 1;
    disk.set_content(&path("identity"), bytes.clone());
    assert!(matches!(try_open(&disk, expected()).await, Err(IdentityError::Corrupt { .. })));
    assert_eq!(disk.content(&path("identity")), Some(bytes));
}

#[tokio::test]
async fn every_crash_while_it_is_written_leaves_the_old_or_the_new() {
    for at in 1..30 {
        for kind in [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir, Operation::Open] {
            let disk = FaultyDisk::default();
            let identity = open(&disk).await;
            identity.write_slot("promise", Bytes::from_static(b"old")).await.unwrap();
            disk.fail(kind, at, io::ErrorKind::Other);
            let outcome = identity.write_slot("promise", Bytes::from_static(b"new")).await;
            let counted = identity.save_cluster(ClusterId(7), 0).await;
            for seed in 0..4 {
                let disk = disk.fork().crash(Survival::Scattered(seed));
                let identity = open(&disk).await;
                let found = identity.read_slot("promise").await.unwrap().unwrap();
                assert!(found == "new" || (found == "old" && outcome.is_err()));
                assert!(identity.cluster_id().is_some() || counted.is_err());
                assert_eq!(identity.incarnation(), Incarnation(2));
            }
        }
    }
}

#[tokio::test]
async fn slots_are_checked() {
    let disk = FaultyDisk::default();
    let identity = open(&disk).await;
    assert_eq!(identity.read_slot("promise").await.unwrap(), None);
    identity.write_slot("promise", Bytes::from_static(b"to vote for b")).await.unwrap();
    identity.write_slot("empty", Bytes::new()).await.unwrap();
    assert_eq!(identity.read_slot("empty").await.unwrap().unwrap(), "");
    for name in ["", "../escape", "Capital", &"x".repeat(SLOT_NAME_BYTES_MAX + 1)] {
        assert!(matches!(identity.write_slot(name, Bytes::new()).await, Err(SlotError::Name { .. })), "{name}");
    }
    let long = Bytes::from(vec![0; SLOT_BYTES_MAX + 1]);
    assert!(matches!(identity.write_slot("long", long).await, Err(SlotError::TooLong { .. })));

    let whole = disk.content(&path("slot-promise")).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.set_content(&path("slot-promise"), flipped);
        assert!(matches!(identity.read_slot("promise").await, Err(SlotError::Corrupt { .. })), "bit {bit}");
    }
    disk.set_content(&path("slot-other"), whole);
    assert!(matches!(identity.read_slot("other").await, Err(SlotError::Corrupt { .. })), "another slot's file");
}

#[tokio::test]
async fn works_on_a_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let identity = Identity::open(disk.clone(), path.clone(), expected()).await.unwrap();
    match Identity::open(disk.clone(), path.clone(), expected()).await {
        Err(IdentityError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        outcome => panic!("{:?}", outcome.err()),
    }
    identity.write_slot("promise", Bytes::from_static(b"kept")).await.unwrap();
    drop(identity);
    let identity = Identity::open(disk, path, expected()).await.unwrap();
    assert_eq!(identity.read_slot("promise").await.unwrap().unwrap(), "kept");
    assert_eq!(identity.incarnation(), Incarnation(2));
}
