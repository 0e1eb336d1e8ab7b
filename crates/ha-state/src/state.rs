//! The handle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use ha_cluster::clock::Clock;
use ha_cluster::{Cluster, ReadError, View};
use tokio::sync::watch;

use crate::command::{Command, Done, Put, Refusal, Reply, fingerprint};
use crate::error::{ChangeError, RequestKeyError};
use crate::hub::Hub;
use crate::keeping::Keeping;
use crate::leasing::check_ttl;
use crate::limits::{PAGE_BYTES_MAX, PAGE_ITEMS_MAX, REQUEST_KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::log::Log;
use crate::store::{Content, Store};
use crate::txn::{Answer, Txn};
use crate::warden::{Counted, Warden};
use crate::{Config, Key, KeyError, KeyValue, LeaseId, Revision};

/// Starts the room on a cluster whose [`ha_cluster::Machines`] were given a [`Store`]. The clock is that of the
/// cluster's [`ha_cluster::Seams`]. Must be called on a tokio runtime.
pub fn start(config: Config, cluster: &Cluster, clock: Arc<dyn Clock>) -> Result<State, StartError> {
    let log = cluster.replicated::<Store>().ok_or(StartError::NoStore)?;
    let hub = log.read_local(|store| store.hub().clone());
    let counted = Counted::new(clock.clone());
    let (over, told) = watch::channel(());
    let warden = Warden { cluster: cluster.clone(), log: log.clone(), hub: hub.clone(), counted: counted.clone() };
    tokio::spawn(warden.run(told));
    Ok(State::assemble(
        config,
        Log::On(Box::new(log)),
        counted,
        clock,
        Some((cluster.watch(), cluster.start_number())),
        over,
    ))
}

/// Why the room cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The cluster was started without it.
    #[error("the cluster was started without a store for shared state among its machines")]
    NoStore,
}

/// What the services of a cluster keep in common: keys, leases and locks. Cheap to clone.
///
/// Every node answers alike. What changes something returns once a majority holds it on disk; what reads is
/// linearizable unless its name says `local`. Dropping a future of a change gives up waiting: it may still happen.
#[derive(Clone)]
pub struct State {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) log: Log,
    pub(crate) hub: Arc<Hub>,
    pub(crate) counted: Counted,
    pub(crate) keeping: Arc<Keeping>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) node: String,
    /// No other start has it, not even one of the same name with an empty data directory.
    life: String,
    /// The view of a running node, for the id of its cluster.
    view: Option<watch::Receiver<Arc<View>>>,
    leases: AtomicU64,
    /// The room that runs behind a closed door.
    behind: OnceLock<State>,
    /// Its end ends the warden.
    _over: watch::Sender<()>,
}

impl Inner {
    /// An id that no other lease has or had, nor one that a snapshot of another cluster brings, whose nodes may have
    /// had the same names and lives.
    pub(crate) fn new_lease(&self) -> LeaseId {
        let number = self.leases.fetch_add(1, Ordering::Relaxed);
        let cluster = self.view.as_ref().and_then(|view| view.borrow().cluster_id);
        let cluster = cluster.map_or_else(String::new, |cluster| cluster.to_string());
        LeaseId::named(&format!("{cluster}/{}/{}/{number}", self.node, self.life))
    }

    /// A number that nobody else who asks has or had.
    pub(crate) fn new_asker(&self) -> u64 {
        fingerprint([self.new_lease().0.to_le_bytes().as_slice()])
    }
}

/// The clock of a room that is off.
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl State {
    /// The handle of a room that is off: it answers that it is not available, for this reason, so that a program asks
    /// the same questions in both cases. Must be called on a tokio runtime.
    pub fn off(reason: &str) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(NoClock);
        let counted = Counted::new(clock.clone());
        Self::assemble(Config::default(), Log::off(reason), counted, clock, None, watch::Sender::new(()))
    }

    /// The handle of a room that is closed to callers, while this node goes on doing its part for the others.
    pub fn closed(self, reason: &str) -> Self {
        let closed = Self::off(reason);
        // Nobody else has it yet.
        let _ = closed.inner.behind.set(self);
        closed
    }

    /// Why the room answers nothing, when it is off or closed.
    pub fn off_reason(&self) -> Option<&str> {
        self.inner.log.off_reason()
    }

    fn assemble(
        config: Config,
        log: Log,
        counted: Counted,
        clock: Arc<dyn Clock>,
        running: Option<(watch::Receiver<Arc<View>>, u64)>,
        over: watch::Sender<()>,
    ) -> Self {
        let hub = log.read_local(|store| store.hub().clone());
        let keeping = Keeping::start(log.clone(), clock.clone());
        let leases = AtomicU64::new(0);
        let (node, life) = running.as_ref().map_or_else(Default::default, |(view, start)| {
            let view = view.borrow();
            (view.node_id.to_string(), format!("{}/{start:x}", view.incarnation.0))
        });
        let view = running.map(|(view, _)| view);
        let inner = Inner {
            config,
            log,
            hub,
            counted,
            keeping,
            clock,
            node,
            life,
            view,
            leases,
            behind: OnceLock::new(),
            _over: over,
        };
        Self { inner: Arc::new(inner) }
    }
}

