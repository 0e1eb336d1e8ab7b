//! The seat of the one node that takes writes, where no leader orders them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_cluster::disk::Disk;
use ha_cluster::{HeldBy, NodeId, View};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::LooseCopy;
use super::master::{Candidate, Master, may_take_over};
use super::tail::{Tail, Tails};
use crate::Alarm;
use crate::lead::Leader;
use crate::message::Command;

/// How long a write waits for a new master to be ready.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause before that is looked at again.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a new master tries to reach copies that are alive before it begins without them.
const BEGIN_PATIENCE: Duration = Duration::from_secs(2);

/// Who is to be master, where somebody decides that: `None` inside for nobody. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Named(Arc<Mutex<Option<Option<NodeId>>>>);

impl Named {
    pub(crate) fn get(&self) -> Option<Option<NodeId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, master: Option<NodeId>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(master);
    }
}

/// Who takes writes, as this node knows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) tails: Tails,
    pub(crate) named: Named,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The epoch of mastership in which this node takes writes, once it holds what the others hold.
    begun: AtomicU64,
    is_forced: AtomicBool,
    call: Notify,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    tails: Vec<Tail>,
    /// What the candidate waits for, and since when.
    waits: Option<(String, Instant)>,
    /// Since when this node is master and has not begun.
    takes_over: Option<(u64, Instant)>,
}

impl Seat {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: &Path, named: Named) -> Self {
        Self { tails: Tails::new(disk, directory), named, inner: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when somebody was waiting.
    pub(crate) fn force(&self) -> bool {
        let waits = self.known().waits.is_some();
        // Nothing is decided ahead of time.
        self.inner.is_forced.store(waits, Ordering::Relaxed);
        waits
    }

    /// Waits until a comparison is wanted now.
    pub(super) async fn called(&self) {
        self.inner.call.notified().await;
    }

    /// The epoch since which this node is master, when it has not begun to take writes.
    pub(super) fn takes_over(&self, copy: &LooseCopy) -> Option<u64> {
        let master = copy.copy().memory().agreed().master.clone()?;
        let is_new = master.node == *copy.node() && self.inner.begun.load(Ordering::Acquire) != master.epoch;
        is_new.then_some(master.epoch)
    }

    /// The copies that are alive were compared with; `all` of them answered.
    pub(super) fn begin(&self, epoch: u64, all: bool) {
        let mut known = self.known();
        let since = *known.takes_over.get_or_insert((epoch, Instant::now()));
        let since = if since.0 == epoch { since.1 } else { Instant::now() };
        known.takes_over = Some((epoch, since));
        if all || since.elapsed() >= BEGIN_PATIENCE {
            known.takes_over = None;
            self.inner.begun.store(epoch, Ordering::Release);
            tracing::info!(epoch, "this node takes writes");
        }
    }

    /// Waits until this node takes writes, or says why it does not. `wanted` is who is to.
    pub(crate) async fn takes(&self, copy: &LooseCopy, wanted: Option<&NodeId>) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let master = copy.copy().memory().agreed().master.clone();
            let why = match master {
                _ if wanted.is_none() => "there is no master now".to_owned(),
                _ if wanted != Some(copy.node()) => "this node is to take writes no more".to_owned(),
                Some(Master { node, epoch }) if node == *copy.node() => {
                    if self.inner.begun.load(Ordering::Acquire) == epoch {
                        return Ok(());
                    }
                    self.inner.call.notify_one();
                    "this node is about to take writes, and still asks the other copies what they hold".to_owned()
                }
                _ => {
                    let waits = self.known().waits.as_ref().map(|(reason, _)| reason.clone());
                    waits.unwrap_or_else(|| "it is not agreed yet that this node takes writes".to_owned())
                }
            };
            if wanted != Some(copy.node()) || Instant::now() >= deadline {
                return Err(why);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Nobody waits for anything here: there is a master, or another node leads.
    pub(crate) fn rest(&self) {
        self.inner.is_forced.store(false, Ordering::Relaxed);
        self.known().waits = None;
    }

    /// On the leader: puts on the log who takes writes, when that should change and may.
    pub(crate) async fn agree(&self, leader: &Leader, copy: &LooseCopy, held: &HeldBy, view: &View) {
        let named = self.named.get();
        let Some(wanted) = named.unwrap_or_else(|| Some(view.node_id.clone())) else { return self.rest() };
        let present = leader.copy.memory().agreed().master.clone();
        if present.as_ref().is_some_and(|present| present.node == wanted) {
            self.rest();
            return;
        }
        let Some(candidate) = self.candidate(leader, copy, view, &wanted, present.as_ref()) else { return };
        let is_forced = self.inner.is_forced.load(Ordering::Relaxed);
        if let Err(reason) = may_take_over(present.as_ref(), &candidate, leader.config.lag_items_max, is_forced) {
            let mut known = self.known();
            let is_new = known.waits.as_ref().is_none_or(|(before, _)| *before != reason);
            if is_new {
                tracing::warn!("no node takes writes: {reason}");
            }
            let since = known.waits.as_ref().map_or_else(Instant::now, |(_, since)| *since);
            known.waits = Some((reason, since));
            return;
        }
        let seen = present.as_ref().map_or(0, |present| present.epoch);
        tracing::info!(master = %wanted, "a node takes writes from now on");
        let command = Command::Master { seen, node: wanted, seen_upto: candidate.seen };
        let proposed = leader.log.write_as_leader(held.term, &command);
        match tokio::time::timeout(leader.config.sync_timeout, proposed).await {
            Ok(Ok(_)) => {
                self.rest();
            }
            Ok(Err(error)) => tracing::debug!("it was not agreed who takes writes: {error}"),
            Err(_) => {}
        }
    }

    fn candidate(
        &self,
        leader: &Leader,
        copy: &LooseCopy,
        view: &View,
        wanted: &NodeId,
        present: Option<&Master>,
    ) -> Option<Candidate> {
        let waited = self.known().waits.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let known = leader.known.lock();
        let report = if *wanted == view.node_id {
            let mut report = leader.copy.report();
            copy.tell_report(&mut report, Vec::new());
            report
        } else {
            known.copies.get(wanted).filter(|heard| heard.answers)?.report.clone()
        };
        let master_answers = present.is_some_and(|present| {
            present.node == view.node_id || known.copies.get(&present.node).is_some_and(|heard| heard.answers)
        });
        let (behind, seen, is_rewound) = (report.behind, report.stamp, report.is_rewound);
        Some(Candidate { node: wanted.clone(), behind, seen, is_rewound, master_answers, waited })
    }

    /// Looks at what was set aside, to tell of it.
    pub(crate) async fn look(&self) {
        if let Ok(tails) = self.tails.list().await {
            self.known().tails = tails;
        }
    }

    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let known = self.known();
        let records: u64 = known.tails.iter().map(|tail| tail.records + tail.deletions).sum();
        let mut alarms = Vec::new();
        if let Some((reason, _)) = &known.waits {
            alarms.push(Alarm::NoMaster { reason: reason.clone() });
        }
        if records > 0 {
            alarms.push(Alarm::SetAside { records });
        }
        alarms
    }
}
