//! Records that several nodes write, of which no leader orders anything: clients on every node take turns on each of
//! them, and the book of what they were told.
//!
//! One client at a time works on a record, so what the next one may find is known: the value that was acknowledged or
//! read last, and beside it those of calls that ended without an answer. A value that was replaced never comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_replication::{Record, ReplicateError, Replication};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::node::Blueprint;
use super::records::TYPE;

/// Records that there are.
const RECORDS: u64 = 12;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a client without a load looks whether there is one.
const IDLE: Duration = Duration::from_millis(100);

/// What is known of one record.
#[derive(Clone, Debug, Default)]
struct Page {
    /// Somebody works on it.
    is_taken: bool,
    asked: u64,
    /// Values that every reader must find, unless a later call replaced them.
    present: BTreeSet<u64>,
    /// Calls that ended without an answer, and whether they delete.
    unsettled: BTreeMap<u64, bool>,
}

impl Page {
    /// Takes in what a reader found, or says what is wrong with it.
    fn found(&mut self, found: &BTreeSet<u64>) -> Result<(), String> {
        let is_known = |number: &u64| self.present.contains(number) || self.unsettled.get(number) == Some(&false);
        if let Some(wrong) = found.iter().find(|number| !is_known(number)) {
            return Err(format!("{wrong} is there, and must not be: {self:?}"));
        }
        let replaced = |number: u64| {
            let mut later = self.unsettled.range(number..);
            later.any(|(later, is_deletion)| *is_deletion || found.contains(later))
        };
        if let Some(lost) = self.present.iter().find(|number| !found.contains(number) && !replaced(**number)) {
            return Err(format!("{lost} is lost, and {found:?} there: {self:?}"));
        }
        self.unsettled.retain(|number, _| !found.contains(number));
        self.present.clone_from(found);
        Ok(())
    }

    fn acknowledged(&mut self, number: u64, is_deletion: bool) {
        self.unsettled.remove(&number);
        self.present = if is_deletion { BTreeSet::new() } else { [number].into() };
    }
}

/// What clients were told of the records that they share. Cheap to clone.
#[derive(Clone, Default)]
pub struct Joint(Arc<Mutex<Pages>>);

/// The inside of the book.
#[derive(Default)]
pub struct Pages {
    by_id: BTreeMap<String, Page>,
    broken: Option<String>,
    /// How many writes were acknowledged.
    pub acknowledged: usize,
    /// How many reads were answered.
    pub read: usize,
    /// How many of them found more than one value.
    pub beside: usize,
}

impl Joint {
    /// Looks at it.
    pub fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record that nobody works on.
    fn take(&self, first: u64) -> Option<Turn> {
        let mut pages = self.lock();
        let ids = (first..first + RECORDS).map(|number| format!("joint-{}", number % RECORDS));
        for id in ids {
            let page = pages.by_id.entry(id.clone()).or_default();
            if !std::mem::replace(&mut page.is_taken, true) {
                return Some(Turn { joint: self.clone(), id });
            }
        }
        None
    }
}

impl Pages {
    /// What broke a promise, if anything did.
    pub fn broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    /// Judges what a copy holds when nobody writes any more.
    pub fn judge(&mut self, find: impl Fn(&str) -> Result<Option<Record>, String>) -> Result<(), String> {
        for (id, page) in &mut self.by_id {
            page.found(&numbers(find(id)?.as_ref())).map_err(|wrong| format!("{id}: {wrong}"))?;
        }
        Ok(())
    }
}

fn numbers(found: Option<&Record>) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    if let Some(record) = found {
        numbers.extend(record.json::<u64>().ok());
        numbers.extend(record.siblings.iter().filter_map(|one| serde_json::from_slice::<u64>(&one.data).ok()));
    }
    numbers
}

/// The only right to work on a record; given back when dropped, also by a client that dies.
struct Turn {
    joint: Joint,
    id: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(page) = self.joint.lock().by_id.get_mut(&self.id) {
            page.is_taken = false;
        }
    }
}

