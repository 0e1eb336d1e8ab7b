//! Commands on the log, and what copies say to one another.

use std::collections::BTreeSet;

use bytes::Bytes;
use ha_cluster::NodeId;
use ha_cluster::encoding::{self, CodecError};
use serde::{Deserialize, Serialize};

use crate::packed::Packed;
use crate::store::{Hole, Place, Position};
use crate::taken::NotTaken;
use crate::{Change, Key, StoreError, Version};

/// A command of the machine. Never change the order of these: old logs hold them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Changes of different records, one by one: as earlier versions wrote them.
    Write(Vec<Change>),
    /// The leader names the copies that a strong write waits for.
    SyncSet {
        /// The set that it saw; the command does nothing when it was changed since.
        seen: u64,
        /// The copies.
        members: BTreeSet<NodeId>,
    },
    /// Changes of different records out of a foreign database, taken over once.
    Import {
        /// Which.
        source: String,
        /// How much was taken over before; the command does nothing when that is not so.
        after: u64,
        /// How much is with these.
        upto: u64,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Every copy has seen all stamps below `horizon`, except those that were away for too long.
    Horizon {
        /// The stamp.
        horizon: u64,
        /// Copies that must begin anew.
        resets: BTreeSet<NodeId>,
    },
    /// Changes of different records.
    WriteAll(Packed),
    /// One node takes writes from now on.
    Master {
        /// When the one before it was agreed on; the command does nothing when another was agreed on since.
        seen: u64,
        /// Which.
        node: NodeId,
        /// The latest stamp that it has seen.
        seen_upto: u64,
    },
}

/// How a [`Command::WriteAll`] begins: its place among the commands.
const WRITE_ALL: u8 = 4;

impl Command {
    /// Reads one. The many changes of a [`Command::WriteAll`] stay where they are.
    pub(crate) fn read(body: &Bytes) -> Result<Self, CodecError> {
        if body.first() != Some(&WRITE_ALL) {
            return encoding::decode(body);
        }
        let (_, packed) = encoding::decode::<(u8, &[u8])>(body)?;
        Ok(Self::WriteAll(Packed::within(body.slice_ref(packed))))
    }
}

/// What a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The cluster's epoch: the version of everything that the command changed.
    pub epoch: u64,
    /// Its log entry.
    pub index: u64,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Every copy of the sync set has it on disk.
    Strong,
    /// A majority of the copies has it on disk.
    Quorum,
    /// The copy that was asked has it.
    Eventual,
}

/// What one copy asks of another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Of the leader: answer once enough disks hold this log entry.
    Held { index: u64, level: Consistency },
    /// How is this copy?
    Report,
    /// The newest state of a record, read on a complete copy after a quorum has confirmed that it is current.
    Get { key: Key, level: Consistency },
    /// A page of records of one type, read as above.
    List { data_type: String, after: Option<Key>, limit: u32, level: Consistency },
    /// How far taking over from a foreign database is.
    Imported { source: String },
    /// The changes above one place up to another.
    Changes {
        after: Place,
        upto: Place,
        /// What was deleted before need not be known.
        anew: bool,
        limit: u32,
        bytes_max: u32,
    },
    /// Of the leader: how are all copies?
    Status,
    /// Changes that no leader ordered.
    Push {
        changes: Vec<Loose>,
        /// Which master the sender knows, where there is one.
        epoch: u64,
        /// How many more the sender has for this copy.
        left: u64,
    },
    /// Of the one node that takes writes: take this one.
    Take { change: Change },
    /// The sums of all groups; the asker's time of comparing, and the set of copies that it knows.
    Groups { stamp: u64, epoch: u64 },
    /// The sums of the buckets of these groups.
    Buckets { groups: Vec<u8> },
    /// What is in these buckets.
    Slots { buckets: Vec<u16> },
    /// These records of a bucket.
    Wanted { bucket: u16, names: Vec<u64> },
    /// What this copy knows of a record, `bare` without its values; the set of copies and the time of the asker.
    Peek { epoch: u64, stamp: u64, key: Key, bare: bool },
    /// Keep this state of a record, and answer once the disk has it.
    Keep { epoch: u64, change: Loose },
    /// What this copy knows of the records whose keys begin so.
    PeekPage { epoch: u64, prefix: Bytes, after: Option<Key>, limit: u32 },
}

/// The short name of a record, and the time and tie-break of its version.
pub(crate) type Slot = (u64, u64, u64);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    Held(Result<BTreeSet<NodeId>, NotHeld>),
    Report(Report),
    Records(Result<Vec<Found>, String>),
    Imported(Result<u64, String>),
    /// As JSON.
    Status(Vec<u8>),
    Done(Result<(), String>),
    Taken(Result<(Version, BTreeSet<NodeId>), NotTaken>),
    Sums(Vec<Vec<u64>>),
    Slots(Vec<Vec<Slot>>),
    Wanted(Vec<Loose>),
    Changes(Page),
    /// A state, and whether the disk has it.
    Peeked(Result<(Option<Loose>, bool), String>),
    /// Such states; whether there may be more.
    PeekedPage(Result<(Vec<(Loose, bool)>, bool), String>),
    /// The asker's time is so many milliseconds ahead of the time here: too far to take its stamps.
    Ahead(u64),
}

