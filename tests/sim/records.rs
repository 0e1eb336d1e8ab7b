//! Clients that write, read and delete records, and the book of what they were told.
//!
//! Each client has records of its own and does one thing at a time, so what it may find is known: what was acknowledged
//! last, what was asked since, or what was asked before and never settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_cluster::clock::Clock;
use ha_replication::{Config, Consistency, Mode, ReadError, ReplicateError, Replication, SyncLoss, Wall};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::node::Blueprint;
use super::{Mutant, Trace};

/// The type of all records.
pub const TYPE: &str = "t";
/// Records of one client.
const RECORDS: u64 = 6;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a client without a load looks whether there is one.
const IDLE: Duration = Duration::from_millis(100);

/// How a cast keeps records.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// When a write is acknowledged.
    pub consistency: Consistency,
    /// Who may be written to.
    pub mode: Mode,
    /// What happens when copies are lost.
    pub on_sync_loss: SyncLoss,
    /// How long deletions are remembered for a copy that is away.
    pub grave_time: Option<Duration>,
    /// How often copies compare themselves, where not as usual.
    pub sync_interval: Option<Duration>,
    /// How it is broken on purpose.
    pub mutant: Option<Mutant>,
}

/// How long a copy in step may be silent.
pub const SYNC_TIMEOUT: Duration = Duration::from_secs(1);

impl Keeping {
    /// The usual way.
    pub fn new(consistency: Consistency, mode: Mode) -> Self {
        let on_sync_loss = SyncLoss::Block;
        Self { consistency, mode, on_sync_loss, grave_time: None, sync_interval: None, mutant: None }
    }

    /// Whether several nodes write a record, and no leader orders them.
    pub fn is_joint(self) -> bool {
        self.mode == Mode::MultiMaster && self.consistency == Consistency::Quorum
    }

    /// The settings of one node.
    pub fn config(self, wall: &SimWall) -> Config {
        let mut config = Config::default();
        config.wall = Arc::new(wall.clone());
        config.clock = Arc::new(wall.clone());
        config.async_writes = false;
        config.sync_interval = self.sync_interval.unwrap_or(Duration::from_millis(400));
        config.mode = self.mode;
        config.consistency = self.consistency;
        config.reads_versions = self.mutant != Some(Mutant::NoVersionRead);
        config.writes_back = self.mutant != Some(Mutant::NoReadRepair);
        config.on_sync_loss = self.on_sync_loss;
        config.directory = "/data/replication".into();
        if let Some(time) = self.grave_time {
            config.grave_time = time;
        }
        config.store_interval = Duration::from_millis(100);
        config.look_interval = Duration::from_millis(100);
        config.sync_timeout = SYNC_TIMEOUT;
        // So few that several commands share an entry of the log where many write.
        config.batch_items_max = 2;
        config.cache_bytes = 1024 * 1024;
        // So few that a layer ends in the midst of a log entry now and then.
        config.layer_bytes = 4 * 1024;
        config.free_bytes_min = 0;
        config
    }
}

/// The time of day of one node. Cheap to clone.
#[derive(Clone)]
pub struct SimWall {
    simulated: Trace,
    /// Milliseconds that it is ahead of the truth.
    ahead: Arc<AtomicI64>,
}

impl SimWall {
    /// When simulations take place, in milliseconds since 1970.
    const EPOCH: u64 = 1_700_000_000_000;

    /// One that is right.
    pub fn new(simulated: Trace) -> Self {
        Self { simulated, ahead: Arc::default() }
    }

