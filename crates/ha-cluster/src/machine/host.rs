//! Applies the log to the machines of this node.

mod proposed;
mod stores;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use bytes::{Bytes, BytesMut};
use ha_net::NodeId;
use ha_net::codec::CodecError;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::image::{Encoded, Image, parts};
use super::removed::{Disks, RemovedMembers};
use super::restoring::{RestoreAll, RestorePart, RestoreResult, Restoring};
use super::session::{Admission, OpenSession, Sessions};
use super::{Applied, Batch, Capture, Command, Machine, MachineId, Outcome};
use crate::view::Epoch;
use crate::{codec, lineage};

/// The machines of a node, to be given to [`crate::start`].
#[derive(Clone, Default)]
pub struct Machines {
    hosted: BTreeMap<MachineId, Arc<dyn Hosted>>,
    /// The same machines with their types, for their own handles.
    typed: BTreeMap<MachineId, Arc<dyn Any + Send + Sync>>,
    /// Ids that were given twice, or are reserved.
    refused: Vec<MachineId>,
}

impl Machines {
    /// No machines: membership and a leader are all that is wanted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a machine. Every node of a cluster must have the same machines.
    #[must_use]
    pub fn with<M: Machine>(mut self, machine: M) -> Self {
        let machine = Arc::new(RwLock::new(machine));
        let taken = self.hosted.insert(M::ID, Arc::new(Slot(machine.clone()))).is_some();
        if taken || M::ID == MachineId::SYSTEM {
            self.refused.push(M::ID);
        }
        self.typed.insert(M::ID, machine);
        self
    }

    /// The first id that cannot be used.
    pub(crate) fn refused(&self) -> Option<MachineId> {
        self.refused.first().copied()
    }

    /// The machine of a type.
    pub(crate) fn typed<M: Machine>(&self) -> Option<Arc<RwLock<M>>> {
        self.typed.get(&M::ID)?.clone().downcast().ok()
    }
}

/// About how long a reply is: room for those of an entry is made at once.
const REPLY_BYTES: usize = 16;

/// A machine without its types.
trait Hosted: Send + Sync {
    fn name(&self) -> &'static str;
    /// Applies a command out of an entry of so many bytes. The reply is put behind others.
    fn apply(&self, at: Applied, body: &Bytes, entry: usize, replies: &mut BytesMut) -> Result<Bytes, CodecError>;
    fn capture(&self) -> Capture;
    /// `None` while it is being changed.
    fn image_bytes(&self) -> Option<u64>;
    fn restore(&self, image: &[u8]) -> Result<(), String>;
    fn replace(&self, at: Epoch, image: &[u8]) -> Result<(), String>;
    fn holds(&self) -> Option<String>;
    fn recovered(&self, at: Applied);
    fn durable(&self) -> Option<watch::Receiver<u64>>;
    fn has_room(&self) -> bool;
    fn passed(&self, index: u64);
    fn replied(&self, at: Applied, body: &Bytes) -> Result<Bytes, CodecError>;
    fn can_read(&self, body: &Bytes) -> Result<(), CodecError>;
}

struct Slot<M>(Arc<RwLock<M>>);

impl<M: Machine> Hosted for Slot<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn apply(&self, at: Applied, body: &Bytes, entry: usize, replies: &mut BytesMut) -> Result<Bytes, CodecError> {
        let command = M::read(body, codec::is_most(body, entry))?;
        let reply = self.0.write().unwrap_or_else(PoisonError::into_inner).apply(at, command);
        codec::encode_within(replies, &reply)
    }

    fn capture(&self) -> Capture {
        self.0.read().unwrap_or_else(PoisonError::into_inner).capture()
    }

    fn image_bytes(&self) -> Option<u64> {
        // Who asks must not wait for one that is being replaced, which takes long.
        match self.0.try_read() {
            Ok(machine) => Some(machine.image_bytes()),
            Err(TryLockError::Poisoned(machine)) => Some(machine.into_inner().image_bytes()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn replace(&self, at: Epoch, image: &[u8]) -> Result<(), String> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).replace(at, image)
    }

    fn holds(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).holds()
    }

    fn recovered(&self, at: Applied) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).recovered(at);
    }

    fn restore(&self, image: &[u8]) -> Result<(), String> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).restore(image)
    }

    fn durable(&self) -> Option<watch::Receiver<u64>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).durable()
    }

    fn has_room(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).has_room()
    }

    fn passed(&self, index: u64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).passed(index);
    }

    fn replied(&self, at: Applied, body: &Bytes) -> Result<Bytes, CodecError> {
        let command = M::read(body, true)?;
        let reply = self.0.read().unwrap_or_else(PoisonError::into_inner).replied(at, &command);
        reply.map_or(Ok(Bytes::new()), |reply| codec::encode(&reply))
    }

    fn can_read(&self, body: &Bytes) -> Result<(), CodecError> {
        M::read(body, true).map(drop)
    }
}

