//! What reads the bytes of peers and of files, to be fed with anything: see the package `ha-fuzz`.

use bytes::Bytes;
use ha_net::{Address, NodeId};

use crate::archive::Archive;
use crate::{formation, gossip, identity, machine, raft, snapshot, wal};

/// A name, valid inputs to begin with, and what takes an input.
pub type Target = (&'static str, Vec<Vec<u8>>, fn(&[u8]));

/// All of this crate.
pub fn targets() -> Vec<Target> {
    let mut targets = vec![("saved-state", archives(), archive as fn(&[u8]))];
    targets.extend(raft::fuzzing_targets());
    targets.extend(machine::fuzzing::targets());
    targets.extend(wal::fuzzing::targets());
    targets.extend(gossip::fuzzing::targets());
    targets.extend(identity::fuzzing::targets());
    targets.extend(snapshot::fuzzing::targets());
    targets.extend(formation::fuzzing::targets());
    targets
}

/// A node for seeds.
pub(crate) fn node(name: &str) -> NodeId {
    name.parse().unwrap_or_else(|_| unreachable!("{name} is a node id"))
}

/// An address for seeds.
pub(crate) fn address() -> Address {
    Address::new("h", 7946).unwrap_or_else(|_| unreachable!("an address"))
}

fn archives() -> Vec<Vec<u8>> {
    let mut bytes = b"ha-save\n\x01\0\0\0".to_vec();
    bytes.extend([0; 4 + 16 + 8]);
    bytes.extend(b"image");
    vec![bytes]
}

fn archive(input: &[u8]) {
    let _ = Archive::decode(Bytes::copy_from_slice(input));
    let mut mended = input.to_vec();
    if mended.len() > 16 {
        mended[..8].copy_from_slice(b"ha-save\n");
        let crc = crc32c::crc32c(&mended[16..]);
        mended[12..16].copy_from_slice(&crc.to_le_bytes());
        if let Ok(archive) = Archive::decode(Bytes::from(mended.clone())) {
            assert_eq!(archive.pieces().concat(), mended, "a saved state reads back as it is");
        }
    }
}
