//! The handle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ha_cluster::disk::{Disk, perform_aside};
use ha_cluster::{ASK_TIMEOUT, Cluster, ClusterState, Epoch, NodeId, Replicated};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::copy::Copy;
use crate::error::{ONE_LEVEL, ONLY_EVENTUAL, crowded, refused};
use crate::follow::Subscription;
use crate::gate::Gate;
use crate::held::Rules;
use crate::known::Known;
use crate::loose::{LooseCopy, Named, PASSED_ON_PATIENCE, Seat};
use crate::quorum::Quorum;
use crate::record::Kept;
use crate::remote::Remote;
use crate::ship::{Shipper, Written};
use crate::{
    Alarm, Change, CheckReport, Config, Consistency, DATA_BYTES_MAX, Key, MergeReport, Mode, ReadError, Record,
    Records, ReplicateError, Status, StoreError, Version,
};

/// Most records of a page.
pub const PAGE_ITEMS_MAX: usize = 1000;
/// Bytes after which a page takes no further record.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The records of the cluster. Cheap to clone; stops with the last handle, or with [`Self::stop`].
#[derive(Clone)]
pub struct Replication {
    pub(crate) inner: Arc<Inner>,
    /// When this handle's writes are acknowledged, and what its reads promise.
    level: Consistency,
}

/// What a copy holds. Copies that are complete and equal in this hold, in all likelihood, the same records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldHere {
    /// Nothing is missing, and nothing waits for the disk.
    pub is_complete: bool,
    /// Nothing is missing of what the log has brought so far.
    pub is_caught_up: bool,
    /// Changes that it has applied since the cluster began.
    pub items: u64,
    /// Records that are there.
    pub records: u64,
    /// The sum over them.
    pub digest: u64,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) cluster: Cluster,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: Replicated<Records>,
    pub(crate) copy: Copy,
    pub(crate) gate: Gate,
    /// Where no leader orders what is written.
    pub(crate) loose: Option<LooseCopy>,
    pub(crate) quorum: Option<Quorum>,
    /// Where one node takes writes, and no leader orders them.
    pub(crate) seat: Option<Seat>,
    pub(crate) named: Named,
    pub(crate) shipper: Shipper,
    pub(crate) remote: Remote,
    pub(crate) known: Known,
    pub(crate) stopped: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopped.cancel();
        self.copy.stop();
    }
}

impl Replication {
    pub(crate) fn new(inner: Inner) -> Self {
        let level = inner.config.consistency;
        Self { inner: Arc::new(inner), level }
    }

    pub(crate) fn of(inner: Arc<Inner>, level: Consistency) -> Self {
        Self { inner, level }
    }

    /// The same records, with another level for the writes and reads of this handle.
    #[must_use]
    pub fn with_consistency(&self, level: Consistency) -> Self {
        Self { inner: self.inner.clone(), level }
    }

    /// When writes of this handle are acknowledged.
    pub fn consistency(&self) -> Consistency {
        self.level
    }

    /// On how many of so many copies a write of this handle is before it is acknowledged, as long as none is lost.
    pub fn copies_needed(&self, copies: usize) -> usize {
        let Config { on_sync_loss, quorum_size, .. } = self.inner.config;
        Rules { on_sync_loss, quorum_size }.needed(self.level, copies)
    }

    /// Writes a record as JSON; any node may be asked. Returns once it is acknowledged at this handle's level.
    /// Dropping the future gives up waiting; the record may still be written.
    pub async fn replicate<T: Serialize + ?Sized>(
        &self,
        data_type: &str,
        data_id: &str,
        data: &T,
    ) -> Result<Written, ReplicateError> {
        let json = serde_json::to_vec(data).map_err(|error| ReplicateError::NotJson { reason: error.to_string() })?;
        self.replicate_bytes(data_type, data_id, json.into()).await
    }

    /// As [`Self::replicate`], with the bytes as they are.
    pub async fn replicate_bytes(
        &self,
        data_type: &str,
        data_id: &str,
        data: Bytes,
    ) -> Result<Written, ReplicateError> {
        if data.len() > DATA_BYTES_MAX {
            return Err(ReplicateError::TooLarge { bytes: data.len() });
        }
        self.write(Change { key: Key::new(data_type, data_id)?, data: Some(data) }).await
    }

    /// Deletes a record; one that is not there stays so. Else as [`Self::replicate`].
    pub async fn delete(&self, data_type: &str, data_id: &str) -> Result<Written, ReplicateError> {
        self.write(Change { key: Key::new(data_type, data_id)?, data: None }).await
    }

