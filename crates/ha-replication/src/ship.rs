//! Gathers what the tasks of this node write into commands: whatever queued while the last one was under way goes into
//! the next, together with those who were answered and write again. Commands that are under way at the same time have no
//! order between them, nor have writes whose callers do not wait for one another.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use ha_cluster::gathering::{Gathering, Waiting};
use ha_cluster::{ASK_TIMEOUT, NodeId, Replicated, WriteError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::gate::Gate;
use crate::message::Command;
use crate::packed::Packed;
use crate::waits::{Answer, Logged, Waits};
use crate::{Change, Consistency, Key, Records, ReplicateError, Version};

/// Writes that wait to be gathered; a further one waits for room.
const QUEUE_MAX: usize = 4096;
/// Bytes after which a command takes no further change.
const BATCH_BYTES: usize = 256 * 1024;
/// What must wait for a further command to take off beside others: as much as an entry of the log carries.
const FULL_BYTES: usize = 64 * 1024;
/// Commands on their way to the log at once.
const UNDER_WAY_MAX: usize = 16;

/// A write that was acknowledged at its level.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The version that the record has now.
    pub version: Version,
    /// The nodes whose disk has reported it; never just those that are configured.
    pub acknowledged_by: BTreeSet<NodeId>,
}

struct Job {
    change: Change,
    level: Consistency,
    answer: Answer,
}

/// Writes records. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shipper {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<Waiting>,
    items_max: usize,
}