/// What a change of a key may depend on, and what goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Only if the key was last changed at this revision; [`Revision::ABSENT`] for a key that must not exist.
    pub if_revision: Option<Revision>,
    /// The lease with which the key ends. Without one it stays, also if it had one before.
    pub lease: Option<LeaseId>,
    /// The key ends after so long, unless it is set again: it has a lease of its own, which begins and ends with it.
    /// Not together with `lease`.
    pub ttl: Option<Duration>,
    /// Names the request: repeated with the same name, it is answered as the first time and not done again.
    pub request: Option<String>,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// When it took place.
    pub revision: Revision,
    /// Whether there was anything to remove.
    pub existed: bool,
}

/// What one transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnDone {
    /// When it took place.
    pub revision: Revision,
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// One answer for each operation of the branch that was taken.
    pub answers: Vec<Answer>,
}

/// A key as it was found, and when it was so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The key, if it exists.
    pub item: Option<Arc<KeyValue>>,
    /// The revision of the state in which it was looked for: a watch from the next one on misses nothing.
    pub revision: Revision,
}

/// Some of the keys that begin alike, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The keys.
    pub items: Vec<Arc<KeyValue>>,
    /// Whether there are more behind the last one.
    pub more: bool,
    /// The revision of the state in which they were looked for.
    pub revision: Revision,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Keys.
    pub keys: usize,
    /// What they and their values take, as counted against the quota, in bytes.
    pub used_bytes: u64,
    /// What they may take.
    pub quota_bytes: u64,
    /// Leases, those of locks and waiters included.
    pub leases: usize,
    /// Locks that somebody holds.
    pub locks: usize,
    /// The last revision whose changes may be gone from the history.
    pub compacted: Revision,
    /// The last revision.
    pub revision: Revision,
}

impl State {
    /// Sets a key; returns its revision.
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<Revision, ChangeError> {
        self.put_with(key, value, PutOptions::default()).await
    }

    /// Sets a key if it was last changed at `revision`; [`Revision::ABSENT`] for a key that must not exist.
    pub async fn put_if(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        revision: Revision,
    ) -> Result<Revision, ChangeError> {
        let options = PutOptions { if_revision: Some(revision), ..PutOptions::default() };
        self.put_with(key, value, options).await
    }