/// Why a node cannot follow the log any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(
        "log entry {index} is not one that this version understands: start the version that wrote it, or a newer one"
    )]
    Entry { index: u64 },
    #[error(
        "log entry {index} is for machine {machine}, which this program does not have: start the program that wrote it"
    )]
    Machine { index: u64, machine: u8 },
    #[error(
        "log entry {index} holds a command for {machine} that this version cannot read: start the version that wrote it, or a newer one"
    )]
    Command { index: u64, machine: &'static str },
}

/// Why a snapshot cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error("the snapshot is not one that this version understands")]
    Image,
    #[error("the snapshot holds the state of machine {machine}, which this program does not have")]
    Machine { machine: u8 },
    #[error(
        "the snapshot holds the state of no machine, as that of a witness: a node that keeps state cannot go on from it"
    )]
    Stateless,
    #[error("the snapshot of {machine} cannot be read: {reason}")]
    State { machine: &'static str, reason: String },
}

/// What the cluster itself keeps on the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Core {
    pub(super) epoch: u64,
    pub(super) sessions: Sessions,
    /// The epoch at which a node's lease was last declared over: roles given to it before are void.
    pub(super) lapsed: BTreeMap<NodeId, u64>,
    /// A saved state that is on its way back.
    pub(super) restoring: Restoring,
    /// Members that were removed for good.
    pub(super) removed: RemovedMembers,
    /// Those whom the last membership left out, until a command follows it.
    pub(super) left_out: Disks,
}

/// The cluster's own commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SystemCommand {
    /// Answered with the session's id.
    OpenSession(OpenSession),
    /// A node's lease is over; answered with the log index.
    ExpireLease {
        /// Whose.
        node: NodeId,
        /// How many renewals the proposing leader had granted.
        renewals: u64,
    },
    /// A part of a saved state; answered with a [`RestoreResult`].
    RestorePart(RestorePart),
    /// All parts are there: the state of every machine is replaced; answered with a [`RestoreResult`].
    Restore(RestoreAll),
    /// The cluster goes on by force, without the voters that it lost: from here on epochs are above all that any of
    /// them could have seen. Answered with nothing.
    Recovered {
        /// How often that was done.
        generation: u64,
    },
    /// As [`Self::Restore`], but only while no machine holds anything.
    RestoreEmpty(RestoreAll),
}

/// What is told to whoever follows.
#[derive(Default)]
struct Told {
    epoch: watch::Sender<Epoch>,
    recovered: watch::Sender<Option<(u64, Epoch)>>,
    removed: watch::Sender<RemovedMembers>,
    stopping: watch::Sender<bool>,
}

/// Applies the log to the machines of this node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Host {
    machines: Arc<BTreeMap<MachineId, Arc<dyn Hosted>>>,
    /// How far the stores of those machines are that have one.
    stores: Arc<BTreeMap<MachineId, watch::Receiver<u64>>>,
    core: Arc<Mutex<Core>>,
    /// A witness counts commands and remembers serials, and keeps no application state.
    witness: bool,
    told: Arc<Told>,
    #[cfg(feature = "testing")]
    forgetful: bool,
}

impl Host {
    pub(crate) fn new(machines: Machines, witness: bool) -> Self {
        let stores = |(id, machine): (&MachineId, &Arc<dyn Hosted>)| Some((*id, machine.durable()?));
        let stores = if witness { BTreeMap::new() } else { machines.hosted.iter().filter_map(stores).collect() };
        Self {
            machines: Arc::new(machines.hosted),
            stores: Arc::new(stores),
            core: Arc::default(),
            witness,
            told: Arc::default(),
            #[cfg(feature = "testing")]
            forgetful: false,
        }
    }

    /// Applies again what is asked again, as if there were no sessions.
    #[cfg(feature = "testing")]
    pub(crate) fn forgetful(self, forgetful: bool) -> Self {
        Self { forgetful, ..self }
    }

    /// The count of applied commands, to follow.
    pub(crate) fn epoch(&self) -> watch::Receiver<Epoch> {
        self.told.epoch.subscribe()
    }

