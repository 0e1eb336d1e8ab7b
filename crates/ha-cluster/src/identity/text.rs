//! The identity file: lines for people, and a checksum against accidents.

use std::path::Path;
use std::str::Lines;

use ha_net::{ClusterId, Incarnation, NodeId};

use super::{Expected, IdentityError};

const FORMAT: u32 = 1;
const TITLE: &str = "# Who this node is. Kept by the program; never copy it to another node.";
const NO_CLUSTER: &str = "none";
const CHECKSUM: &str = "checksum = ";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) node_id: NodeId,
    pub(super) cluster_name: String,
    pub(super) cluster_id: Option<ClusterId>,
    pub(super) incarnation: Incarnation,
    pub(super) generation: u64,
}

/// Refuses a name that would not be one line.
pub(super) fn check_name(name: &str) -> Result<(), IdentityError> {
    if name.is_empty() || name.contains(char::is_control) {
        return Err(IdentityError::ClusterName { name: name.to_owned() });
    }
    Ok(())
}

impl Content {
    pub(super) fn new(node_id: NodeId, expected: &Expected) -> Self {
        let cluster_name = expected.cluster_name.clone();
        Self { node_id, cluster_name, cluster_id: None, incarnation: Incarnation(0), generation: 0 }
    }

    pub(super) fn check(&self, directory: &Path, expected: &Expected) -> Result<(), IdentityError> {
        let directory = directory.to_owned();
        if let Some(node_id) = expected.node_id.as_ref().filter(|node_id| **node_id != self.node_id) {
            let (found, expected) = (self.node_id.clone(), node_id.clone());
            return Err(IdentityError::OtherNode { directory, found, expected });
        }
        if self.cluster_name != expected.cluster_name {
            let (found, expected) = (self.cluster_name.clone(), expected.cluster_name.clone());
            return Err(IdentityError::OtherCluster { directory, found, expected });
        }
        Ok(())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { node_id, cluster_name, cluster_id, incarnation: Incarnation(incarnation), generation } = self;
        let cluster_id = cluster_id.map_or_else(|| NO_CLUSTER.to_owned(), |id| id.to_string());
        let mut text = format!(
            "{TITLE}\nformat = {FORMAT}\nnode_id = {node_id}\ncluster_name = {cluster_name}\ncluster_id = {cluster_id}\n\
             incarnation = {incarnation}\ngeneration = {generation}\n"
        );
        let checksum = crc32c::crc32c(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{checksum:08x}\n"));
        text.into_bytes()
    }

    pub(super) fn decode(file: &Path, bytes: &[u8]) -> Result<Self, IdentityError> {
        let corrupt = |reason: &str| IdentityError::Corrupt { file: file.to_owned(), reason: reason.to_owned() };
        let text = str::from_utf8(bytes).map_err(|_| corrupt("it is not text"))?;
        let (body, checksum) = text.rsplit_once(CHECKSUM).ok_or_else(|| corrupt("its end is missing"))?;
        if checksum != format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) {
            return Err(corrupt("its checksum is wrong"));
        }
        let mut lines = body.lines();
        let missing = |key: &'static str| move || corrupt(&format!("{key} is missing or cannot be read"));
        lines.next();
        match value(&mut lines, "format").and_then(|format| format.parse().ok()).ok_or_else(missing("format"))? {
            FORMAT => {}
            format => return Err(IdentityError::Newer { file: file.to_owned(), format }),
        }
        let mut next = |key: &'static str| value(&mut lines, key).ok_or_else(missing(key));
        let node_id = next("node_id")?.parse().map_err(|_| missing("node_id")())?;
        let cluster_name = next("cluster_name")?.to_owned();
        let cluster_id = match next("cluster_id")? {
            NO_CLUSTER => None,
            id => Some(ClusterId(u128::from_str_radix(id, 16).map_err(|_| missing("cluster_id")())?)),
        };
        let incarnation = Incarnation(next("incarnation")?.parse().map_err(|_| missing("incarnation")())?);
        let generation = next("generation")?.parse().map_err(|_| missing("generation")())?;
        Ok(Self { node_id, cluster_name, cluster_id, incarnation, generation })
    }
}

fn value<'a>(lines: &mut Lines<'a>, key: &str) -> Option<&'a str> {
    lines.next()?.strip_prefix(key)?.strip_prefix(" = ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content {
        Content {
            node_id: "node-a".parse().unwrap(),
            cluster_name: " my = cluster ".to_owned(),
            cluster_id: Some(ClusterId(0xfeed)),
            incarnation: Incarnation(7),
            generation: 2,
        }
    }

    fn decode(bytes: &[u8]) -> Result<Content, IdentityError> {
        Content::decode(Path::new("identity"), bytes)
    }

    #[test]
    fn reads_back() {
        assert_eq!(decode(&content().encode()).unwrap(), content());
        let unformed = Content { cluster_id: None, ..content() };
        assert_eq!(decode(&unformed.encode()).unwrap(), unformed);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let whole = content().encode();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&flipped), Err(IdentityError::Corrupt { .. })), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(matches!(decode(&whole[..length]), Err(IdentityError::Corrupt { .. })), "length {length}");
        }
    }

    #[test]
    fn a_newer_format_is_not_called_damaged() {
        let mut text = format!("{TITLE}\nformat = 2\nsomething = else\n");
        text.push_str(&format!("{CHECKSUM}{:08x}\n", crc32c::crc32c(text.as_bytes())));
        assert!(matches!(decode(text.as_bytes()), Err(IdentityError::Newer { format: 2, .. })));
    }
}