    /// Sets a key, with all that can be said.
    pub async fn put_with(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Revision, ChangeError> {
        let (key, value) = (Key::new(key)?, value.into());
        if value.len() > VALUE_BYTES_MAX {
            return Err(ChangeError::ValueTooLong { bytes: value.len() });
        }
        let PutOptions { if_revision, lease, ttl, request } = options;
        let condition = if_revision.map_or([0; 9], |revision| numbered(1, revision.0));
        let print = |kind: &[u8], held: &[u8]| {
            request.is_some().then(|| fingerprint([kind, key.as_bytes(), &value, &condition, held]))
        };
        let (put, print) = match (lease, ttl) {
            (Some(_), Some(_)) => return Err(ChangeError::LeaseAndTtl),
            (None, Some(ttl)) => {
                let ttl_ms = check_ttl(ttl).ok_or(ChangeError::Ttl)?;
                let print = print(b"put leased", &ttl_ms.to_le_bytes());
                (Command::PutLeased { key, value, if_revision, lease: self.inner.new_lease(), ttl_ms }, print)
            }
            (lease, None) => {
                let print = print(b"put", &lease.map_or(0, |lease| lease.0).to_le_bytes());
                (Command::Put(Put { key, value, lease, if_revision }), print)
            }
        };
        match self.change(once(put, request, print)?).await? {
            Ok(Done::Put { revision }) => Ok(revision),
            Ok(other) => Err(unfitting(&other)),
            Err(Refusal::TooManyLeases) if ttl.is_some() => Err(ChangeError::TooManyLeases),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Removes a key; `None` when it did not exist.
    pub async fn delete(&self, key: &str) -> Result<Option<Revision>, ChangeError> {
        self.delete_with(key, None, None).await.map(|done| done.existed.then_some(done.revision))
    }

    /// Removes a key, if it was last changed at a revision, and once for each request name.
    pub async fn delete_with(
        &self,
        key: &str,
        if_revision: Option<Revision>,
        request: Option<String>,
    ) -> Result<Deleted, ChangeError> {
        let key = Key::new(key)?;
        let condition = if_revision.map_or([0; 9], |revision| numbered(1, revision.0));
        let print = request.is_some().then(|| fingerprint([b"delete".as_slice(), key.as_bytes(), &condition]));
        match self.change(once(Command::Delete { key, if_revision }, request, print)?).await?? {
            Done::Deleted { revision, existed } => Ok(Deleted { revision, existed }),
            other => Err(unfitting(&other)),
        }
    }

    /// Compares, and does the one or the other, all at one revision. One that only reads is a linearizable read: it tells
    /// the revision at which things were so, and its outcome is never unknown.
    pub async fn txn(&self, txn: Txn) -> Result<TxnDone, ChangeError> {
        self.txn_once(txn, None).await
    }

    /// As [`Self::txn`], once for each request name. Under a name it reads at most
    /// [`crate::limits::KEPT_READ_BYTES_MAX`] bytes: the answer is kept.
    pub async fn txn_once(&self, txn: Txn, request: Option<String>) -> Result<TxnDone, ChangeError> {
        txn.validate()?;
        let reply = if request.is_none() && txn.only_reads() {
            self.inner.log.read(|store| store.content().consult(txn)).await?
        } else {
            let print = request.is_some().then(|| fingerprint([b"txn".as_slice(), &txn.bytes()]));
            self.change(once(Command::Txn(txn), request, print)?).await?
        };
        match reply? {
            Done::Txn { revision, succeeded, answers } => Ok(TxnDone { revision, succeeded, answers }),
            other => Err(unfitting(&other)),
        }
    }

    /// Reads a key.
    pub async fn get(&self, key: &str) -> Result<Option<Arc<KeyValue>>, ReadError> {
        self.inner.log.read(|store| store.content().keys.get(key).cloned()).await
    }

    /// Reads a key, and tells when it was so.
    pub async fn find(&self, key: &str) -> Result<Found, ReadError> {
        self.inner.log.read(|store| find(store.content(), key)).await
    }

    /// Reads a key of this node's own copy, which may be behind.
    pub fn get_local(&self, key: &str) -> Option<Arc<KeyValue>> {
        self.inner.log.read_local(|store| store.content().keys.get(key).cloned())
    }

    /// As [`Self::find`], on this node's own copy.
    pub fn find_local(&self, key: &str) -> Found {
        self.inner.log.read_local(|store| find(store.content(), key))
    }

    /// Reads the keys that begin with `prefix`, behind `after`, at most `limit` and at most [`PAGE_ITEMS_MAX`].
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, ReadError> {
        self.inner.log.read(|store| page(store.content(), prefix, after, limit)).await
    }

    /// As [`Self::list`], on this node's own copy, which may be behind.
    pub fn list_local(&self, prefix: &str, after: Option<&str>, limit: usize) -> Page {
        self.inner.log.read_local(|store| page(store.content(), prefix, after, limit))
    }

    /// Forgets past changes up to a revision, that one included, before their time.
    pub async fn compact(&self, revision: Revision) -> Result<(), ChangeError> {
        self.change(Command::Compact { revision }).await??;
        Ok(())
    }

    /// Sets how many bytes keys and values may take, on all nodes. They count [`crate::limits::KEY_OVERHEAD_BYTES`] each
    /// beside their own.
    pub async fn set_quota(&self, bytes: u64) -> Result<(), ChangeError> {
        self.change(Command::SetQuota { bytes }).await??;
        Ok(())
    }

    /// How much is kept, on this node's own copy.
    pub fn usage(&self) -> Usage {
        self.inner.log.read_local(|store| {
            let content = store.content();
            Usage {
                keys: content.keys.len(),
                used_bytes: content.used,
                quota_bytes: content.quota,
                leases: content.leases.len(),
                locks: content.locks.len(),
                compacted: content.history.compacted(),
                revision: content.revision,
            }
        })
    }

    async fn change(&self, command: Command) -> Result<Reply, ha_cluster::WriteError> {
        self.inner.log.write(&command).await
    }
}

pub(crate) fn unfitting(done: &Done) -> ChangeError {
    ChangeError::Unknown { reason: format!("an answer that does not fit: {done:?}") }
}

fn numbered(kind: u8, number: u64) -> [u8; 9] {
    let mut bytes = [kind; 9];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The same under a request key, if there is one.
pub(crate) fn once(command: Command, request: Option<String>, print: Option<u64>) -> Result<Command, RequestKeyError> {
    let Some(request) = request else { return Ok(command) };
    let request = request_key(&request)?;
    Ok(Command::Once { request, fingerprint: print.unwrap_or_default(), command: Box::new(command) })
}

pub(crate) fn request_key(text: &str) -> Result<Arc<str>, RequestKeyError> {
    let fits = (1..=REQUEST_KEY_BYTES_MAX).contains(&text.len());
    if fits { Ok(text.into()) } else { Err(RequestKeyError::Length) }
}

fn find(content: &Content, key: &str) -> Found {
    Found { item: content.keys.get(key).cloned(), revision: content.revision }
}

fn page(content: &Content, prefix: &str, after: Option<&str>, limit: usize) -> Page {
    let (mut items, mut bytes) = (Vec::new(), 0);
    let mut listed = content.keys.listed(prefix, after).peekable();
    while items.len() < limit.min(PAGE_ITEMS_MAX)
        && bytes < PAGE_BYTES_MAX
        && let Some(item) = listed.next()
    {
        bytes += item.key.len() + item.value.len();
        items.push(item.clone());
    }
    Page { items, more: listed.peek().is_some(), revision: content.revision }
}

/// Whether a text could be the beginning of a key; the empty one is the beginning of all.
pub(crate) fn prefix(text: &str) -> Result<&str, KeyError> {
    if text.is_empty() { Ok(text) } else { Key::new(text).map(|_| text) }
}
