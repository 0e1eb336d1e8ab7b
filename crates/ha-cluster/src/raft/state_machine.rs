//! Openraft's state machine on our machines and snapshot files.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::watch;

use super::codec::{SnapshotMetaRecord, get, put};
use super::types::{Body, LogId, Membership, Outcomes, Payload, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::machine::{Disks, Host, Image};
use crate::snapshot::{self, SnapshotError, SnapshotStore};

/// How long nothing is written after a snapshot could not be.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);

/// What has been applied on this node.
pub(crate) struct StateMachine {
    host: Host,
    store: SnapshotStore,
    applied: Option<LogId>,
    membership: StoredMembership,
    applied_index: watch::Sender<u64>,
    snapshot_bytes: Arc<AtomicU64>,
    newest: Arc<tokio::sync::Mutex<SnapshotMeta>>,
    received: Arc<AtomicU64>,
    failing: Arc<AtomicBool>,
}

impl StateMachine {
    /// Restores the newest snapshot, if there is one.
    pub(crate) async fn open(host: Host, store: SnapshotStore) -> io::Result<Self> {
        let mut machine = Self {
            host,
            store,
            applied: None,
            membership: StoredMembership::default(),
            applied_index: watch::Sender::new(0),
            snapshot_bytes: Arc::default(),
            newest: Arc::default(),
            received: Arc::default(),
            failing: Arc::default(),
        };
        if let Some(kept) = machine.store.latest().await.map_err(io::Error::other)? {
            let (meta, body) = (meta_of(&kept)?, kept.body().await.map_err(io::Error::other)?);
            machine.snapshot_bytes.store(body.len() as u64, Ordering::Relaxed);
            machine.adopt(&meta, &body)?;
            *machine.newest.lock().await = meta;
        }
        Ok(machine)
    }

    /// How many bytes the newest snapshot has.
    pub(crate) fn snapshot_bytes(&self) -> Arc<AtomicU64> {
        self.snapshot_bytes.clone()
    }

    /// The last applied log index, to follow.
    pub(crate) fn applied_index(&self) -> watch::Receiver<u64> {
        self.applied_index.subscribe()
    }

    fn adopt(&mut self, meta: &SnapshotMeta, body: &[u8]) -> io::Result<()> {
        self.host.restore(body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        self.applied.clone_from(&meta.last_log_id);
        self.membership = meta.last_membership.clone();
        self.publish();
        Ok(())
    }

    /// Captures this moment.
    fn capture(&self) -> SnapshotBuilder {
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        let image = Mutex::new(Some(self.host.capture()));
        let (store, host) = (self.store.clone(), self.host.clone());
        let (bytes, newest) = (self.snapshot_bytes.clone(), self.newest.clone());
        let (received, failing) = (self.received.clone(), self.failing.clone());
        SnapshotBuilder { meta, image, host, store, bytes, newest, received, failing, is_received: false }
    }

    fn publish(&self) {
        let index = self.applied.as_ref().map_or(0, |id| id.index);
        self.host.publish(index);
        self.applied_index.send_if_modified(|seen| std::mem::replace(seen, index) != index);
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Body;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let outcomes = match entry.payload {
                EntryPayload::Blank => Outcomes::default(),
                EntryPayload::Normal(Payload(commands)) => {
                    if !self.host.room().await {
                        return Err(io::Error::other("a store takes no more, and this node stops"));
                    }
                    let applied = self.host.apply(entry.log_id.index, commands);
                    Outcomes(applied.map_err(|e| io::Error::new(io::ErrorKind::Unsupported, e))?)
                }
                EntryPayload::Membership(membership) => {
                    self.host.follow_members(&disks(self.membership.membership()), &disks(&membership));
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Outcomes::default()
                }
            };
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                // Published first, so that whoever gets the reply also reads its effect on this node.
                self.publish();
                responder.send(outcomes);
            }
        }
        self.publish();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.capture()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, body: Body) -> io::Result<()> {
        let body = match body {
            Body::Kept(kept) => kept.body().await.map_err(io::Error::other)?,
            Body::Whole(body) => body,
        };
        // One that is being built has less in it, and is given up.
        self.received.fetch_max(index_of(meta), Ordering::AcqRel);
        self.adopt(meta, &body)?;
        // What this node keeps is its own image: a witness leaves the machines' state out.
        let mut received = SnapshotBuilder { is_received: true, ..self.capture() };
        received.build_snapshot().await.map(drop)
    }

    // Nothing is applied meanwhile, so little is read: whoever sends it checks and reads the rest.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(kept) = self.store.newest().await.map_err(io::Error::other)? else { return Ok(None) };
        Ok(Some(Snapshot { meta: meta_of(&kept)?, snapshot: Body::Kept(kept) }))
    }
}

