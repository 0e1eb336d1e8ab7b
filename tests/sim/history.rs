//! What clients asked and what they were told: the evidence that invariants judge.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Name;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To add an entry, whose number is the operation's own.
    Write,
    /// To read, linearizably.
    Read,
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The entry was added behind so many others.
    Written {
        /// Entries before it.
        position: u64,
        /// The epoch of the command.
        epoch: u64,
    },
    /// The list had this length, and this last entry.
    Read {
        /// Entries.
        length: u64,
        /// The last one.
        last: Option<u64>,
    },
    /// It certainly did not happen and never will.
    NotApplied,
    /// It may have happened, or may still.
    Unknown,
}

impl Answer {
    /// Whether the client was told that it happened.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Written { .. } | Self::Read { .. })
    }
}

/// One request of a client.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its number, unique in the run.
    pub number: u64,
    /// Which node it asked.
    pub node: Name,
    /// What it asked.
    pub request: Request,
    /// When it asked.
    pub asked: Duration,
    /// What it was told and when; `None` while it waits, and for ever when the node died under it.
    pub answered: Option<(Duration, Answer)>,
    /// The node died under it.
    pub abandoned: bool,
}

/// All operations of a run.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    all: Vec<Operation>,
    /// Numbers of the answered ones, in the order of their answers.
    answered: Vec<usize>,
}

impl Operations {
    /// A client asks.
    pub fn ask(&mut self, node: Name, request: Request, now: Duration) -> u64 {
        let number = self.all.len() as u64;
        self.all.push(Operation { number, node, request, asked: now, answered: None, abandoned: false });
        number
    }

    /// A client is told.
    pub fn answer(&mut self, number: u64, answer: Answer, now: Duration) {
        let at = number as usize;
        if let Some(operation) = self.all.get_mut(at) {
            operation.answered = Some((now, answer));
            self.answered.push(at);
        }
    }

    /// A node dies, and with it the clients that wait there.
    pub fn abandon(&mut self, node: Name) {
        let waiting = self.all.iter_mut().filter(|operation| operation.node == node && operation.answered.is_none());
        waiting.for_each(|operation| operation.abandoned = true);
    }

    /// Whether any client waits for an answer.
    pub fn is_anybody_waiting(&self) -> bool {
        self.all.iter().any(|operation| operation.answered.is_none() && !operation.abandoned)
    }

    /// Every operation, by number.
    pub fn all(&self) -> &[Operation] {
        &self.all
    }

    /// The operation of this number, if it is one.
    pub fn get(&self, number: u64) -> Option<&Operation> {
        self.all.get(usize::try_from(number).ok()?)
    }

    /// How many were answered.
    pub fn answered_count(&self) -> usize {
        self.answered.len()
    }

    /// The answered ones from the nth on, in the order of their answers: when, what was asked, and the answer.
    pub fn answered_since(&self, nth: usize) -> impl Iterator<Item = (Duration, &Operation, Answer)> {
        self.answered[nth.min(self.answered.len())..].iter().filter_map(|at| {
            let operation = &self.all[*at];
            operation.answered.map(|(when, answer)| (when, operation, answer))
        })
    }

    /// The longest time between two acknowledged writes after a moment, and when it began.
    pub fn longest_write_gap(&self, since: Duration, until: Duration) -> (Duration, Duration) {
        let writes = self.answered_since(0).filter(|(_, _, answer)| matches!(answer, Answer::Written { .. }));
        let mut longest = (Duration::ZERO, since);
        let mut last = since;
        for at in writes.map(|(when, ..)| when).filter(|when| (since..until).contains(when)).chain([until]) {
            longest = longest.max((at.saturating_sub(last), last));
            last = at;
        }
        longest
    }
}

/// All operations of a run, shared by clients and judges. Cheap to clone.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Operations>>);

impl History {
    /// The operations so far.
    pub fn lock(&self) -> MutexGuard<'_, Operations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts_from_its_start_and_to_the_end() {
        let seconds = Duration::from_secs;
        let mut operations = Operations::default();
        for at in [1, 2, 5, 6] {
            let number = operations.ask(Name(1), Request::Write, seconds(at));
            operations.answer(number, Answer::Written { position: 0, epoch: 0 }, seconds(at));
        }
        assert_eq!(operations.longest_write_gap(seconds(0), seconds(7)), (seconds(3), seconds(2)));
        assert_eq!(operations.longest_write_gap(seconds(0), seconds(20)), (seconds(14), seconds(6)));
        assert_eq!(operations.longest_write_gap(seconds(6), seconds(6)).0, seconds(0));
    }
}