/// Why too few disks hold a log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotHeld {
    /// Those that do.
    pub(crate) by: BTreeSet<NodeId>,
    /// How many copies must.
    pub(crate) needed: usize,
    pub(crate) reason: String,
    /// Another node should be asked: this one does not lead.
    pub(crate) elsewhere: bool,
}

/// How a copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) position: Position,
    /// What is missing.
    pub(crate) hole: Option<Hole>,
    /// A snapshot has just taken it past changes.
    pub(crate) jumps: bool,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: u64,
    /// Why it cannot store now.
    pub(crate) trouble: Option<String>,
    /// Its disk is nearly full.
    pub(crate) is_full: bool,
    /// Without a leader: it holds everything that any copy had at this stamp.
    pub(crate) seen_below: u64,
    /// Without a leader: the set of copies all of whose earlier writes it holds.
    pub(crate) settled: u64,
    /// The latest stamp that it holds.
    pub(crate) stamp: u64,
    /// Changes that it has taken in since it began, where no leader orders them.
    pub(crate) changes: u64,
    /// Changes of the master that it lacks, as far as the master told it.
    pub(crate) behind: Option<u64>,
    /// What it had alone when it was master is set aside.
    pub(crate) is_rewound: bool,
    /// How many of its own changes each other copy lacks, and for how many milliseconds.
    pub(crate) pending: Vec<(NodeId, u64, u64)>,
    /// Without a leader: the horizon at which it began anew last.
    pub(crate) began_at: u64,
}

impl Report {
    /// Whether it holds everything up to its position.
    pub(crate) fn is_complete(&self) -> bool {
        self.hole.is_none() && !self.jumps
    }
}

/// A change that no leader ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loose {
    pub(crate) key: Key,
    pub(crate) time: u64,
    pub(crate) tie: u64,
    pub(crate) data: Option<Bytes>,
    pub(crate) past: Bytes,
}

/// A record that was read for another node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) key: Key,
    pub(crate) version: Version,
    pub(crate) data: Bytes,
    pub(crate) siblings: Vec<crate::Sibling>,
}

/// Some of the changes that were asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Page {
    /// In their order; the last page says so. Below `floor`, deletions are forgotten.
    Some { changes: Vec<(Bytes, Bytes)>, last: bool, floor: Place },
    /// This copy has not stored that many itself yet.
    NotYet,
    /// What was deleted up to this place is not known any more.
    Compacted(Place),
    /// It cannot read them now.
    Failed(String),
}

impl From<StoreError> for Page {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use ha_cluster::Machine;

    use super::*;
    use crate::Records;

    #[test]
    fn a_command_is_read_as_it_was_written_and_many_changes_stay_where_they_are() {
        let change = Change { key: Key::new("t", "1").unwrap(), data: Some(Bytes::from(vec![7; 1000])) };
        let packed = Packed::of(std::iter::once(&change));
        let (node, nodes) = ("a".parse().unwrap(), BTreeSet::from(["b".parse().unwrap()]));
        for command in [
            Command::Write(vec![change.clone()]),
            Command::SyncSet { seen: 1, members: nodes.clone() },
            Command::Import { source: "s".to_owned(), after: 1, upto: 2, changes: vec![change.clone()] },
            Command::Horizon { horizon: 9, resets: nodes },
            Command::WriteAll(packed),
            Command::WriteAll(Packed::default()),
            Command::Master { seen: 1, node, seen_upto: 2 },
        ] {
            let body = Bytes::from(encoding::encode(&command).unwrap());
            assert_eq!(Command::read(&body).as_ref(), Ok(&command));
            assert_eq!(encoding::decode::<Command>(&body).as_ref(), Ok(&command), "as a machine that copies reads it");
            assert!((0..body.len()).all(|length| Command::read(&body.slice(..length)).is_err()), "{command:?}");
            assert!(Command::read(&[&body[..], b"x"].concat().into()).is_err(), "{command:?}");
            if let Ok(Command::WriteAll(packed)) = Command::read(&body) {
                let lies_in = |packed: &Packed| {
                    let data = packed.changes().flatten().find_map(|change| change.data);
                    data.map(|data| body.as_ptr_range().contains(&data.as_ptr()))
                };
                assert_ne!(lies_in(&packed), Some(false), "it was copied");
                let Ok(Command::WriteAll(packed)) = Records::read(&body, false) else { panic!("another command") };
                assert_ne!(lies_in(&packed), Some(true), "it keeps what else lies there in memory");
            }
        }
    }
}
