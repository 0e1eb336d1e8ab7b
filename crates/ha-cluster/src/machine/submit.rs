//! Gathers what the tasks of this node propose into log entries: whatever queued while the last entries were in
//! flight goes into the next one, together with those who were answered and ask again. Entries in flight at the same
//! time have no order between them, nor have commands whose callers do not wait for one another.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::batch::BATCH_COMMANDS_MAX;
use super::session::OpenSession;
use super::{Batch, Command, MachineId, Outcome, SessionId, SystemCommand, WriteError};
use crate::codec;
use crate::gathering::{Gathering, Waiting};

/// Most bytes of one command.
pub const COMMAND_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes after which a batch takes no further command.
const BATCH_BYTES: usize = 64 * 1024;
/// Most bytes of an encoded batch: the last command that was taken may be the longest one, and each has its envelope.
pub(crate) const BATCH_BYTES_MAX: usize = BATCH_BYTES + COMMAND_BYTES_MAX + 32 * (BATCH_COMMANDS_MAX + 1);
/// Commands that wait to be taken into a batch; a further one waits for room.
const QUEUE_MAX: usize = 4096;
/// Entries in flight at once. More keep the disk busy while answers travel.
const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// What must wait for a further entry to take off beside others, in small commands: an entry costs all nodes together as
/// much as twenty of them, so few are worse than a moment's wait.
const LARGE_ENTRY_LOAD: usize = 64;
/// So many bytes of a command count as a further small one. A command that carries a batch of its own, 32 KiB and more,
/// is worth an entry.
const LOAD_BYTES: usize = 512;

/// Takes an encoded batch to the leader, wherever it is, and brings back what became of each command. Tries again by
/// itself: repeating a batch is harmless.
pub(crate) trait Propose: Clone + Send + Sync + 'static {
    fn propose(&self, batch: Bytes) -> impl Future<Output = Result<Vec<Outcome>, ProposeError>> + Send;
}

/// Why a batch has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposeError {
    /// It certainly was not proposed.
    #[error("{reason}")]
    NotProposed { reason: String },
    /// It may have been, and may still be applied.
    #[error("{reason}")]
    Unknown { reason: String },
}

struct Job {
    machine: MachineId,
    body: Bytes,
    answer: oneshot::Sender<Result<Bytes, WriteError>>,
}

/// What a command counts for.
fn load(body: &Bytes) -> usize {
    1 + body.len() / LOAD_BYTES
}

/// Proposes commands in this node's session. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Submitter {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<Waiting>,
}

impl Submitter {
    /// Starts the task that gathers; it ends when the last handle is dropped.
    pub(crate) fn start(proposer: impl Propose, me: OpenSession) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let gathering = Gathering::new(LARGE_ENTRY_LOAD, ENTRIES_IN_FLIGHT_MAX);
        let waiting = gathering.waiting();
        tokio::spawn(Gatherer::new(proposer, me).run(queue, gathering));
        Self { jobs, waiting }
    }

    /// Proposes a command and waits for its reply.
    pub(crate) async fn submit(&self, machine: MachineId, body: Bytes) -> Result<Bytes, WriteError> {
        if body.len() > COMMAND_BYTES_MAX {
            return Err(WriteError::TooLarge { bytes: body.len(), max: COMMAND_BYTES_MAX });
        }
        let (answer, outcome) = oneshot::channel();
        let stopped = || WriteError::NotApplied { reason: "this node is stopping".to_owned() };
        let place = self.jobs.reserve().await.map_err(|_| stopped())?;
        self.waiting.add(load(&body));
        place.send(Job { machine, body, answer });
        outcome.await.unwrap_or_else(|_| Err(WriteError::Unknown { reason: "this node is stopping".to_owned() }))
    }
}

/// The entry that came back.
struct Landed {
    first_serial: u64,
    answers: Vec<oneshot::Sender<Result<Bytes, WriteError>>>,
    result: Result<Vec<Outcome>, ProposeError>,
}

struct Gatherer<P> {
    proposer: P,
    me: OpenSession,
    session: Option<SessionId>,
    next_serial: u64,
    /// The first serial of each entry in flight.
    in_flight: BTreeSet<u64>,
    /// Whether the last entry had more than one command.
    crowded: bool,
}