    /// The last forced recovery that was applied in this life: its generation, and the epoch before it.
    pub(crate) fn recovered(&self) -> watch::Receiver<Option<(u64, Epoch)>> {
        self.told.recovered.subscribe()
    }

    /// The members that were removed for good, as far as the log is applied, to follow.
    pub(crate) fn removed(&self) -> watch::Receiver<RemovedMembers> {
        self.told.removed.subscribe()
    }

    /// Applies one entry's commands and returns what became of each.
    pub(crate) fn apply(&self, index: u64, entry: Bytes) -> Result<Vec<Outcome>, ApplyError> {
        let length = entry.len();
        let batch = Batch::decode(entry).map_err(|_| ApplyError::Entry { index })?;
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.sessions.acknowledge(batch.session, batch.acknowledged_below);
        let mut outcomes = Vec::with_capacity(batch.commands.len());
        let mut replies = BytesMut::with_capacity(batch.commands.len() * REPLY_BYTES);
        for command in &batch.commands {
            let admission = core.sessions.admit(batch.session, command.serial);
            #[cfg(feature = "testing")]
            let admission = if self.forgetful { Admission::Apply } else { admission };
            let outcome = match admission {
                Admission::Apply => {
                    core.epoch += 1;
                    let reply = self.apply_one(&mut core, index, command, length, &mut replies)?;
                    core.sessions.keep(batch.session, command.serial, reply.clone());
                    Outcome::Reply(reply)
                }
                Admission::Repeat(reply) => Outcome::Reply(reply),
                Admission::Expired => Outcome::SessionExpired,
                Admission::Forgotten => Outcome::Forgotten,
                Admission::Overrun => Outcome::Overrun,
            };
            outcomes.push(outcome);
        }
        core.left_out.clear();
        Ok(outcomes)
    }

    fn apply_one(
        &self,
        core: &mut Core,
        index: u64,
        command: &Command,
        entry: usize,
        replies: &mut BytesMut,
    ) -> Result<Bytes, ApplyError> {
        let epoch = core.epoch;
        if command.machine == MachineId::SYSTEM {
            let system: SystemCommand =
                codec::decode(&command.body).map_err(|_| ApplyError::Command { index, machine: "the cluster" })?;
            return Ok(match system {
                SystemCommand::OpenSession(open) => codec::record(&core.sessions.open(open, epoch)),
                SystemCommand::ExpireLease { node, .. } => {
                    core.lapsed.insert(node, epoch);
                    codec::record(&index)
                }
                SystemCommand::Recovered { generation } => {
                    // It comes right behind the membership of one alone.
                    let lost = std::mem::take(&mut core.left_out);
                    core.removed.readmit(&lost);
                    self.tell_removed(core);
                    // One that was cut short is done again: it is the first that left others behind.
                    self.told.recovered.send_if_modified(|told| {
                        let is_new = told.is_none_or(|(known, _)| known != generation);
                        *told = if is_new { Some((generation, Epoch(epoch - 1))) } else { *told };
                        is_new
                    });
                    core.epoch = lineage::first_epoch(generation, epoch);
                    let at = Applied { epoch: Epoch(core.epoch), index };
                    self.machines.values().filter(|_| !self.witness).for_each(|machine| machine.recovered(at));
                    Bytes::new()
                }
                // A witness has nothing to replace, and cannot judge. Nobody is told its answer: it takes no proposals
                // while it leads, so whoever asks hears from a node that keeps state.
                SystemCommand::RestorePart(_) if self.witness => codec::record(&RestoreResult::Done),
                SystemCommand::RestorePart(part) => codec::record(&core.restoring.add(part)),
                SystemCommand::Restore(all) => codec::record(&self.bring_back(core, &all, None)),
                SystemCommand::RestoreEmpty(all) => codec::record(&self.bring_back(core, &all, self.holds())),
            });
        }
        if self.witness {
            return Ok(Bytes::new());
        }
        let machine =
            self.machines.get(&command.machine).ok_or(ApplyError::Machine { index, machine: command.machine.0 })?;
        let at = Applied { epoch: Epoch(epoch), index };
        let stored = self.stores.get(&command.machine).is_some_and(|durable| index <= *durable.borrow());
        let body = &command.body;
        let reply = if stored { machine.replied(at, body) } else { machine.apply(at, body, entry, replies) };
        reply.map_err(|_| ApplyError::Command { index, machine: machine.name() })
    }

    /// What the machines hold that a saved state would put an end to.
    pub(crate) fn holds(&self) -> Option<String> {
        let held: Vec<String> = self.machines.values().filter_map(|machine| machine.holds()).collect();
        (!held.is_empty()).then(|| held.join(", "))
    }