impl Shipper {
    /// Starts the task that gathers; it ends when the last handle is dropped.
    pub(crate) fn start(log: Replicated<Records>, gate: Gate, items_max: usize) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let gathering = Gathering::new(FULL_BYTES, UNDER_WAY_MAX);
        let waiting = gathering.waiting();
        tokio::spawn(gather(log, gate, items_max, queue, gathering));
        Self { jobs, waiting, items_max }
    }

    /// Writes one record and waits until it is acknowledged.
    pub(crate) async fn write(&self, change: Change, level: Consistency) -> Result<Written, ReplicateError> {
        let (answer, written) = oneshot::channel();
        let stopping = || "this node is stopping".to_owned();
        let not_sent = |_| ReplicateError::NotReplicated { reason: stopping() };
        let ship = async {
            let place = self.jobs.reserve().await.map_err(not_sent)?;
            let job = Job { change, level, answer };
            self.waiting.add(load(&job, self.items_max));
            place.send(job);
            written.await.unwrap_or_else(|_| Err(ReplicateError::Unknown { reason: stopping() }))
        };
        // Longer than the log and the disks are given together: their own words say more.
        let late = || ReplicateError::Unknown { reason: format!("no answer within {:?}", ASK_TIMEOUT * 3) };
        tokio::time::timeout(ASK_TIMEOUT * 3, ship).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn gather(
    log: Replicated<Records>,
    gate: Gate,
    items_max: usize,
    mut queue: mpsc::Receiver<Job>,
    mut gathering: Gathering,
) {
    let mut under_way: FuturesUnordered<BoxFuture<'static, Option<Logged>>> = FuturesUnordered::new();
    let mut waits = Waits::new(move |level, index| {
        let gate = gate.clone();
        async move { gate.wait(level, index, Instant::now() + ASK_TIMEOUT).await }
    });
    let mut left: VecDeque<Job> = VecDeque::new();
    let mut crowded = false;
    loop {
        let count = under_way.len();
        let has_room = count < UNDER_WAY_MAX && waits.has_room();
        // What was left over waits for nobody: it only could not be in the same command.
        let is_due = has_room && (!left.is_empty() || gathering.is_due(count, Instant::now()));
        if is_due && let Some(first) = left.pop_front().or_else(|| queue.try_recv().ok()) {
            if crowded {
                // Whoever can write at once does so first.
                tokio::task::yield_now().await;
            }
            let batch = take(first, &mut left, &mut queue, items_max);
            crowded = batch.len() > 1;
            let sum = batch.iter().map(|job| load(job, items_max)).sum();
            gathering.takes_off(batch.len(), sum, Instant::now());
            under_way.push(Box::pin(ship(log.clone(), batch)));
            continue;
        }
        // Where several threads run tasks, whoever is answered may be back before that is noted.
        let arrivals = gathering.arrivals();
        tokio::select! {
            Some(logged) = under_way.next(), if !under_way.is_empty() => {
                let arrivals = gathering.arrivals();
                let answered: usize = logged.into_iter().map(|logged| waits.add(logged)).sum();
                gathering.answered(answered, arrivals, Instant::now());
            }
            answered = waits.next(), if !waits.is_empty() => gathering.answered(answered, arrivals, Instant::now()),
            () = gathering.changes(count), if has_room && !is_due => {}
            job = queue.recv(), if is_due => match job {
                Some(job) => left.push_back(job),
                None => break,
            },
        }
    }
    while let Some(logged) = under_way.next().await {
        logged.into_iter().for_each(|logged| _ = waits.add(logged));
    }
    while !waits.is_empty() {
        waits.next().await;
    }
}

/// Takes what is there, up to the bounds of a command. What changes a record a second time, or wants another level, is
/// left for a later one, together with all that changes the same record after it.
fn take(first: Job, left: &mut VecDeque<Job>, queue: &mut mpsc::Receiver<Job>, items_max: usize) -> Vec<Job> {
    let level = first.level;
    let mut bytes = size(&first);
    let mut keys: HashSet<Key> = HashSet::from([first.change.key.clone()]);
    let mut batch = vec![first];
    let mut waiting = std::mem::take(left);
    while batch.len() < items_max && bytes < BATCH_BYTES {
        // What is left over never grows beyond one batch: then it is what comes next.
        let from_queue = waiting.is_empty() && left.len() < items_max;
        let Some(job) = waiting.pop_front().or_else(|| from_queue.then(|| queue.try_recv().ok()).flatten()) else {
            break;
        };
        if !keys.insert(job.change.key.clone()) || job.level != level {
            left.push_back(job);
            continue;
        }
        bytes += size(&job);
        batch.push(job);
    }
    left.extend(waiting);
    batch
}

/// What a write counts for: [`FULL_BYTES`] are worth a command beside others, and so are as many changes as it may have.
fn load(job: &Job, items_max: usize) -> usize {
    size(job).max(FULL_BYTES.div_ceil(items_max.max(1)))
}

fn size(job: &Job) -> usize {
    job.change.key.bytes().len() + job.change.data.as_ref().map_or(0, bytes::Bytes::len)
}

/// Puts a command on the log; whoever is refused there is told.
async fn ship(log: Replicated<Records>, batch: Vec<Job>) -> Option<Logged> {
    let level = batch.first()?.level;
    let packed = Packed::of(batch.iter().map(|job| &job.change));
    let answers: Vec<_> = batch.into_iter().map(|job| job.answer).collect();
    let error = match log.write(&Command::WriteAll(packed)).await {
        Ok(applied) => return Some(Logged { applied, level, answers }),
        Err(WriteError::Unknown { reason }) => ReplicateError::Unknown { reason },
        Err(error) => ReplicateError::NotReplicated { reason: error.to_string() },
    };
    for answer in answers {
        // A caller that gave up has dropped its end.
        let _ = answer.send(Err(error.clone()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, level: Consistency) -> Job {
        let (answer, _) = oneshot::channel();
        Job { change: Change { key: Key::new("t", id).unwrap(), data: None }, level, answer }
    }

    fn ids(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.change.key.data_id()).collect()
    }

    #[tokio::test]
    async fn a_record_is_in_a_command_once_and_keeps_its_order() {
        let (sender, mut queue) = mpsc::channel(16);
        for (id, level) in [
            ("b", Consistency::Quorum),
            ("a", Consistency::Quorum),
            ("c", Consistency::Strong),
            ("c", Consistency::Quorum),
            ("d", Consistency::Quorum),
        ] {
            sender.send(job(id, level)).await.unwrap();
        }
        let mut left = VecDeque::new();
        let first = take(job("a", Consistency::Quorum), &mut left, &mut queue, 10);
        assert_eq!(ids(&first), ["a", "b", "d"]);
        let next = left.pop_front().unwrap();
        let second = take(next, &mut left, &mut queue, 10);
        assert_eq!((ids(&second), second[0].level), (vec!["a"], Consistency::Quorum), "c waits for its own level");
        let next = left.pop_front().unwrap();
        let third = take(next, &mut left, &mut queue, 10);
        assert_eq!((ids(&third), third[0].level), (vec!["c"], Consistency::Strong));
        assert_eq!((left.len(), left[0].level), (1, Consistency::Quorum));
    }

    #[tokio::test]
    async fn a_command_has_as_many_changes_as_the_option_says() {
        let (sender, mut queue) = mpsc::channel(16);
        for n in 0..9 {
            sender.send(job(&n.to_string(), Consistency::Quorum)).await.unwrap();
        }
        let batch = take(job("first", Consistency::Quorum), &mut VecDeque::new(), &mut queue, 4);
        assert_eq!(ids(&batch), ["first", "0", "1", "2"]);
    }
}