/// Writes, deletes and reads whichever record is free.
pub(super) async fn client(blueprint: Blueprint, replication: Replication, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        let pace = blueprint.load.pace();
        let mean = pace.map_or(IDLE, |pace| pace.interval);
        tokio::time::sleep(mean.mul_f64(rng.random_range(0.5..1.5))).await;
        if pace.is_none() {
            continue;
        }
        let Some(turn) = blueprint.joint.take(rng.random_range(0..RECORDS)) else { continue };
        match rng.random_range(0..10_u32) {
            0..4 => write(&blueprint, &turn, &replication, false).await,
            4 => write(&blueprint, &turn, &replication, true).await,
            _ => read(&blueprint, &turn, &replication).await,
        }
    }
}

async fn write(blueprint: &Blueprint, turn: &Turn, replication: &Replication, is_deletion: bool) {
    let id = &turn.id;
    let number = {
        let mut pages = turn.joint.lock();
        let page = pages.by_id.entry(id.clone()).or_default();
        page.asked += 1;
        page.unsettled.insert(page.asked, is_deletion);
        page.asked
    };
    let written = async {
        if is_deletion { replication.delete(TYPE, id).await } else { replication.replicate(TYPE, id, &number).await }
    };
    let told = tokio::time::timeout(PATIENCE, written).await;
    {
        let mut pages = turn.joint.lock();
        let is_acknowledged = matches!(told, Ok(Ok(_)));
        pages.acknowledged += usize::from(is_acknowledged);
        if let Some(page) = pages.by_id.get_mut(id) {
            match &told {
                Ok(Ok(_)) => page.acknowledged(number, is_deletion),
                Ok(Err(ReplicateError::NotReplicated { .. } | ReplicateError::Storage(_))) => {
                    page.unsettled.remove(&number);
                }
                _ => {}
            }
        }
    }
    let told = told.map(|told| told.map(|written| written.version.to_string()));
    blueprint.trace.line(blueprint.name, format_args!("record {id} {number} (deletion: {is_deletion}): {told:?}"));
}

async fn read(blueprint: &Blueprint, turn: &Turn, replication: &Replication) {
    let id = &turn.id;
    let told = tokio::time::timeout(PATIENCE, replication.get(TYPE, id)).await;
    if let Ok(Ok(found)) = &told {
        let found = numbers(found.as_ref());
        let mut pages = turn.joint.lock();
        pages.read += 1;
        pages.beside += usize::from(found.len() > 1);
        let judged = pages.by_id.get_mut(id).map(|page| page.found(&found));
        if let Some(Err(wrong)) = judged {
            pages.broken = Some(format!("on {}, {id}: {wrong}", blueprint.name));
        }
    }
    let told = told.map(|told| told.map(|found| numbers(found.as_ref())));
    blueprint.trace.line(blueprint.name, format_args!("record {id} read: {told:?}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_found_is_what_is_present_or_may_have_happened() {
        let page =
            Page { asked: 5, present: [3].into(), unsettled: [(2, false), (4, false)].into(), ..Page::default() };
        let may = |found: &[u64]| page.clone().found(&found.iter().copied().collect()).is_ok();
        assert!(may(&[3]) && may(&[2, 3]) && may(&[4]) && may(&[3, 4]) && may(&[2, 4]));
        assert!(!may(&[]), "3 was acknowledged");
        assert!(!may(&[2]), "2 did not see 3");
        assert!(!may(&[1, 3]), "1 was replaced");
        let mut later = page.clone();
        later.found(&[4].into()).unwrap();
        assert!(later.clone().found(&[3, 4].into()).is_err(), "4 was read in place of 3");
        later.acknowledged(5, true);
        assert!(later.clone().found(&[4].into()).is_err(), "deleted");
        assert!(later.found(&[].into()).is_ok());
    }
}
