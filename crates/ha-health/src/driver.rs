//! Waits, asks the book, and does what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::Verdict;
use crate::book::{Act, Input, Output};
use crate::health::{Shared, State};

/// How long the driver sleeps when nothing is due; it is woken before when something happens.
const REST: Duration = Duration::from_secs(3600);

/// Something that was begun.
struct Job {
    component: String,
    number: u64,
    is_check: bool,
    task: AbortHandle,
}

/// What a job came to.
enum Outcome {
    Checked(Verdict),
    Recovered(Result<(), String>),
}

struct Driver {
    shared: Arc<Shared>,
    jobs: Vec<Job>,
    tasks: JoinSet<Outcome>,
    /// Verdicts that are known without a check, by component.
    known: BTreeMap<String, Input>,
}

/// Runs until every handle is dropped.
pub(crate) async fn run(shared: Arc<Shared>, mut life: watch::Receiver<()>) {
    let mut driver = Driver { shared: shared.clone(), jobs: Vec::new(), tasks: JoinSet::new(), known: BTreeMap::new() };
    loop {
        let rest = driver.act();
        tokio::select! {
            biased;
            // An error says that nobody holds the monitor any more.
            _ = life.changed() => return,
            // An answer that is there counts, also when its time has run out meanwhile.
            Some(ended) = driver.tasks.join_next_with_id() => driver.ended(ended),
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

impl Driver {
    /// Does everything that is due; returns how long nothing will be.
    fn act(&mut self) -> Duration {
        loop {
            let now = self.shared.now();
            let mut state = self.shared.state();
            let State { book, acts, .. } = &mut *state;
            for (component, input) in std::mem::take(&mut self.known) {
                book.step(now, &component, input, acts);
            }
            book.look(now, acts);
            let acts = std::mem::take(acts);
            let due = book.deadline();
            drop(state);
            if acts.is_empty() {
                return due.map_or(REST, |at| at.saturating_sub(now));
            }
            let mut told = Vec::new();
            for act in acts {
                match act {
                    Act::Tell(transition) => told.push(transition),
                    Act::Work { component, output } => self.work(component, output),
                }
            }
            if !told.is_empty() {
                self.shared.publish(told);
            }
        }
    }

    fn work(&mut self, component: String, output: Output) {
        let work = self.shared.state().works.get(&component).cloned();
        match output {
            Output::Check { number } => {
                let Some(check) = work.and_then(|work| work.check) else { return };
                if self.hangs(&component, true) {
                    let verdict = Verdict::failed("the check before it has not ended: it blocks its thread");
                    self.known.insert(component, Input::Checked { number, verdict });
                    return;
                }
                // The check is made inside of the task: also what it does before its first await is its own.
                let task = self.tasks.spawn(async move { Outcome::Checked(check.check().await) });
                self.jobs.push(Job { component, number, is_check: true, task });
            }
            Output::Recover { number } => {
                let Some(action) = work.and_then(|work| work.action) else { return };
                if self.hangs(&component, false) {
                    let result = Err("the attempt before it has not ended".to_owned());
                    self.known.insert(component, Input::Recovered { number, result });
                    return;
                }
                let task = self.tasks.spawn(async move { Outcome::Recovered(action.run().await) });
                self.jobs.push(Job { component, number, is_check: false, task });
            }
            Output::Stop { number } => {
                // The job stays on the list until it has really ended.
                self.jobs.iter().filter(|job| job.number == number).for_each(|job| job.task.abort());
            }
            Output::Tell { .. } => {}
        }
    }

    /// Whether an earlier job of that kind still runs: one that was stopped, or whose component was replaced.
    fn hangs(&self, component: &str, is_check: bool) -> bool {
        let same = |job: &&Job| job.component == component && job.is_check == is_check;
        let running = self.jobs.iter().filter(same).filter(|job| !job.task.is_finished());
        running.map(|job| job.task.abort()).count() > 0
    }

    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(at) = self.jobs.iter().position(|job| job.task.id() == id) else { return };
        let Job { component, number, is_check, .. } = self.jobs.swap_remove(at);
        let input = match ended {
            Ok((_, Outcome::Checked(verdict))) => Input::Checked { number, verdict },
            Ok((_, Outcome::Recovered(result))) => Input::Recovered { number, result },
            // It was stopped, which its component knows already.
            Err(error) if error.is_cancelled() => return,
            Err(_) if is_check => Input::Checked { number, verdict: Verdict::failed("the check panicked") },
            Err(_) => Input::Recovered { number, result: Err("the action panicked".to_owned()) },
        };
        self.known.insert(component, input);
    }
}