impl<P: Propose> Gatherer<P> {
    fn new(proposer: P, me: OpenSession) -> Self {
        Self { proposer, me, session: None, next_serial: 1, in_flight: BTreeSet::new(), crowded: false }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Job>, mut gathering: Gathering) {
        let mut flights: FuturesUnordered<BoxFuture<'static, Landed>> = FuturesUnordered::new();
        loop {
            let in_flight = flights.len();
            let is_due = gathering.is_due(in_flight, Instant::now());
            tokio::select! {
                Some(landed) = flights.next(), if !flights.is_empty() => {
                    gathering.answered(landed.answers.len(), gathering.arrivals(), Instant::now());
                    self.land(landed);
                }
                () = gathering.changes(in_flight), if !is_due => {}
                job = queue.recv(), if is_due => {
                    let Some(job) = job else { return };
                    if self.crowded {
                        // Whoever can ask at once does so first.
                        tokio::task::yield_now().await;
                    }
                    let mut jobs = drain(job, &mut queue);
                    self.crowded = jobs.len() > 1;
                    gathering.takes_off(jobs.len(), jobs.iter().map(|job| load(&job.body)).sum(), Instant::now());
                    // Whoever gave up meanwhile does not find it done later.
                    jobs.retain(|job| !job.answer.is_closed());
                    if jobs.is_empty() {
                        continue;
                    }
                    match self.session().await {
                        Ok(session) => flights.push(self.take_off(session, jobs)),
                        Err(error) => refuse(jobs, &error),
                    }
                }
            }
        }
    }

    /// This node's session, opened at first need.
    async fn session(&mut self) -> Result<SessionId, WriteError> {
        if let Some(session) = self.session {
            return Ok(session);
        }
        let body = codec::record(&SystemCommand::OpenSession(self.me.clone()));
        let open = Command { serial: 0, machine: MachineId::SYSTEM, body };
        let batch = Batch { session: SessionId::NONE, acknowledged_below: 0, commands: vec![open] };
        // Nothing of the caller's was proposed yet, so every failure here is a certain one.
        let not_applied = |reason: String| WriteError::NotApplied { reason };
        let outcomes = self.proposer.propose(batch.encode()).await.map_err(|e| not_applied(e.to_string()))?;
        let Some(Outcome::Reply(reply)) = outcomes.first() else {
            return Err(not_applied("no session was opened".to_owned()));
        };
        let opened: Option<SessionId> = codec::decode(reply).map_err(|e| not_applied(e.to_string()))?;
        self.session = opened;
        opened.ok_or_else(|| not_applied("a later life of this node has taken over".to_owned()))
    }

    fn take_off(&mut self, session: SessionId, jobs: Vec<Job>) -> BoxFuture<'static, Landed> {
        let first_serial = self.next_serial;
        self.next_serial += jobs.len() as u64;
        self.in_flight.insert(first_serial);
        let acknowledged_below = self.in_flight.first().copied().unwrap_or(first_serial);
        let mut answers = Vec::with_capacity(jobs.len());
        let mut commands = Vec::with_capacity(jobs.len());
        for (serial, job) in (first_serial..).zip(jobs) {
            answers.push(job.answer);
            commands.push(Command { serial, machine: job.machine, body: job.body });
        }
        let batch = Batch { session, acknowledged_below, commands }.encode();
        let proposer = self.proposer.clone();
        Box::pin(async move {
            let result = tokio::select! {
                biased;
                result = proposer.propose(batch) => result,
                () = all_gave_up(&mut answers) => Err(ProposeError::Unknown { reason: "nobody waits for it".to_owned() }),
            };
            Landed { first_serial, answers, result }
        })
    }

    fn land(&mut self, landed: Landed) {
        self.in_flight.remove(&landed.first_serial);
        match landed.result {
            Ok(outcomes) if outcomes.len() == landed.answers.len() => {
                for (answer, outcome) in landed.answers.into_iter().zip(outcomes) {
                    // A caller that gave up has dropped its end.
                    let _ = answer.send(self.result_of(outcome));
                }
            }
            Ok(_) => {
                let unknown = WriteError::Unknown { reason: "the leader answered for other commands".to_owned() };
                landed.answers.into_iter().for_each(|a| drop(a.send(Err(unknown.clone()))));
            }
            Err(error) => {
                let error = match error {
                    ProposeError::NotProposed { reason } => WriteError::NotApplied { reason },
                    ProposeError::Unknown { reason } => WriteError::Unknown { reason },
                };
                landed.answers.into_iter().for_each(|a| drop(a.send(Err(error.clone()))));
            }
        }
    }

    fn result_of(&mut self, outcome: Outcome) -> Result<Bytes, WriteError> {
        match outcome {
            Outcome::Reply(reply) => Ok(reply),
            Outcome::SessionExpired => {
                self.session = None;
                Err(WriteError::Unknown { reason: "this node's session has expired".to_owned() })
            }
            Outcome::Forgotten => Err(WriteError::Unknown { reason: "the reply is kept no longer".to_owned() }),
            Outcome::Overrun => {
                Err(WriteError::NotApplied { reason: "too many commands of this node are outstanding".to_owned() })
            }
        }
    }
}

