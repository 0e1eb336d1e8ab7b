//! Ends what was not renewed, and forgets what is old: what the leader does for everybody, driven here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use ha_cluster::clock::Clock;
use ha_cluster::{Cluster, MemberRole, Replicated, Term, View, WriteError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::command::Command;
use crate::expiry::{Expiry, Input, News, Output};
use crate::hub::Hub;
use crate::limits::{HISTORY_SAMPLE_INTERVAL, HISTORY_TIME, PREFIX_DELETES_MAX};
use crate::log::Log;
use crate::store::Store;
use crate::{LeaseId, Revision};

/// Changes of leases are gathered for so long, so that a storm of them is noticed in few steps.
const GATHER_TIME: Duration = Duration::from_millis(10);
/// Pause after a proposal that failed.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the quorum may take that is asked before anything is ended.
const CONFIRM_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest sleep.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What this node counts of all leases. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Counted {
    expiry: Arc<Mutex<Expiry>>,
    clock: Arc<dyn Clock>,
}

impl Counted {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { expiry: Arc::default(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Expiry> {
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.lock().step(self.clock.now(), input, &mut outputs);
        outputs
    }

    /// How long a lease still lasts, as this node counts: for people.
    pub(crate) fn remaining(&self, lease: LeaseId) -> Option<Duration> {
        self.lock().remaining(self.clock.now(), lease)
    }

    /// Notes what has changed of leases, up to what is applied.
    pub(crate) fn catch_up(&self, log: &Log, hub: &Hub) {
        // Read only when it is not known what changed; nothing is applied between the two.
        log.read_local(|store| {
            let news = match hub.take_journal() {
                Some(changes) => News::Changed(changes),
                None => News::All(store.content().all_leases()),
            };
            self.lock().note(self.clock.now(), news);
        });
    }
}

/// The task that looks.
pub(crate) struct Warden {
    pub(crate) cluster: Cluster,
    pub(crate) log: Replicated<Store>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) counted: Counted,
}

/// Why it looks.
enum Trigger {
    Journal,
    View,
    Time,
    Aged,
    Proposed,
    Forgotten,
    Over,
}

impl Warden {
    /// Runs until the node stops, or nobody is there who could use it any more.
    pub(crate) async fn run(self, mut over: watch::Receiver<()>) {
        let mut view = self.cluster.watch();
        let mut leads = None;
        let mut age = Age::default();
        let mut next_sample = Instant::now() + HISTORY_SAMPLE_INTERVAL;
        // Both beside the loop, which must go on looking meanwhile.
        let (mut proposal, mut compaction): (Option<Work>, Option<Work>) = (None, None);
        loop {
            let wait = self.counted.lock().deadline();
            let wait = wait.map_or(LOOK_INTERVAL, |due| due.saturating_sub(self.counted.clock.now()));
            let trigger = tokio::select! {
                () = self.hub.journal_grew() => Trigger::Journal,
                changed = view.changed() => if changed.is_ok() { Trigger::View } else { Trigger::Over },
                () = done(&mut proposal) => Trigger::Proposed,
                () = done(&mut compaction) => Trigger::Forgotten,
                () = tokio::time::sleep(wait.min(LOOK_INTERVAL)) => Trigger::Time,
                () = tokio::time::sleep_until(next_sample) => Trigger::Aged,
                _ = over.changed() => Trigger::Over,
            };
            let mut outputs = Vec::new();
            match trigger {
                Trigger::Journal => {
                    tokio::time::sleep(GATHER_TIME).await;
                    self.catch_up();
                    outputs = self.counted.step(Input::Tick);
                }
                Trigger::View => {
                    let now = led_term(&view.borrow_and_update());
                    if now != leads {
                        leads = now;
                        proposal = None;
                        // First what is there, so that all of it begins anew.
                        self.catch_up();
                        outputs = self.counted.step(Input::Leads(leads.is_some()));
                    }
                }
                Trigger::Time => outputs = self.counted.step(Input::Tick),
                Trigger::Proposed => {
                    proposal = None;
                    self.catch_up();
                    outputs = self.counted.step(Input::Proposed);
                }
                Trigger::Aged => {
                    next_sample = Instant::now() + HISTORY_SAMPLE_INTERVAL;
                    let old = self.old(&mut age);
                    if let (Some(term), Some(revision), None) = (leads, old, &compaction) {
                        compaction = Some(Box::pin(forget(self.log.clone(), term, revision)));
                    }
                }
                Trigger::Forgotten => compaction = None,
                Trigger::Over => return,
            }
            if let (Some(term), false) = (leads, outputs.is_empty()) {
                proposal = Some(Box::pin(propose(self.cluster.clone(), self.log.clone(), term, outputs)));
            }
        }
    }

    fn catch_up(&self) {
        self.counted.catch_up(&Log::On(Box::new(self.log.clone())), &self.hub);
    }

    /// Up to where the past is old enough to be forgotten, if there is any.
    fn old(&self, age: &mut Age) -> Option<Revision> {
        let (revision, compacted, oldest) = self.log.read_local(|store| {
            let content = store.content();
            let oldest = content.history.since(Revision(0)).next().map(crate::Event::revision);
            (content.revision, content.history.compacted(), oldest)
        });
        let old = age.sample(self.counted.clock.now(), revision);
        old.filter(|revision| *revision > compacted && oldest.is_some_and(|oldest| oldest <= *revision))
    }
}

/// Something under way.
type Work = BoxFuture<'static, ()>;

/// Resolves when it is done, if it is under way at all.
async fn done(work: &mut Option<Work>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn forget(log: Replicated<Store>, term: Term, revision: Revision) {
    // What fails is tried again with the next sample.
    let _ = log.write_as_leader(term, &Command::Compact { revision }).await;
}

/// The term in which this node leads, if it does.
fn led_term(view: &View) -> Option<Term> {
    (view.role == Some(MemberRole::Leader)).then_some(view.term)
}

/// Confirms that this node still leads, and proposes. A renewal that is in the log already comes first.
async fn propose(cluster: Cluster, log: Replicated<Store>, term: Term, outputs: Vec<Output>) {
    if cluster.confirm_within(CONFIRM_TIME_MAX).await.is_err() {
        return tokio::time::sleep(PAUSE).await;
    }
    let commands = outputs.into_iter().flat_map(|output| match output {
        Output::Expire(leases) => {
            let parts = log.read_local(|store| in_parts(leases, |lease| store.content().keys_of(lease)));
            parts.into_iter().map(|leases| Command::LeaseExpire { leases }).collect()
        }
        Output::EndDelays(locks) => vec![Command::LockDelaysOver { locks }],
    });
    for command in commands.collect::<Vec<_>>() {
        let what = match &command {
            Command::LeaseExpire { leases } => format!("ends {} leases that were not renewed", leases.len()),
            Command::LockDelaysOver { locks } => format!("frees {} locks whose delay is over", locks.len()),
            other => format!("{other:?}"),
        };
        tracing::debug!("{what}");
        if let Err(WriteError::NotApplied { reason } | WriteError::Unknown { reason }) =
            log.write_as_leader(term, &command).await
        {
            tracing::debug!("{what}: not done, {reason}");
            return tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Leases with what they were renewed.
type Due = Vec<(LeaseId, u64)>;

/// Takes leases apart, so that not more keys end with those of one command than one transaction may remove: more would
/// hold everything else up.
fn in_parts(leases: Due, keys: impl Fn(LeaseId) -> usize) -> Vec<Due> {
    let (mut parts, mut in_last) = (Vec::<Due>::new(), 0);
    for (lease, renewals) in leases {
        let more = keys(lease);
        match parts.last_mut().filter(|_| in_last + more <= PREFIX_DELETES_MAX) {
            Some(part) => {
                part.push((lease, renewals));
                in_last += more;
            }
            None => {
                parts.push(vec![(lease, renewals)]);
                in_last = more;
            }
        }
    }
    parts
}

/// Which revision was reached when.
#[derive(Debug, Default)]
struct Age {
    samples: VecDeque<(Duration, Revision)>,
}

impl Age {
    /// Notes a revision, and returns the newest that is older than [`HISTORY_TIME`].
    fn sample(&mut self, now: Duration, revision: Revision) -> Option<Revision> {
        self.samples.push_back((now, revision));
        let old = |sample: &(Duration, Revision)| sample.0 + HISTORY_TIME <= now;
        while self.samples.get(1).is_some_and(old) {
            self.samples.pop_front();
        }
        self.samples.front().filter(|sample| old(sample)).map(|(_, revision)| *revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_too_many_keys_end_at_once() {
        let due = |leases: &[u128]| leases.iter().map(|lease| (LeaseId(*lease), 0)).collect::<Due>();
        let keys = |LeaseId(lease)| if lease < 10 { 0 } else { PREFIX_DELETES_MAX / lease as usize };
        let parts = in_parts(due(&[1, 10, 11, 2, 3]), keys);
        assert_eq!(parts, [due(&[1, 10, 11, 2, 3])], "those of locks, and of few keys, together");
        let whole = |lease| if lease == LeaseId(2) { 1 } else { PREFIX_DELETES_MAX };
        assert_eq!(in_parts(due(&[1, 2, 3]), whole), [due(&[1]), due(&[2]), due(&[3])]);
        assert!(in_parts(Vec::new(), keys).is_empty());
    }

    #[test]
    fn what_is_older_than_the_history_is_forgotten_and_nothing_younger() {
        let mut age = Age::default();
        let mut forgotten = Vec::new();
        for minute in 0..15_u64 {
            forgotten.push(age.sample(Duration::from_secs(60 * minute), Revision(minute * 100)));
        }
        assert_eq!(forgotten[..10], [None; 10]);
        assert_eq!(forgotten[10..], [0, 100, 200, 300, 400].map(|revision| Some(Revision(revision))));
        assert!(age.samples.len() <= 11);
    }
}