fn meta_of(kept: &snapshot::Snapshot) -> io::Result<SnapshotMeta> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    get::<SnapshotMetaRecord>(kept.meta()).map_err(invalid)?.try_into().map_err(invalid)
}

fn disks(membership: &Membership) -> Disks {
    membership.nodes().map(|(node, record)| (node.clone(), record.disk)).collect()
}

/// A captured state on its way to disk.
pub(crate) struct SnapshotBuilder {
    meta: SnapshotMeta,
    /// Behind a lock only because openraft wants builders to be shareable.
    image: Mutex<Option<Image>>,
    host: Host,
    store: SnapshotStore,
    /// Of the newest snapshot.
    bytes: Arc<AtomicU64>,
    /// The newest snapshot on disk. One that is built may be overtaken by one that is received, and must not be taken for
    /// the newest then: the log behind that may be gone.
    newest: Arc<tokio::sync::Mutex<SnapshotMeta>>,
    /// The last entry that is in a snapshot that was received.
    received: Arc<AtomicU64>,
    /// The last one that this node built could not be written.
    failing: Arc<AtomicBool>,
    /// This is one that was received: nothing is applied before it is on disk.
    is_received: bool,
}

/// The last entry that is in a snapshot.
fn index_of(meta: &SnapshotMeta) -> u64 {
    meta.last_log_id.as_ref().map_or(0, |id| id.index)
}

impl SnapshotBuilder {
    /// Makes it the newest, unless it was overtaken.
    async fn write(&self, image: Image) -> Result<(), SnapshotError> {
        // A restart goes on from here: what a machine keeps in a store of its own must not be behind.
        let index = index_of(&self.meta);
        if !self.host.stored(index).await {
            return Err(SnapshotError::Ended);
        }
        let mut newest = self.newest.lock().await;
        if index >= index_of(&newest) {
            let meta = put(&SnapshotMetaRecord::from(&self.meta));
            let received = self.received.clone();
            let written = if self.is_received {
                self.store.write(meta, image.pieces()).await.map(Some)
            } else {
                let goes_on = move || received.load(Ordering::Acquire) <= index;
                self.store.write_aside(meta, image.pieces(), goes_on).await
            };
            if let Some(bytes) = written? {
                self.bytes.store(bytes, Ordering::Relaxed);
                newest.clone_from(&self.meta);
            }
        }
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("snapshots are written again");
        }
        Ok(())
    }

    /// The log keeps what would be in it, so this node goes on without: the disk may have room again later, and those of
    /// the other nodes fill up at about the same time.
    async fn put_off(&self, error: &SnapshotError) {
        if matches!(error, SnapshotError::Ended) {
            return;
        }
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "no snapshot was written, and the log grows until one is: {error}. Make room on the disk of the data \
                 directory, or mend it"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(FAILURE_PAUSE) => {}
            () = self.host.stopping() => {}
        }
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = Body;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let image = self.image.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let image = image.ok_or_else(|| io::Error::other("a snapshot is built once"))?;
        match self.write(image).await {
            Err(error) if self.is_received => return Err(io::Error::other(error)),
            Err(error) => self.put_off(&error).await,
            Ok(()) => {}
        }
        // Whatever became of this one, the log is dropped only as far as one on disk goes. Openraft takes no notice of one
        // that it knows.
        let meta = self.newest.lock().await.clone();
        // Whoever wants the body reads the current snapshot: of what was built, only the description is looked at.
        Ok(Snapshot { meta, snapshot: Body::Whole(Bytes::new()) })
    }
}
