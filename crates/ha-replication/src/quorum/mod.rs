//! Records that a majority of the copies holds, and no leader orders: any node takes a write.
//!
//! A write first asks a majority of the copies what they know of the record, stamps its value later than all of it, and
//! is acknowledged when a majority has it on disk. A read asks a majority, joins what they know, and answers once a
//! majority holds that. So a read sees the latest write that was acknowledged; of writes that did not see each other,
//! all are kept.

mod local;
mod replicas;
mod round;
mod siblings;
#[cfg(test)]
mod simulator;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use ha_cluster::{Cluster, Lane, NodeId, encoding};
use tokio::time::Instant;

use crate::gate::ROOM;
use crate::loose::LooseCopy;
use crate::message::{Ask, Told};
use crate::record::Kept;
use crate::store::SyncSet;
use crate::{Change, Config, Key, ReadError, Record, ReplicateError, Sibling, Written};
use local::{keep, loose_of, peek, state_of};
pub(crate) use local::{latest, merged, served};
pub(crate) use replicas::next as next_replicas;
pub(crate) use round::majority;
use round::{Peeked, Reading, Round, Standing, read, replaced, write};
pub(crate) use siblings::Siblings;

/// Beside what copies push and compare.
const LANE: Lane = Lane::Bulk(1);
/// How long a copy may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a call may take.
const CALL_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before copies that were too few are asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Reads and writes of this node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Quorum {
    cluster: Cluster,
    loose: LooseCopy,
    node: NodeId,
    /// Writes of one record by this node follow one another: each sees the one before.
    writing: Arc<Mutex<BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>>>,
    reads_versions: bool,
    writes_back: bool,
    /// So many copies at least hold what is acknowledged, where there are so many, and a majority in any case.
    quorum_size: usize,
}

/// What is sent to one copy, and asked of this node's own.
#[derive(Clone)]
enum Question {
    Peek { key: Key, bare: bool },
    Keep { key: Key, state: Siblings },
}

impl Quorum {
    pub(crate) fn new(cluster: Cluster, loose: LooseCopy, config: &Config) -> Self {
        let node = cluster.watch().borrow().node_id.clone();
        let (reads_versions, writes_back) = (config.reads_versions, config.writes_back);
        let quorum_size = config.quorum_size;
        Self { cluster, loose, node, writing: Arc::default(), reads_versions, writes_back, quorum_size }
    }

    /// The copies that take part now.
    fn set(&self) -> SyncSet {
        self.loose.copy().memory().agreed().sync.clone()
    }

    /// Writes one record.
    pub(crate) async fn write(&self, change: Change) -> Result<Written, ReplicateError> {
        let _turn = self.turn(&change.key).await;
        let deadline = Instant::now() + CALL_PATIENCE;
        let not_replicated = |reason| ReplicateError::NotReplicated { reason };
        let key = change.key.clone();
        let mut found = Siblings::default();
        if self.reads_versions {
            let question = Question::Peek { key: key.clone(), bare: true };
            found = replaced(self.ask(question, &BTreeSet::new(), 0, deadline).await.map_err(not_replicated)?);
        }
        let mut is_known = Ok(());
        let (version, state) = write(found, change.data, |time| {
            is_known = self.loose.see(time);
            self.loose.version()
        });
        is_known.map_err(not_replicated)?;
        let question = Question::Keep { key, state };
        let kept = self.ask(question, &BTreeSet::new(), self.quorum_size, deadline).await;
        // Those that were asked may have it, or get it from one that has.
        let unknown = |reason| ReplicateError::Unknown { reason };
        let acknowledged_by = kept.map_err(unknown)?.into_keys().collect();
        Ok(Written { version, acknowledged_by })
    }

    /// What a majority knows of a record, and holds.
    pub(crate) async fn read(&self, key: &Key) -> Result<Option<Record>, ReadError> {
        let deadline = Instant::now() + CALL_PATIENCE;
        let no_quorum = |reason| ReadError::NoQuorum { reason };
        let question = Question::Peek { key: key.clone(), bare: false };
        let answers = self.ask(question, &BTreeSet::new(), 0, deadline).await.map_err(no_quorum)?;
        let Reading { state, held_by } = read(answers);
        let nothing = state == Siblings::default();
        if self.writes_back && !nothing && held_by.len() < majority(self.set().members.len()) {
            let question = Question::Keep { key: key.clone(), state: state.clone() };
            self.ask(question, &held_by, 0, deadline).await.map_err(no_quorum)?;
        }
        Ok(record(key, &state))
    }

