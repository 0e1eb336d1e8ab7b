//! The machine on the cluster's log.

use bytes::Bytes;
use ha_cluster::encoding::CodecError;
use ha_cluster::{Capture, Machine, MachineId, encoding};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::copy::Copy;
use crate::loose::{Lost, Master};
use crate::memory::Memory;
use crate::message::{Applied, Command};
use crate::record::Kept;
use crate::store::{Agreed, Position, SyncSet};
use crate::{Change, Version};

/// The records of this node, as a machine on the cluster's log: what [`crate::open`] makes for [`ha_cluster::start`].
pub struct Records {
    copy: Copy,
}

/// Foreign databases that are remembered; a further one is not taken over from.
pub(crate) const SOURCES_MAX: usize = 64;

/// What a snapshot of the log says of the records: how far they are, and nothing of what they are. A copy that it takes
/// past changes fetches those from the others, piece by piece, while the log goes on.
#[derive(Serialize, Deserialize)]
struct Manifest {
    position: Position,
    agreed: Agreed,
}

/// Any bytes for what a snapshot says.
#[cfg(feature = "testing")]
pub(crate) fn fuzz_manifest(input: &[u8]) {
    let _ = encoding::decode::<Manifest>(input);
}

impl Records {
    pub(crate) fn new(copy: Copy) -> Self {
        Self { copy }
    }
}

/// Takes changes of different records.
fn write(memory: &mut Memory, position: &mut Position, changes: impl Iterator<Item = Option<Change>>) {
    for (tie, change) in (0..).zip(changes) {
        let Some(change) = change else { continue };
        let version = Version { time: position.epoch, tie };
        let kept = Kept { version, place: version.time, data: change.data, past: Bytes::new() };
        position.items += 1;
        position.bytes += kept.bytes(&change.key) as u64;
        memory.put(change.key, kept);
    }
}

/// The store must be able to trust keys, whoever put them on the log.
fn valid(change: Change) -> Option<Change> {
    change.key.is_valid().then_some(change)
}

impl Machine for Records {
    const ID: MachineId = MachineId(2);
    const NAME: &'static str = "replicated records";
    type Command = Command;
    type Reply = Applied;

    fn read(body: &Bytes, is_most: bool) -> Result<Command, CodecError> {
        if is_most { Command::read(body) } else { encoding::decode(body) }
    }

    fn apply(&mut self, at: ha_cluster::Applied, command: Command) -> Applied {
        let epoch = at.epoch.0;
        self.copy.change(|memory| {
            memory.begin(at.index);
            if epoch <= memory.position().epoch {
                // Stored in an earlier life, before the rest of its entry was.
                return;
            }
            let mut position = Position { epoch, ..memory.position() };
            match command {
                Command::WriteAll(packed) => write(memory, &mut position, packed.changes()),
                Command::Write(changes) => write(memory, &mut position, changes.into_iter().map(valid)),
                Command::Import { source, after, upto, changes } => {
                    let sources = &mut memory.agreed_mut().sources;
                    let known = sources.get(&source).copied();
                    let has_room = known.is_some() || sources.len() < SOURCES_MAX;
                    if known.unwrap_or(0) == after && upto > after && has_room {
                        sources.insert(source, upto);
                        write(memory, &mut position, changes.into_iter().map(valid));
                    }
                }
                Command::Horizon { horizon, resets } => {
                    let agreed = memory.agreed_mut();
                    agreed.horizon = agreed.horizon.max(horizon);
                    agreed.resets.extend(resets.into_iter().map(|node| (node, horizon)));
                }
                Command::Master { seen, node, seen_upto } => {
                    let agreed = memory.agreed_mut();
                    if agreed.master.as_ref().map_or(0, |master| master.epoch) == seen {
                        let before = agreed.master.replace(Master { node: node.clone(), epoch });
                        if let Some(before) = before.filter(|before| before.node != node) {
                            agreed.lost.insert(before.node, Lost { epoch, seen: seen_upto });
                        }
                    }
                }
                Command::SyncSet { seen, members } => {
                    let sync = &mut memory.agreed_mut().sync;
                    if sync.generation == seen {
                        *sync = SyncSet { generation: epoch, members };
                    }
                }
            }
            if memory.advance(position) {
                memory.freeze();
            }
        });
        Applied { epoch, index: at.index }
    }

    fn capture(&self) -> Capture {
        // A snapshot is finished once the store holds what it stands for.
        self.copy.flush();
        let memory = self.copy.memory();
        let manifest = Manifest { position: memory.position(), agreed: memory.agreed().clone() };
        Box::new(std::iter::once_with(move || encoding::encode(&manifest).unwrap_or_default()))
    }

    fn restore(&mut self, image: &[u8]) -> Result<(), String> {
        let manifest: Manifest = encoding::decode(image).map_err(|error| error.to_string())?;
        self.copy.change(|memory| {
            if manifest.position.epoch <= memory.position().epoch {
                return;
            }
            // Without a leader, what is missing is found by comparing copies.
            if self.copy.is_loose() || manifest.position.items == memory.position().items {
                memory.adopt(manifest.position, manifest.agreed);
            } else {
                memory.jump(manifest.position, manifest.agreed);
            }
        });
        self.copy.tell();
        Ok(())
    }

    /// The records are not in what was saved, only how far they were: those that are here stay.
    fn replace(&mut self, _: ha_cluster::Epoch, _image: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn durable(&self) -> Option<watch::Receiver<u64>> {
        Some(self.copy.durable())
    }

    fn has_room(&self) -> bool {
        self.copy.has_room()
    }

    fn passed(&mut self, index: u64) {
        self.copy.change(|memory| {
            let position = memory.position();
            if index > position.index {
                memory.advance(Position { index, ..position });
            }
        });
        self.copy.tell();
    }

    fn replied(&self, at: ha_cluster::Applied, _command: &Command) -> Option<Applied> {
        Some(Applied { epoch: at.epoch.0, index: at.index })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ha_cluster::Epoch;
    use ha_cluster::disk::RealDisk;

    use super::*;
    use crate::packed::Packed;
    use crate::{Config, Key, open};

    /// Commands that are proposed together share an entry of the log, and a batch for the store may end between two.
    #[tokio::test]
    async fn an_entry_of_which_the_store_has_a_part_is_taken_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { directory: folder.path().to_owned(), ..Config::default() };
        let key = |id| Key::new("t", id).unwrap();
        let write = |id| {
            let change = Change { key: key(id), data: Some(Bytes::from_static(b"1")) };
            Command::WriteAll(Packed::of([&change].into_iter()))
        };
        let at = |epoch| ha_cluster::Applied { epoch: Epoch(epoch), index: 5 };

        let (mut records, opened) = open(config.clone(), Arc::new(RealDisk)).await.unwrap();
        records.apply(at(1), write("a"));
        opened.close().await;
        records.apply(at(2), write("b"));
        drop(records);

        let (mut records, opened) = open(config, Arc::new(RealDisk)).await.unwrap();
        assert_eq!(records.copy.memory().position(), Position { index: 4, epoch: 1, items: 1, bytes: 4 });
        assert!(*records.durable().unwrap().borrow() < 5, "the log must bring the rest of it again");
        records.apply(at(1), write("a"));
        records.apply(at(2), write("b"));
        records.passed(5);
        for id in ["a", "b"] {
            assert!(records.copy.get(&key(id)).unwrap().is_some(), "{id} is lost");
        }
        let position = records.copy.memory().position();
        assert_eq!((position.index, position.epoch, position.items), (5, 2, 2), "nothing is taken twice");
        opened.close().await;
    }
}
