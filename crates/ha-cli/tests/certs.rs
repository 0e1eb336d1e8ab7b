//! `ha certs create`: what it writes, what nodes make of it, and what it does not overwrite.

#![allow(clippy::unwrap_used, reason = "helpers stand outside of the tests that use them")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ha_runtime::{TlsFiles, TlsKeys};
use support::{Ended, end, ha};

fn create(dir: &Path, arguments: &[&str]) -> Ended {
    let dir = dir.to_str().unwrap();
    end(ha(&[&["certs", "create", "--dir", dir][..], arguments].concat()))
}

fn files(dir: &Path, node: &str) -> TlsFiles {
    let (certificate, key) = (dir.join(format!("{node}.crt")), dir.join(format!("{node}.key")));
    TlsFiles { certificate, key, authorities: dir.join("ca.crt") }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn nodes_can_use_what_it_makes_and_keys_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("certs");
    let ended = create(&dir, &["--nodes", "node-1,node-2", "--days", "30"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.contains("CLUSTER_TLS_CERT") && ended.out.contains("node-2.key"), "{}", ended.out);
    assert_eq!(mode(&dir), 0o700);
    for secret in ["ca.key", "node-1.key", "node-2.key"] {
        assert_eq!(mode(&dir.join(secret)), 0o600, "{secret}");
    }
    for node in ["node-1", "node-2"] {
        let days = TlsKeys::load(files(&dir, node)).await.unwrap().time_left().as_secs_f64() / 86_400.0;
        assert!((29.9..=30.0).contains(&days), "{node}: {days} days");
    }
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 6, "{left:?}");
}

#[tokio::test]
async fn nodes_that_come_later_are_signed_by_the_same_authority() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    assert_eq!(create(dir, &["--nodes", "node-1"]).code, Some(0));
    let authority = fs::read(dir.join("ca.crt")).unwrap();
    let first = fs::read(dir.join("node-1.crt")).unwrap();
    let again = create(dir, &["--nodes", "node-1,node-2"]);
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("node-1") && again.err.contains("--renew"), "{}", again.err);
    assert!(!dir.join("node-2.crt").exists(), "all or nothing");
    assert_eq!(create(dir, &["--nodes", "node-2"]).code, Some(0));
    assert_eq!(create(dir, &["--nodes", "node-1", "--renew"]).code, Some(0));
    assert_eq!(fs::read(dir.join("ca.crt")).unwrap(), authority);
    assert_ne!(fs::read(dir.join("node-1.crt")).unwrap(), first);
    for node in ["node-1", "node-2"] {
        TlsKeys::load(files(dir, node)).await.unwrap();
    }
}

#[test]
fn a_name_that_no_certificate_can_bear_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (nodes, named) in [("node-1,node-", "node-"), ("7", "7"), ("a b", "a b")] {
        let ended = create(folder.path(), &["--nodes", nodes]);
        assert_eq!(ended.code, Some(2), "{nodes}: {}", ended.err);
        assert!(ended.err.contains(named), "{nodes}: {}", ended.err);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