    /// A page of the records of one type.
    pub(crate) async fn list(&self, prefix: Bytes, after: Option<Key>, limit: usize) -> Result<Vec<Record>, ReadError> {
        let deadline = Instant::now() + CALL_PATIENCE;
        let no_quorum = |reason| ReadError::NoQuorum { reason };
        let ask = |epoch| Ask::PeekPage { epoch, prefix: prefix.clone(), after: after.clone(), limit: limit as u32 };
        let here = |epoch| local::page(&self.loose, epoch, &prefix, after.as_ref(), limit);
        let answers = loop {
            let set = self.set();
            match self.ask_all(&set, &BTreeSet::new(), 0, ask, here, local::page_told).await {
                Ok(answers) => break answers,
                Err(reason) if Instant::now() + PAUSE > deadline => return Err(no_quorum(reason)),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        // What lies beyond the last of a full page was not looked at there.
        let full = answers.values().filter(|page| page.is_full);
        let end = full.filter_map(|page| page.states.last_key_value().map(|(key, _)| key.clone())).min();
        let keys: BTreeSet<&Key> = answers.values().flat_map(|page| page.states.keys()).collect();
        let mut records = Vec::new();
        for key in keys.into_iter().take_while(|key| end.as_ref().is_none_or(|end| *key <= end)) {
            let states: Vec<_> = answers.values().map(|page| page.states.get(key)).collect();
            let is_same = states.iter().all(|state| *state == states[0]);
            let agreed = states[0].filter(|peeked| is_same && peeked.is_stored);
            records.extend(match agreed {
                Some(peeked) => record(key, &peeked.state),
                None => self.read(key).await?,
            });
            if records.len() >= limit {
                break;
            }
        }
        Ok(records)
    }

    /// Waits until no other write of this record is under way on this node.
    async fn turn(&self, key: &Key) -> Turn {
        let turns = self.writing.clone();
        let lock = turns.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        // Whoever gives up waiting leaves nothing behind either.
        let mut turn = Turn { turns, key: key.clone(), guard: None };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    /// Asks the copies but those that hold it already, until a majority has answered, and `least` of them where there are
    /// so many.
    async fn ask(
        &self,
        question: Question,
        held_by: &BTreeSet<NodeId>,
        least: usize,
        deadline: Instant,
    ) -> Result<BTreeMap<NodeId, Peeked>, String> {
        let stamp = self.loose.version().time;
        let ask = |epoch| match &question {
            Question::Peek { key, bare } => Ask::Peek { epoch, stamp, key: key.clone(), bare: *bare },
            Question::Keep { key, state } => Ask::Keep { epoch, change: loose_of(key.clone(), state.clone()) },
        };
        let here = |epoch| {
            let (loose, question) = (self.loose.clone(), question.clone());
            async move {
                match question {
                    Question::Peek { key, bare } => peek(&loose, epoch, &key, bare),
                    Question::Keep { key, state } => {
                        keep(&loose, epoch, loose_of(key, state)).await.map(|()| Peeked::nothing())
                    }
                }
            }
        };
        loop {
            let set = self.set();
            match self.ask_all(&set, held_by, least, ask, here, peeked).await {
                Ok(answers) => return Ok(answers),
                Err(reason) if Instant::now() + PAUSE > deadline => return Err(reason),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Asks each copy of a set once.
    async fn ask_all<T, F: Future<Output = Result<T, String>>>(
        &self,
        set: &SyncSet,
        held_by: &BTreeSet<NodeId>,
        least: usize,
        ask: impl Fn(u64) -> Ask,
        here: impl Fn(u64) -> F,
        answered: fn(Told) -> Result<T, String>,
    ) -> Result<BTreeMap<NodeId, T>, String> {
        if set.members.is_empty() {
            return Err("the cluster has not agreed yet on which copies take part".to_owned());
        }
        let others: Vec<&NodeId> = set.members.iter().filter(|node| !held_by.contains(*node)).collect();
        let copies = set.members.len();
        let held = held_by.intersection(&set.members).count();
        let needed = majority(copies).max(least.min(copies)).saturating_sub(held);
        let mut round = Round::new(others.len(), needed);
        let encoded: Bytes = encoding::encode(&ask(set.generation)).map_err(|error| error.to_string())?.into();
        let mut under_way: FuturesUnordered<_> = others
            .into_iter()
            .map(|node| {
                let (encoded, here) = (encoded.clone(), &here);
                async move {
                    if *node == self.node {
                        return (node.clone(), here(set.generation).await);
                    }
                    let told = self.cluster.ask_room(node, LANE, ROOM, encoded, PATIENCE).await;
                    let told = told.map_err(|error| error.to_string());
                    let told = told.and_then(|told| encoding::decode(&told).map_err(|error| error.to_string()));
                    (node.clone(), told.and_then(answered))
                }
            })
            .collect();
        while let Ok(Some((node, answer))) = tokio::time::timeout(PATIENCE, under_way.next()).await {
            match round.step(node, answer) {
                Standing::Open => {}
                Standing::Enough => return Ok(round.into_given()),
                Standing::TooFew => break,
            }
        }
        Err(round.tell())
    }
}

fn peeked(told: Told) -> Result<Peeked, String> {
    match told {
        Told::Peeked(Ok((state, is_stored))) => Ok(Peeked { state: state_of(state)?, is_stored }),
        Told::Peeked(Err(reason)) | Told::Done(Err(reason)) => Err(reason),
        Told::Done(Ok(())) => Ok(Peeked::nothing()),
        _ => Err("its answer cannot be read".to_owned()),
    }
}

/// A record as it is read.
fn record(key: &Key, state: &Siblings) -> Option<Record> {
    let mut values = state.values().iter().cloned();
    let (version, data) = values.next()?;
    let siblings = values.map(|(version, data)| Sibling { version, data }).collect();
    Some(Record { key: key.clone(), version, data, siblings })
}

/// As [`record`], of what a copy keeps.
pub(crate) fn kept_record(key: Key, kept: Kept) -> Option<Record> {
    if kept.past.is_empty() {
        return Some(Record { key, version: kept.version, data: kept.data?, siblings: Vec::new() });
    }
    record(&key, &Siblings::of(Some(&kept)).ok()?)
}

/// The right to write one record on this node.
struct Turn {
    turns: Arc<Mutex<BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>>>,
    key: Key,
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            turns.remove(&self.key);
        }
    }
}
