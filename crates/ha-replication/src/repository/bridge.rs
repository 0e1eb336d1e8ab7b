//! Carries changes between a foreign database and the records, exactly once.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{ASK_TIMEOUT, WriteError};
use tokio::time::Instant;

use super::{Outgoing, Repository, RepositoryError};
use crate::machine::SOURCES_MAX;
use crate::message::{Ask, Command, Told};
use crate::replication::Inner;
use crate::{Change, DATA_BYTES_MAX, Event, Key, ReadError, ReplicateError, Replication, SubscribeError};

/// Longest name of a source, in bytes.
const SOURCE_BYTES_MAX: usize = 128;
/// Pause before an empty outbox is looked at again, and after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes after which a batch takes no further change.
const BATCH_BYTES: usize = 512 * 1024;

/// Carries changes between a foreign database and the records.
///
/// Runs on one node at a time, as a rule on the primary. Two at once do no harm: what one has taken over, the other
/// cannot take over again; and what the other has applied, a sink that keeps to [`Repository::apply`] skips.
pub struct Bridge<R> {
    replication: Replication,
    repository: Arc<R>,
    source: String,
}

/// Why nothing was carried; trying again is right except where it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// The foreign database.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The records could not be written.
    #[error(transparent)]
    Replicate(#[from] ReplicateError),
    /// How far taking over is could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Changes cannot be followed.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// Somebody has to look: the outbox is not what it must be, or the cluster cannot take over from it.
    #[error("the outbox cannot be taken over: {reason}")]
    Outbox {
        /// What is wrong with it.
        reason: String,
    },
}

impl<R: Repository> Bridge<R> {
    /// A bridge to a database that the whole cluster knows by this name.
    pub fn new(replication: Replication, repository: Arc<R>, source: &str) -> Result<Self, BridgeError> {
        if source.is_empty() || source.len() > SOURCE_BYTES_MAX {
            let reason = format!("the name of a source has 1 to {SOURCE_BYTES_MAX} bytes");
            return Err(BridgeError::Outbox { reason });
        }
        if replication.inner.loose.is_some() {
            let reason = "no leader orders changes here, so nobody could say how far taking over is: set \
                          REPLICATION_CONSISTENCY=quorum or strong, and REPLICATION_MODE=master_slave";
            return Err(BridgeError::Outbox { reason: reason.to_owned() });
        }
        Ok(Self { replication, repository, source: source.to_owned() })
    }