    /// Steps ahead of the truth.
    pub fn step_ahead(&self, by: Duration) {
        self.ahead.store(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Steps back behind the truth.
    pub fn step_back(&self, by: Duration) {
        self.ahead.store(-i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Whether it is right.
    pub fn is_right(&self) -> bool {
        self.ahead.load(Ordering::Relaxed) == 0
    }
}

impl Wall for SimWall {
    fn milliseconds(&self) -> u64 {
        let now = u64::try_from(self.simulated.now().as_millis()).unwrap_or(u64::MAX);
        (Self::EPOCH + now).saturating_add_signed(self.ahead.load(Ordering::Relaxed))
    }
}

impl Clock for SimWall {
    /// How much time has passed in truth, however the time of day was set.
    fn now(&self) -> Duration {
        self.simulated.now()
    }
}

/// What is known of one record.
#[derive(Clone, Debug, Default)]
struct Page {
    asked: u64,
    /// The highest that was acknowledged.
    acknowledged: u64,
    /// The highest that was read at a level at which no later read may find less, also by somebody else.
    read: u64,
    deletions: BTreeSet<u64>,
    /// Asked, and neither acknowledged nor refused.
    unsettled: BTreeSet<u64>,
    /// Certainly not written.
    refused: BTreeSet<u64>,
}

impl Page {
    /// Whether a reader may find this, after a write was acknowledged that is `least`.
    fn may_find(&self, found: Option<u64>, least: u64) -> bool {
        match found {
            Some(number) => {
                let is_new = number >= least || self.unsettled.contains(&number);
                is_new && number <= self.asked && !self.refused.contains(&number) && !self.deletions.contains(&number)
            }
            None => {
                let deleted = |number: &u64| *number >= least || self.unsettled.contains(number);
                least == 0 || self.deletions.iter().any(|number| deleted(number) && !self.refused.contains(number))
            }
        }
    }
}

/// Records that a master had alone, and what it wrote there; nothing for a deletion.
pub type SetAside = BTreeSet<(String, Option<u64>)>;

/// What clients were told. Cheap to clone.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Pages>>);

/// The inside of a book.
#[derive(Default)]
pub struct Pages {
    by_id: BTreeMap<String, Page>,
    clients: u64,
    /// What was found that must not be.
    broken: Option<String>,
    /// How many writes were acknowledged.
    pub acknowledged: usize,
    /// How many reads were answered.
    pub read: usize,
}

impl Book {
    /// Looks at it.
    pub fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// What broke a promise, if anything did.
    pub fn broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    /// Judges the records of a copy when nobody writes any more. What was set aside need not be there.
    pub fn judge(
        &self,
        set_aside: &SetAside,
        find: impl Fn(&str) -> Result<Option<u64>, String>,
    ) -> Result<(), String> {
        for (id, page) in &self.by_id {
            let found = find(id)?;
            // What came after it, unanswered, takes its place among what was set aside too.
            let written = |number: u64| Some(number).filter(|number| !page.deletions.contains(number));
            let is_aside = |number| set_aside.contains(&(id.clone(), written(number)));
            if !page.may_find(found, page.acknowledged) && !(page.acknowledged..=page.asked).any(is_aside) {
                return Err(format!("{id} holds {found:?}, and its client knows {page:?}"));
            }
        }
        Ok(())
    }

    fn ask(&mut self, id: &str, is_deletion: bool) -> u64 {
        let page = self.by_id.entry(id.to_owned()).or_default();
        page.asked += 1;
        page.unsettled.insert(page.asked);
        if is_deletion {
            page.deletions.insert(page.asked);
        }
        page.asked
    }

    fn settle(&mut self, id: &str, number: u64, outcome: Outcome) {
        let Some(page) = self.by_id.get_mut(id) else { return };
        match outcome {
            Outcome::Acknowledged => {
                page.unsettled.remove(&number);
                page.acknowledged = page.acknowledged.max(number);
                self.acknowledged += 1;
            }
            Outcome::Refused => {
                page.unsettled.remove(&number);
                page.refused.insert(number);
            }
            Outcome::Unknown => {}
        }
    }

    /// The least that a read may find that begins now.
    fn least(&self, id: &str) -> u64 {
        self.by_id.get(id).map_or(0, |page| page.acknowledged.max(page.read))
    }

    /// A read has ended; without a least one it promised nothing.
    fn found(&mut self, id: &str, found: Option<u64>, least: Option<u64>) {
        self.read += 1;
        let Some(page) = self.by_id.get_mut(id) else { return };
        if !page.may_find(found, least.unwrap_or(0)) {
            let before = least.unwrap_or(0);
            self.broken = Some(format!("{id} was read as {found:?} after {before} was acknowledged or read: {page:?}"));
        }
        page.read = page.read.max(found.filter(|_| least.is_some()).unwrap_or(0));
    }
}

enum Outcome {
    Acknowledged,
    Refused,
    Unknown,
}

/// Writes and deletes records of its own, and reads those and others', one after the other.
pub(super) async fn client(blueprint: Blueprint, replication: Replication, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let book = blueprint.book.clone();
    let me = {
        let mut pages = book.lock();
        pages.clients += 1;
        pages.clients
    };
    loop {
        let pace = blueprint.load.pace();
        let mean = pace.map_or(IDLE, |pace| pace.interval);
        tokio::time::sleep(mean.mul_f64(rng.random_range(0.5..1.5))).await;
        if blueprint.load.pace().is_none() {
            continue;
        }
        let id = format!("{me}-{}", rng.random_range(0..RECORDS));
        match rng.random_range(0..10_u32) {
            0..6 => write(&blueprint, &book, &replication, &id, false).await,
            6 => write(&blueprint, &book, &replication, &id, true).await,
            _ => {
                let owner = rng.random_range(1..=book.lock().clients);
                let id = format!("{owner}-{}", rng.random_range(0..RECORDS));
                read(&blueprint, &book, &replication, &id).await;
            }
        }
    }
}

async fn write(blueprint: &Blueprint, book: &Book, replication: &Replication, id: &str, is_deletion: bool) {
    let number = book.lock().ask(id, is_deletion);
    let written = async {
        if is_deletion { replication.delete(TYPE, id).await } else { replication.replicate(TYPE, id, &number).await }
    };
    let told = tokio::time::timeout(PATIENCE, written).await;
    let outcome = match &told {
        Ok(Ok(_)) => Outcome::Acknowledged,
        Ok(Err(ReplicateError::NotReplicated { .. } | ReplicateError::Storage(_))) => Outcome::Refused,
        _ => Outcome::Unknown,
    };
    book.lock().settle(id, number, outcome);
    let told = told.map(|told| told.map(|written| written.version.to_string()));
    blueprint.trace.line(blueprint.name, format_args!("record {id} {number} (deletion: {is_deletion}): {told:?}"));
}

async fn read(blueprint: &Blueprint, book: &Book, replication: &Replication, id: &str) {
    let least = book.lock().least(id);
    let told = tokio::time::timeout(PATIENCE, replication.get(TYPE, id)).await;
    let Ok(told) = told else { return };
    if let Ok(found) = &told {
        let number = found.as_ref().and_then(|record| record.json().ok());
        // A copy may be behind, where that is all that is promised.
        let least = (replication.consistency() != Consistency::Eventual).then_some(least);
        book.lock().found(id, number, least);
    }
    let told: Result<_, ReadError> = told.map(|found| found.map(|record| record.version.to_string()));
    blueprint.trace.line(blueprint.name, format_args!("record {id} read: {told:?}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_found_is_what_was_acknowledged_or_may_still_come() {
        let mut pages = Pages::default();
        assert_eq!(pages.ask("a", false), 1);
        pages.settle("a", 1, Outcome::Acknowledged);
        assert_eq!(pages.ask("a", false), 2);
        pages.settle("a", 2, Outcome::Unknown);
        assert_eq!(pages.ask("a", false), 3);
        pages.settle("a", 3, Outcome::Refused);
        let may = |pages: &Pages, found| pages.judge(&SetAside::new(), |_| Ok(found)).is_ok();
        assert!(may(&pages, Some(1)) && may(&pages, Some(2)));
        assert!(!may(&pages, Some(3)), "it was refused");
        assert!(!may(&pages, None), "it was acknowledged");
        assert_eq!(pages.ask("a", true), 4);
        assert!(may(&pages, None), "it may be deleted by now");
        pages.settle("a", 4, Outcome::Acknowledged);
        assert!(may(&pages, None) && may(&pages, Some(2)) && !may(&pages, Some(1)));
        pages.found("a", Some(1), Some(4));
        assert!(pages.broken().is_some());
    }

    #[test]
    fn what_somebody_has_read_nobody_reads_as_it_was_before() {
        let mut pages = Pages::default();
        for (number, outcome) in [(1, Outcome::Acknowledged), (2, Outcome::Unknown)] {
            pages.ask("a", false);
            pages.settle("a", number, outcome);
        }
        let early = pages.least("a");
        pages.found("a", Some(2), Some(early));
        pages.found("a", Some(1), Some(early));
        assert_eq!(pages.broken(), None, "it began before");
        let late = pages.least("a");
        pages.found("a", Some(1), None);
        assert_eq!(pages.broken(), None, "a copy may be behind");
        pages.found("a", Some(1), Some(late));
        assert!(pages.broken().is_some());
    }
}