    pub(crate) async fn write(&self, change: Change) -> Result<Written, ReplicateError> {
        // Without a leader, whoever writes faster than the disk and the other copies take it waits for them, for a while.
        if let Some(loose) = &self.inner.loose {
            loose.until_sent(ROOM_PATIENCE).await?;
        }
        if self.inner.loose.is_some() && self.inner.copy.must_wait() {
            let waited = tokio::time::timeout(ROOM_PATIENCE, self.inner.copy.until_room()).await;
            waited.map_err(|_| crowded())?;
            // Whoever had its turn goes on, also when others have filled the room since.
            self.is_sound()?;
        } else {
            self.takes_writes()?;
        }
        let Some(loose) = &self.inner.loose else {
            if self.level == Consistency::Eventual {
                return Err(refused("this cluster orders what is written: ask for strong or quorum"));
            }
            return self.inner.shipper.write(change, self.level).await.map_err(|error| self.explained(error));
        };
        if let Some(quorum) = self.quorum() {
            return match self.level {
                Consistency::Quorum => quorum.write(change).await,
                _ => Err(refused(ONE_LEVEL)),
            };
        }
        if self.level != Consistency::Eventual {
            return Err(refused(ONLY_EVENTUAL));
        }
        let (version, acknowledged_by) = match self.inner.config.mode {
            Mode::MultiMaster => loose.write(change).await?,
            Mode::MasterSlave => self.write_on_master(loose, change).await?,
        };
        Ok(Written { version, acknowledged_by })
    }

    /// Says more where a node knows only that time has passed: that it is in a minority.
    fn explained(&self, error: ReplicateError) -> ReplicateError {
        match error {
            ReplicateError::NotReplicated { reason } => {
                ReplicateError::NotReplicated { reason: self.explained_reason(reason) }
            }
            ReplicateError::Unknown { reason } => ReplicateError::Unknown { reason: self.explained_reason(reason) },
            other => other,
        }
    }

    fn explained_reason(&self, reason: String) -> String {
        let info = self.inner.cluster.info();
        if info.state != ClusterState::NoQuorum {
            return reason;
        }
        let (active, total) = (info.active_nodes, info.total_nodes);
        format!(
            "{reason}; this node reaches {active} of {total} members, itself included, and no leader with a majority"
        )
    }

    /// Only one node takes writes; the others pass them on.
    async fn write_on_master(
        &self,
        loose: &LooseCopy,
        change: Change,
    ) -> Result<(Version, BTreeSet<NodeId>), ReplicateError> {
        let (me, master) = (self.node_id(), self.master());
        match master {
            Some(master) if master == me => self.take_as_master(loose, change).await,
            Some(master) => self.inner.remote.pass_on(&master, change).await,
            None => Err(refused("there is no master now")),
        }
    }

    /// Where a majority of the copies holds each record, and no leader orders them.
    fn quorum(&self) -> Option<&Quorum> {
        self.inner.quorum.as_ref()
    }

    /// Takes a write that another node passes on.
    pub(crate) async fn take(&self, change: Change) -> Result<(Version, BTreeSet<NodeId>), ReplicateError> {
        let Some(loose) = self.inner.loose.as_ref().filter(|_| self.inner.seat.is_some()) else {
            return Err(refused("this node lets nobody pass writes on to it"));
        };
        // Before anything is looked at that may have changed afterwards.
        loose.until_sent(PASSED_ON_PATIENCE).await?;
        self.take_as_master(loose, change).await
    }

    async fn take_as_master(
        &self,
        loose: &LooseCopy,
        change: Change,
    ) -> Result<(Version, BTreeSet<NodeId>), ReplicateError> {
        self.takes_writes()?;
        if let Some(seat) = &self.inner.seat {
            seat.takes(loose, self.master().as_ref()).await.map_err(|reason| refused(&reason))?;
        }
        loose.write(change).await
    }

    /// The master: the node that was named, else the cluster's leader. Where one node takes writes and no leader orders
    /// them, it is that one.
    pub fn master(&self) -> Option<NodeId> {
        Self::master_of(&self.inner)
    }

    pub(crate) fn master_of(inner: &Inner) -> Option<NodeId> {
        let view = inner.cluster.watch().borrow().clone();
        let leader = view.leader.as_ref().map(|leader| leader.node_id.clone());
        // Without a leader nobody can be told of another master.
        leader.and_then(|leader| inner.named.get().unwrap_or(Some(leader)))
    }