    /// Takes over what waits in the outbox, for ever. Returns only what somebody has to look at. Cancel-safe.
    pub async fn take_over(&self) -> BridgeError {
        loop {
            match self.take_over_once().await {
                Ok(0) => tokio::time::sleep(PAUSE).await,
                Ok(_) => {}
                Err(error @ BridgeError::Outbox { .. }) => return error,
                Err(error) => {
                    tracing::warn!(source = %self.source, "taking over waits: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Takes over one batch of the outbox, and returns how many changes it had. Cancelled at any point, or killed, the
    /// next call goes on where the cluster knows that this one was.
    pub async fn take_over_once(&self) -> Result<usize, BridgeError> {
        // What the cluster knows counts, not what this process remembers.
        let after = self.replication.imported(&self.source).await?;
        // The only word of what is replicated: one that took over the same at the same time may have changed nothing.
        self.repository.shipped(after).await?;
        if !self.replication.remembers(&self.source) {
            let reason = format!("the cluster takes over from {SOURCES_MAX} databases, and this would be one more");
            return Err(BridgeError::Outbox { reason });
        }
        let limit = self.replication.inner.config.batch_items_max;
        let outgoing = self.repository.outbox(after, limit).await?;
        let Some((upto, changes)) = batch(after, outgoing)? else { return Ok(0) };
        self.replication.takes_writes()?;
        let count = changes.len();
        self.replication.import(&self.source, after, upto, changes).await?;
        Ok(count)
    }

    /// Applies changes of the records to the foreign database, for ever. Returns only what somebody has to look at, and
    /// [`SubscribeError::Stopped`] when the node stops. Cancel-safe.
    ///
    /// After [`SubscribeError::Compacted`] and [`SubscribeError::Undone`] nobody can say what of the sink is deleted by
    /// now: while no bridge applies, empty it, and set its version back to the default one, in one transaction; the next
    /// call applies all records. So does a first pass end that was cut short, when too much was deleted before it goes
    /// on.
    pub async fn apply(&self) -> BridgeError {
        loop {
            match self.follow().await {
                BridgeError::Subscribe(
                    error
                    @ (SubscribeError::Compacted { .. } | SubscribeError::Undone { .. } | SubscribeError::Stopped),
                ) => return error.into(),
                error => {
                    tracing::warn!(source = %self.source, "applying waits: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn follow(&self) -> BridgeError {
        let from = match self.repository.applied().await {
            Ok(from) => from,
            Err(error) => return error.into(),
        };
        let mut changes = self.replication.subscribe(from);
        loop {
            let mut batch: Vec<Event> = match changes.next().await {
                Ok(event) => vec![event],
                Err(error) => return error.into(),
            };
            while batch.len() < self.replication.inner.config.batch_items_max
                && let Some(event) = changes.ready()
            {
                batch.push(event);
            }
            if let Err(error) = self.repository.apply(batch).await {
                return error.into();
            }
        }
    }
}

/// What of an outbox goes into one command: the newest change of each record is all that a reader could see of them.
fn batch(after: u64, outgoing: Vec<Outgoing>) -> Result<Option<(u64, Vec<Change>)>, BridgeError> {
    let (mut upto, mut bytes) = (after, 0);
    let mut changes: Vec<Change> = Vec::new();
    let mut places: std::collections::BTreeMap<Key, usize> = std::collections::BTreeMap::new();
    for Outgoing { number, change } in outgoing {
        if number <= upto {
            let reason = format!("number {number} comes after {upto}: the numbers of an outbox count up");
            return Err(BridgeError::Outbox { reason });
        }
        let length = change.data.as_ref().map_or(0, bytes::Bytes::len);
        if length > DATA_BYTES_MAX {
            let reason = format!("change {number} has {length} bytes: at most {DATA_BYTES_MAX}");
            return Err(BridgeError::Outbox { reason });
        }
        if bytes > 0 && bytes + length > BATCH_BYTES {
            break;
        }
        bytes += length.max(1);
        upto = number;
        match places.get(&change.key) {
            Some(place) => changes[*place] = change,
            None => {
                places.insert(change.key.clone(), changes.len());
                changes.push(change);
            }
        }
    }
    Ok((upto > after).then_some((upto, changes)))
}

impl Replication {
    /// How much was taken over from a foreign database, as of some moment after this call began.
    pub async fn imported(&self, source: &str) -> Result<u64, ReadError> {
        if self.inner.copy.is_complete() {
            return self.imported_here(source).await;
        }
        let leader = self.inner.cluster.leader().ok_or_else(|| incomplete("there is no leader now"))?;
        match self.inner.remote.ask(&leader.node_id, &Ask::Imported { source: source.to_owned() }).await {
            Ok(Told::Imported(told)) => told.map_err(|reason| incomplete(&reason)),
            Ok(_) => Err(incomplete("the leader's answer cannot be read")),
            Err(reason) => Err(incomplete(&reason)),
        }
    }

    pub(crate) async fn imported_here(&self, source: &str) -> Result<u64, ReadError> {
        let confirmed = self.inner.cluster.confirm_within(ASK_TIMEOUT).await;
        confirmed.map_err(|error| ReadError::NoQuorum { reason: error.to_string() })?;
        Ok(self.inner.copy.memory().agreed().sources.get(source).copied().unwrap_or(0))
    }

    /// Whether the cluster knows this database, or would remember one more.
    fn remembers(&self, source: &str) -> bool {
        let memory = self.inner.copy.memory();
        let sources = &memory.agreed().sources;
        sources.contains_key(source) || sources.len() < SOURCES_MAX
    }

    async fn import(&self, source: &str, after: u64, upto: u64, changes: Vec<Change>) -> Result<(), ReplicateError> {
        let command = Command::Import { source: source.to_owned(), after, upto, changes };
        let applied = match self.inner.log.write(&command).await {
            Ok(applied) => applied,
            Err(WriteError::Unknown { reason }) => return Err(ReplicateError::Unknown { reason }),
            Err(error) => return Err(ReplicateError::NotReplicated { reason: error.to_string() }),
        };
        let held = self.inner.gate.wait(self.consistency(), applied.index, Instant::now() + ASK_TIMEOUT).await;
        held.map(drop).map_err(|not_held| ReplicateError::Unconfirmed {
            version: crate::Version { time: applied.epoch, tie: 0 },
            acknowledged_by: not_held.by,
            needed: not_held.needed,
            reason: not_held.reason,
        })
    }

    pub(crate) fn shared(inner: Arc<Inner>) -> Self {
        let level = inner.config.consistency;
        Self::of(inner, level)
    }
}

fn incomplete(reason: &str) -> ReadError {
    ReadError::Incomplete { reason: reason.to_owned() }
}
