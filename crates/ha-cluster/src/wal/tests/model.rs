//! Random lives of a log, against a list.

use std::collections::BTreeSet;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::disk::faulty::Operation as On;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Vote,
    Committed,
    /// Drops this many of the last entries.
    Cut(usize),
    /// Drops this many of the first entries.
    Purge(usize),
    /// Lets the workers run for so many turns.
    Turns(usize),
    /// Waits until everything is durable.
    Settle,
    Read(usize, usize),
    Fault(On, u64),
    Stop,
    Crash(Survival),
    /// Crashes, and once more so many turns into the next life.
    CrashTwice(Survival, usize, Survival),
}

fn survival() -> impl Strategy<Value = Survival> {
    prop_oneof![
        Just(Survival::All),
        Just(Survival::Nothing),
        (0..8usize).prop_map(Survival::FirstBlocks),
        (0..3000usize).prop_map(Survival::FirstBytes),
        any::<u64>().prop_map(Survival::Scattered),
        any::<u64>().prop_map(Survival::Scattered),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop::sample::select(vec![On::Open, On::Write, On::Sync, On::Rename, On::Remove, On::SyncDir]);
    prop_oneof![
        12 => prop::collection::vec(prop_oneof![9 => 0..400usize, 1 => 4000..9000usize], 1..4).prop_map(Step::Append),
        3 => Just(Step::Vote),
        2 => Just(Step::Committed),
        2 => (0..6usize).prop_map(Step::Cut),
        3 => (0..20usize).prop_map(Step::Purge),
        4 => (0..12usize).prop_map(Step::Turns),
        3 => Just(Step::Settle),
        2 => (0..40usize, 0..2000usize).prop_map(|(from, bytes)| Step::Read(from, bytes)),
        1 => (operation, 1..10u64).prop_map(|(operation, nth)| Step::Fault(operation, nth)),
        1 => Just(Step::Stop),
        2 => survival().prop_map(Step::Crash),
        1 => (survival(), 0..40usize, survival()).prop_map(|(one, turns, two)| Step::CrashTwice(one, turns, two)),
    ]
}

/// A log, and every state that it may be found in after a crash.
struct Life {
    disk: FaultyDisk,
    wal: Wal,
    /// The state after each record since the last one that is known to be durable, that one first.
    states: Vec<Contents>,
    /// States before those.
    passed: usize,
    /// Everything that was ever given to `save_committed`.
    committed: BTreeSet<Bytes>,
    /// Each operation with the state that is durable once it is done.
    waiting: Vec<(usize, BoxFuture<'static, io::Result<()>>)>,
    /// Grows with each record, so that no two are equal.
    count: u64,
}

impl Life {
    async fn new() -> Self {
        let disk = FaultyDisk::default();
        let wal = open(&disk).await;
        let state = Contents { purged: None, hard_state: None, records: Vec::new() };
        let states = vec![state];
        Self { disk, wal, states, passed: 0, committed: BTreeSet::new(), waiting: Vec::new(), count: 0 }
    }

    fn now(&self) -> Contents {
        self.states.last().unwrap().clone()
    }

    async fn step(&mut self, step: Step) {
        let failed = self.wal.failed().is_some();
        let mut state = self.now();
        match step {
            Step::Append(_) | Step::Vote | Step::Cut(_) | Step::Purge(_) if failed => {}
            Step::Append(lengths) => {
                let mut records = Vec::new();
                for bytes in lengths {
                    self.count += 1;
                    let last = state.records.last().map(|last| last.index).or(state.purged.map(|(index, _)| index));
                    records.push(record(last.map_or(1, |last| last + 1), self.count, bytes));
                    state.records.extend(records.last().cloned());
                    self.states.push(state.clone());
                }
                self.wait_for(append(&self.wal, records));
            }
            Step::Vote => {
                self.count += 1;
                let vote = Bytes::from(format!("vote {}", self.count));
                state.hard_state = Some(vote.clone());
                self.states.push(state);
                self.wait_for(self.wal.save_hard_state(vote));
            }
            Step::Committed => {
                self.count += 1;
                let committed = Bytes::from(format!("committed {}", self.count));
                self.committed.insert(committed.clone());
                self.wal.save_committed(committed).unwrap();
            }
            Step::Cut(entries) => {
                let Some(last) = state.records.last() else { return };
                let kept = last.index.saturating_sub(entries as u64);
                state.records.retain(|record| record.index <= kept);
                self.states.push(state);
                self.wait_for(self.wal.truncate_after(Some(kept)));
            }
            Step::Purge(entries) => {
                let last = state.records.get(entries).or(state.records.last());
                let Some((index, term)) = last.map(|last| (last.index, last.term)) else { return };
                state.records.retain(|record| record.index > index);
                state.purged = Some((index, term));
                self.states.push(state);
                self.wait_for(self.wal.purge(index, term));
            }
            Step::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Step::Settle => self.settle().await,
            Step::Read(from, bytes) => self.read(from, bytes).await,
            Step::Fault(operation, nth) => self.disk.fail(operation, nth, io::ErrorKind::Other),
            Step::Stop => {
                self.settle().await;
                self.wal.close().await;
                self.restart(Survival::All).await;
            }
            Step::Crash(survival) => self.restart(survival).await,
            Step::CrashTwice(survival, turns, again) => {
                self.acknowledge_what_is_done();
                self.disk = self.disk.crash(survival);
                let disk = self.disk.clone();
                let opening = tokio::spawn(async move { try_open(&disk).await.map(drop) });
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                opening.abort();
                self.restart(again).await;
            }
        }
    }

    fn wait_for(&mut self, durable: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.waiting.push((self.passed + self.states.len() - 1, Box::pin(durable)));
    }

    /// What was called back with success is durable, and so is everything before it.
    fn acknowledge(&mut self, state: usize) {
        self.states.drain(..state - self.passed);
        self.passed = state;
    }

    async fn settle(&mut self) {
        let mut failed = false;
        for (state, outcome) in std::mem::take(&mut self.waiting) {
            match outcome.await {
                Ok(()) if failed => panic!("something was acknowledged after an error"),
                Ok(()) => self.acknowledge(state),
                Err(_) => failed = true,
            }
        }
        assert!(!failed || self.wal.failed().is_some());
        if self.wal.failed().is_none() {
            let last = self.wal.state().last;
            assert_eq!(self.wal.state().durable_index, last.map(|(index, _)| index));
        }
    }

    async fn read(&self, from: usize, bytes_max: usize) {
        let state = self.now();
        let first = state.records.first().map_or(0, |first| first.index) + from as u64;
        let found = match self.wal.read(first..first + 10, bytes_max).await {
            Ok(found) => found,
            // An injected fault may have hit the reader instead.
            Err(_) => return,
        };
        let mut bytes_left = bytes_max;
        let in_range = state.records.iter().filter(|record| (first..first + 10).contains(&record.index));
        let expected: Vec<_> = in_range
            .enumerate()
            .take_while(|(position, record)| {
                let fits = record.payload.len() <= bytes_left;
                bytes_left = bytes_left.saturating_sub(record.payload.len());
                fits || *position == 0
            })
            .map(|(_, record)| record.clone())
            .collect();
        // With no bytes left, an entry without a payload may or may not be among them.
        let found: Vec<_> = found.into_iter().take(expected.len()).collect();
        assert!(!found.is_empty() || expected.is_empty());
        assert_eq!(found, expected[..found.len()]);
    }

    /// What is done by now is done for good; what is not never will be.
    fn acknowledge_what_is_done(&mut self) {
        for (state, outcome) in std::mem::take(&mut self.waiting) {
            if let Some(Ok(())) = outcome.now_or_never() {
                self.acknowledge(state);
            }
        }
    }

    async fn restart(&mut self, survival: Survival) {
        self.acknowledge_what_is_done();
        self.disk = self.disk.crash(survival);
        self.wal = open(&self.disk).await;
        let found = contents(&self.wal).await;
        assert!(self.states.contains(&found), "found {found:?}, none of {:#?}", self.states);
        if let Some(committed) = self.wal.committed() {
            assert!(self.committed.contains(&committed));
        }
        for record in &found.records {
            assert_eq!(self.wal.term_at(record.index), Some(record.term));
        }
        self.passed += self.states.len();
        self.states = vec![found];
    }
}

/// The same cases each time, unless PROPTEST_RNG_SEED or PROPTEST_CASES say otherwise.
fn fixed() -> ProptestConfig {
    let config = ProptestConfig::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        given => given,
    };
    ProptestConfig { rng_seed, failure_persistence: None, ..config }
}

proptest! {
    #![proptest_config(fixed())]

    #[test]
    fn what_was_acknowledged_is_found_again(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut life = Life::new().await;
            for step in steps {
                life.step(step).await;
            }
            life.settle().await;
            life.restart(Survival::Nothing).await;
        });
    }
}