    /// The end of a restore. It is refused where something is held that must not be lost.
    fn bring_back(&self, core: &mut Core, all: &RestoreAll, held: Option<String>) -> RestoreResult {
        core.epoch = core.epoch.max(all.epoch);
        match core.restoring.take(all) {
            _ if self.witness => RestoreResult::Done,
            Err(refused) => refused,
            Ok(image) => match held {
                Some(what) => RestoreResult::Holds { what },
                None => self.replace(Epoch(core.epoch), &image),
            },
        }
    }

    /// Replaces the state of the machines by a saved one. What the cluster itself keeps stays.
    fn replace(&self, at: Epoch, image: &[u8]) -> RestoreResult {
        let refused = |reason: String| RestoreResult::Refused { reason };
        let states = match parts(image) {
            Ok((_, states)) => states,
            Err(_) => return refused(RestoreError::Image.to_string()),
        };
        if let Some((id, _)) = states.iter().find(|(id, _)| !self.machines.contains_key(id)) {
            return refused(RestoreError::Machine { machine: id.0 }.to_string());
        }
        for (id, state) in states {
            if let Some(machine) = self.machines.get(&id)
                && let Err(reason) = machine.replace(at, state)
            {
                return refused(RestoreError::State { machine: machine.name(), reason }.to_string());
            }
        }
        RestoreResult::Done
    }

    /// One membership follows another: ends the sessions of nodes that are members no more, and remembers them.
    pub(crate) fn follow_members(&self, before: &Disks, now: &Disks) {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.sessions.retain_nodes(|node| now.contains_key(node));
        core.lapsed.retain(|node, _| now.contains_key(node));
        let left_out = core.removed.follow(before, now);
        // An order that was cut short is given again, and then leaves out nobody.
        if !left_out.is_empty() {
            core.left_out = left_out;
        }
        self.tell_removed(&core);
    }

    fn tell_removed(&self, core: &Core) {
        self.told.removed.send_if_modified(|seen| std::mem::replace(seen, core.removed.clone()) != core.removed);
    }

    /// Tells stores, and followers of the epoch, how far it is; called once for each batch of entries.
    pub(crate) fn publish(&self, index: u64) {
        for machine in self.stores.keys().filter_map(|id| self.machines.get(id)) {
            machine.passed(index);
        }
        let epoch = Epoch(self.core.lock().unwrap_or_else(PoisonError::into_inner).epoch);
        self.told.epoch.send_if_modified(|seen| std::mem::replace(seen, epoch) != epoch);
    }

    /// Captures all machines at the same moment.
    pub(crate) fn capture(&self) -> Image {
        // Held throughout: an entry that is being applied is waited for, and none begins meanwhile.
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let machines = if self.witness {
            Vec::new()
        } else {
            self.machines.iter().map(|(id, machine)| (*id, machine.capture())).collect()
        };
        Image::new(core.clone(), machines)
    }

    /// About how many bytes an image would have now, as far as that matters; `None` when it cannot be told without
    /// waiting.
    pub(crate) fn image_bytes(&self) -> Option<u64> {
        if self.witness { Some(0) } else { self.machines.values().map(|machine| machine.image_bytes()).sum() }
    }

    /// Whether [`Self::restore`] may begin with an image.
    pub(crate) fn check_image(&self, image: &[u8]) -> Result<(), RestoreError> {
        self.parts(image).map(drop)
    }

    /// What an image holds. One may lack a machine that is newer than it, but not all of them.
    fn parts<'a>(&self, image: &'a [u8]) -> Result<(Core, Encoded<'a>), RestoreError> {
        let (core, states) = parts(image).map_err(|_| RestoreError::Image)?;
        let is_stateless = states.is_empty() && !self.witness && !self.machines.is_empty();
        if is_stateless { Err(RestoreError::Stateless) } else { Ok((core, states)) }
    }

    /// Replaces the state of all machines by a captured one.
    pub(crate) fn restore(&self, image: &[u8]) -> Result<(), RestoreError> {
        let (core, states) = self.parts(image)?;
        for (id, state) in states {
            if self.witness {
                continue;
            }
            let machine = self.machines.get(&id).ok_or(RestoreError::Machine { machine: id.0 })?;
            machine.restore(state).map_err(|reason| RestoreError::State { machine: machine.name(), reason })?;
        }
        self.tell_removed(&core);
        *self.core.lock().unwrap_or_else(PoisonError::into_inner) = core;
        Ok(())
    }
}