    /// Names the master, `None` for nobody. Until this is called, it is the leader. Where one node takes writes and no
    /// leader orders them, the cluster agrees on it before it does; elsewhere it is what a status says and no more.
    pub fn name_master(&self, master: Option<NodeId>) {
        self.inner.named.set(master);
    }

    /// Lets the node that is to take writes do so although it may lack more than is allowed: what the one before has
    /// alone is set aside when it comes back. Asked of the leader.
    pub fn take_over_anyway(&self) -> bool {
        self.inner.seat.as_ref().is_some_and(Seat::force)
    }

    /// What was done to changes that met here, where no leader orders them.
    pub fn merged(&self) -> Option<MergeReport> {
        self.inner.loose.as_ref().map(LooseCopy::report)
    }

    /// Whether a leader orders what is written, so that a version is a place in one order of all changes.
    pub fn has_order(&self) -> bool {
        self.inner.loose.is_none()
    }

    /// Who may be written to.
    pub fn mode(&self) -> Mode {
        self.inner.config.mode
    }

    /// What somebody should look at.
    pub fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = self.inner.loose.as_ref().map_or_else(Vec::new, LooseCopy::alarms);
        alarms.extend(self.inner.seat.iter().flat_map(Seat::alarms));
        alarms.extend(self.inner.copy.fault().map(|fault| Alarm::NoWrites { reason: fault.to_string() }));
        alarms.extend(self.inner.copy.damage().known().map(|what| Alarm::Damaged { what }));
        alarms
    }

    /// Refuses what this node's disk could not keep.
    pub(crate) fn takes_writes(&self) -> Result<(), ReplicateError> {
        self.is_sound()?;
        if self.inner.copy.is_crowded() { Err(crowded()) } else { Ok(()) }
    }

    /// Refuses what this node's disk does not take at all.
    fn is_sound(&self) -> Result<(), ReplicateError> {
        self.inner.copy.fault().map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Reads a record as of some moment after this call began; `None` when there is none. Any node may be asked.
    /// Cancel-safe.
    pub async fn get(&self, data_type: &str, data_id: &str) -> Result<Option<Record>, ReadError> {
        let key = Key::new(data_type, data_id)?;
        if let Some(quorum) = self.quorum() {
            return match self.level {
                Consistency::Quorum => quorum.read(&key).await,
                _ => Err(ReadError::NoQuorum { reason: ONE_LEVEL.to_owned() }),
            };
        }
        match self.get_here(&key).await? {
            Some(found) => Ok(found),
            None => self.inner.remote.get(key, self.level).await,
        }
    }

    /// As [`Self::get`], without asking another node: `None` when this copy lacks something.
    pub(crate) async fn get_here(&self, key: &Key) -> Result<Option<Option<Record>>, ReadError> {
        if !self.is_current().await? {
            return Ok(None);
        }
        let kept = self.inner.copy.get(key)?;
        self.held().await?;
        Ok(Some(kept.and_then(|kept| record(key.clone(), kept))))
    }

    /// Reads this node's own copy, which may be behind. Waits for its disk when the record is not in memory.
    pub fn get_local(&self, data_type: &str, data_id: &str) -> Result<Option<Record>, ReadError> {
        let key = Key::new(data_type, data_id)?;
        let kept = self.inner.copy.get(&key)?;
        Ok(kept.and_then(|kept| record(key, kept)))
    }

    /// A page of the records of one type, by id, as of some moment after this call began: those after an id, up to
    /// `limit`, [`PAGE_ITEMS_MAX`] and about [`PAGE_BYTES`]. An empty page is the end. Cancel-safe.
    pub async fn list(&self, data_type: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>, ReadError> {
        if let Some(quorum) = self.quorum() {
            let (prefix, limit) = (Key::prefix(data_type)?, limit.clamp(1, PAGE_ITEMS_MAX));
            let after = after.map(|after| Key::new(data_type, after)).transpose()?;
            return match self.level {
                Consistency::Quorum => quorum.list(prefix, after, limit).await,
                _ => Err(ReadError::NoQuorum { reason: ONE_LEVEL.to_owned() }),
            };
        }
        if let Some(page) = self.list_here(data_type, after, limit).await? {
            return Ok(page);
        }
        let after = after.map(|after| Key::new(data_type, after)).transpose()?;
        Key::prefix(data_type)?;
        self.inner.remote.list(data_type, after, limit, self.level).await
    }

    /// As [`Self::list`], without asking another node: `None` when this copy lacks something.
    pub(crate) async fn list_here(
        &self,
        data_type: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<Record>>, ReadError> {
        if !self.is_current().await? {
            return Ok(None);
        }
        let page = self.list_local(data_type, after, limit).await?;
        self.held().await?;
        Ok(Some(page))
    }

    /// As [`Self::list`], of this node's own copy, which may be behind.
    pub async fn list_local(
        &self,
        data_type: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let prefix = Key::prefix(data_type)?;
        let after = after.map(|after| Key::new(data_type, after)).transpose()?;
        let page = self.inner.copy.page_aside(prefix, after, limit.clamp(1, PAGE_ITEMS_MAX), PAGE_BYTES).await?;
        Ok(page.into_iter().filter_map(|(key, kept)| record(key, kept)).collect())
    }

    /// Whether this copy answers by itself; it waits until everything that was acknowledged before is applied here.
    async fn is_current(&self) -> Result<bool, ReadError> {
        let answers = || self.inner.copy.is_complete() || self.inner.loose.is_some();
        if !answers() {
            return Ok(false);
        }
        self.current().await?;
        // A snapshot may be what brought it there, and the records that it stands for are fetched after it.
        Ok(answers())
    }

    /// Waits until everything that was acknowledged before is applied here.
    async fn current(&self) -> Result<(), ReadError> {
        if self.level == Consistency::Eventual {
            return Ok(());
        }
        if self.inner.loose.is_some() {
            return Err(ReadError::NoQuorum { reason: ONLY_EVENTUAL.to_owned() });
        }
        let confirmed = self.inner.cluster.confirm_within(ASK_TIMEOUT).await;
        let unconfirmed = |error: String| ReadError::NoQuorum { reason: self.explained_reason(error) };
        confirmed.map(drop).map_err(|error| unconfirmed(error.to_string()))
    }

    /// Waits until what was read cannot be lost any more, where that is promised.
    async fn held(&self) -> Result<(), ReadError> {
        if self.level != Consistency::Strong {
            return Ok(());
        }
        let held = self.inner.gate.frontier(Instant::now() + ASK_TIMEOUT).await;
        held.map_err(|not_held| ReadError::NoQuorum { reason: not_held.reason })
    }

    /// Follows the changes of this node's copy from a version on: from the default version, all records there are. Where
    /// no leader orders changes, no other version is a place to begin from.
    pub fn subscribe(&self, after: Version) -> Subscription {
        let copy = self.inner.copy.clone();
        let is_undone = !copy.is_loose() && self.inner.cluster.may_have_undone(Epoch(after.time));
        Subscription::new(copy, after, is_undone)
    }

    /// How the copies are. Asks the leader, or, while there is none, the copies themselves.
    pub async fn status(&self) -> Status {
        self.inner.remote.status(&self.inner).await
    }

    /// Reads every record of this node's copy, and says whether all fits together. Takes a while, and goes on when nobody
    /// waits for it any more: the next one begins after it.
    pub async fn check(&self) -> Result<CheckReport, StoreError> {
        let copy = self.inner.copy.clone();
        let turn = copy.turn_to_check().await;
        // What was written just now is checked too, unless the disk does not take it.
        let stored = async {
            if copy.is_loose() {
                copy.settle().await;
            } else {
                copy.flush();
                let index = copy.memory().position().index;
                // The sender lives as long as the copy.
                let _ = copy.durable().wait_for(|stored| *stored >= index).await;
            }
        };
        let _ = tokio::time::timeout(ASK_TIMEOUT, stored).await;
        let copy = self.inner.copy.clone();
        let checked = perform_aside(&self.inner.disk, "check", async move {
            let report = copy.check();
            drop(turn);
            report
        })
        .await;
        checked.unwrap_or_else(|error| {
            Err(StoreError::Disk { directory: self.inner.config.directory.clone(), reason: error.to_string() })
        })
    }

    /// What this node's copy holds at this moment, to be compared with another.
    pub fn held_here(&self) -> HeldHere {
        let report = self.inner.copy.report();
        let is_stored = self.inner.copy.memory().is_empty();
        HeldHere {
            is_complete: report.is_complete() && is_stored,
            is_caught_up: report.is_complete(),
            items: report.position.items,
            records: report.records,
            digest: report.digest,
        }
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.inner.cluster.watch().borrow().node_id.clone()
    }

    /// Writes what waits to the store, and stops. Reads of this node's copy fail from then on.
    pub async fn stop(&self) {
        self.inner.stopped.cancel();
        self.inner.copy.stop();
        self.inner.copy.ended().await;
    }
}

/// How long a write that no leader orders waits for the disk, and for the other copies.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn record(key: Key, kept: Kept) -> Option<Record> {
    crate::quorum::kept_record(key, kept)
}