/// Waits until nobody waits for any of these answers. What is in no log by then is not tried again, so that it cannot be
/// applied long after, over what others wrote since.
async fn all_gave_up(answers: &mut [oneshot::Sender<Result<Bytes, WriteError>>]) {
    for answer in answers {
        answer.closed().await;
    }
}

fn refuse(jobs: Vec<Job>, error: &WriteError) {
    for job in jobs {
        let _ = job.answer.send(Err(error.clone()));
    }
}

/// Takes what is there, up to the bounds of a batch.
fn drain(first: Job, queue: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.body.len();
    let mut jobs = vec![first];
    while jobs.len() < BATCH_COMMANDS_MAX && bytes < BATCH_BYTES {
        let Ok(job) = queue.try_recv() else { break };
        bytes += job.body.len();
        jobs.push(job);
    }
    jobs
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::machine::session::Sessions;

    /// A leader that remembers what it was asked.
    #[derive(Clone, Default)]
    struct Leader {
        batches: Arc<Mutex<Vec<Batch>>>,
        sessions: Arc<Mutex<Sessions>>,
        expire_next: Arc<Mutex<bool>>,
    }

    impl Propose for Leader {
        async fn propose(&self, batch: Bytes) -> Result<Vec<Outcome>, ProposeError> {
            tokio::task::yield_now().await;
            let batch = Batch::decode(batch).unwrap();
            let mut batches = self.batches.lock().unwrap();
            batches.push(batch.clone());
            let answer = |command: &Command| {
                if command.machine == MachineId::SYSTEM {
                    let SystemCommand::OpenSession(open) = codec::decode(&command.body).unwrap() else { panic!() };
                    let id = self.sessions.lock().unwrap().open(open, batches.len() as u64);
                    Outcome::Reply(codec::record(&id))
                } else if std::mem::take(&mut *self.expire_next.lock().unwrap()) {
                    Outcome::SessionExpired
                } else {
                    Outcome::Reply(command.body.clone())
                }
            };
            Ok(batch.commands.iter().map(answer).collect())
        }
    }

    fn start(leader: &Leader) -> Submitter {
        Submitter::start(leader.clone(), OpenSession { node: "a".parse().unwrap(), incarnation: 1 })
    }

    #[tokio::test]
    async fn concurrent_commands_share_entries_and_each_gets_its_own_reply() {
        let leader = Leader::default();
        let submitter = start(&leader);
        let asked = (0..1000_u32).map(|n| {
            let submitter = submitter.clone();
            async move { submitter.submit(MachineId(1), codec::record(&n)).await.unwrap() == codec::record(&n) }
        });
        assert!(futures::future::join_all(asked).await.into_iter().all(|own| own));
        let batches = leader.batches.lock().unwrap();
        assert!(batches.len() < 20, "1000 commands took {} entries", batches.len());
        let serials: BTreeSet<u64> = batches[1..].iter().flat_map(|b| b.commands.iter().map(|c| c.serial)).collect();
        assert_eq!(serials, (1..=1000).collect(), "each serial once");
        let lowest_in_flight = |b: &Batch| b.acknowledged_below <= b.commands[0].serial;
        assert!(batches.iter().skip(1).all(lowest_in_flight), "nothing in flight is acknowledged");
    }

    /// A leader that opens sessions, and answers entries two by two.
    #[derive(Clone)]
    struct Slow {
        leader: Leader,
        both: Arc<tokio::sync::Barrier>,
    }

    impl Propose for Slow {
        async fn propose(&self, batch: Bytes) -> Result<Vec<Outcome>, ProposeError> {
            let outcomes = self.leader.propose(batch).await?;
            let opens = self.leader.batches.lock().unwrap().len() == 1;
            if !opens {
                self.both.wait().await;
            }
            Ok(outcomes)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_commands_or_large_ones_take_off_beside_an_entry_in_flight_and_few_small_ones_wait() {
        const MOMENT: std::time::Duration = std::time::Duration::from_millis(100);
        let slow = Slow { leader: Leader::default(), both: Arc::new(tokio::sync::Barrier::new(2)) };
        let leader = slow.leader.clone();
        let submitter = Submitter::start(slow, OpenSession { node: "a".parse().unwrap(), incarnation: 1 });
        let ask = |bytes: usize| {
            let submitter = submitter.clone();
            tokio::spawn(async move { submitter.submit(MachineId(1), vec![0; bytes].into()).await })
        };
        let entries = || leader.batches.lock().unwrap().iter().skip(1).map(|b| b.commands.len()).collect::<Vec<_>>();
        let mut expected = Vec::new();
        // Again each time: what was taken counts no longer.
        for (bytes, enough) in
            [(LARGE_ENTRY_LOAD * LOAD_BYTES, 1), (1, LARGE_ENTRY_LOAD - 1), (1, LARGE_ENTRY_LOAD - 1)]
        {
            let mut asked = vec![ask(1)];
            tokio::time::sleep(MOMENT).await;
            expected.push(1);
            asked.push(ask(1));
            tokio::time::sleep(MOMENT).await;
            assert_eq!(entries(), expected, "a small one waits");
            asked.extend((0..enough).map(|_| ask(bytes)));
            expected.push(1 + enough);
            let answered = tokio::time::timeout(MOMENT, futures::future::join_all(asked)).await.unwrap();
            assert!(answered.into_iter().all(|answer| answer.unwrap().is_ok()));
            assert_eq!(entries(), expected);
        }
    }

    /// A leader that takes a while.
    #[derive(Clone, Default)]
    struct Far(Leader);

    impl Propose for Far {
        async fn propose(&self, batch: Bytes) -> Result<Vec<Outcome>, ProposeError> {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            self.0.propose(batch).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn callers_who_ask_again_a_moment_later_share_an_entry() {
        const CALLERS: usize = 16;
        const ROUNDS: usize = 50;
        let far = Far::default();
        let submitter = Submitter::start(far.clone(), OpenSession { node: "a".parse().unwrap(), incarnation: 1 });
        let callers = (0..CALLERS).map(|caller| {
            let submitter = submitter.clone();
            async move {
                // They begin one after the other.
                tokio::time::sleep(std::time::Duration::from_millis(caller as u64 % 4)).await;
                for _ in 0..ROUNDS {
                    submitter.submit(MachineId(1), Bytes::new()).await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
        });
        futures::future::join_all(callers).await;
        let entries = far.0.batches.lock().unwrap().len();
        assert!(entries < ROUNDS + 10, "{CALLERS} callers took {entries} entries for {ROUNDS} commands of each");
    }

    /// A leader that is away until it is let back, once it has opened a session.
    #[derive(Clone)]
    struct Away {
        leader: Leader,
        back: Arc<tokio::sync::Semaphore>,
    }

    impl Propose for Away {
        async fn propose(&self, batch: Bytes) -> Result<Vec<Outcome>, ProposeError> {
            let _back = self.back.acquire().await.unwrap();
            self.leader.propose(batch).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_any_more_is_not_done_once_there_is_a_leader_again() {
        const MOMENT: std::time::Duration = std::time::Duration::from_millis(100);
        let away = Away { leader: Leader::default(), back: Arc::new(tokio::sync::Semaphore::new(1)) };
        let (leader, back) = (away.leader.clone(), away.back.clone());
        let submitter = Submitter::start(away, OpenSession { node: "a".parse().unwrap(), incarnation: 1 });
        let ask = |body: &'static str| submitter.submit(MachineId(1), body.into());
        assert!(ask("first").await.is_ok());
        let gone = back.acquire().await.unwrap();
        assert!(tokio::time::timeout(MOMENT, ask("given up under way")).await.is_err());
        let stays = ask("waited for");
        let waits = async {
            tokio::time::sleep(MOMENT / 2).await;
            assert!(tokio::time::timeout(MOMENT, ask("given up in the queue")).await.is_err());
            drop(gone);
        };
        assert!(tokio::join!(stays, waits).0.is_ok());
        tokio::time::sleep(MOMENT).await;
        assert!(ask("last").await.is_ok());
        let batches = leader.batches.lock().unwrap();
        let bodies = batches.iter().skip(1).flat_map(|batch| &batch.commands).map(|command| &command.body[..]);
        assert_eq!(bodies.collect::<Vec<_>>(), [&b"first"[..], b"waited for", b"last"]);
    }

    #[tokio::test]
    async fn an_expired_session_is_unknown_and_the_next_command_gets_a_new_one() {
        let leader = Leader::default();
        let submitter = start(&leader);
        *leader.expire_next.lock().unwrap() = true;
        let result = submitter.submit(MachineId(1), Bytes::new()).await;
        assert!(matches!(result, Err(WriteError::Unknown { .. })));
        assert_eq!(submitter.submit(MachineId(1), Bytes::new()).await, Ok(Bytes::new()));
    }

    #[tokio::test]
    async fn a_command_that_is_too_large_is_refused_before_it_is_queued() {
        let submitter = start(&Leader::default());
        let body = Bytes::from(vec![0; COMMAND_BYTES_MAX + 1]);
        let bytes = body.len();
        assert_eq!(
            submitter.submit(MachineId(1), body).await,
            Err(WriteError::TooLarge { bytes, max: COMMAND_BYTES_MAX })
        );
    }
}
