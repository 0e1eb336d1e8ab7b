//! Writes and reads take effect in an order that agrees with real time (I3).
//!
//! The ledger shows its own order: a write is told its position and a read its length. So the search of a general
//! checker is not needed (Wing and Gong, 1993, show the general case): it suffices that whatever was answered before a
//! request began lies before it in the list. A read of n entries stands between positions n - 1 and n.

use std::time::Duration;

use super::{Invariant, Moment};
use crate::sim::Name;
use crate::sim::history::{Answer, Operation};

/// The furthest that anybody had been told, by the time they were told.
#[derive(Default)]
pub struct Linearizable {
    /// Entries in the list as far as told: when, how many, by which operation. Both numbers grow.
    told: Vec<(Duration, u64, u64)>,
    epochs: Vec<(u64, u64)>,
    judged: usize,
}

impl Linearizable {
    fn judge(&mut self, when: Duration, operation: &Operation, answer: Answer) -> Result<(), String> {
        let (stands_behind, shows) = match answer {
            Answer::Written { position, .. } => (position, position + 1),
            Answer::Read { length, .. } => (length, length),
            Answer::NotApplied | Answer::Unknown => return Ok(()),
        };
        let before = self.told.partition_point(|(told, ..)| *told < operation.asked);
        if let Some((told, length, number)) = before.checked_sub(1).map(|last| self.told[last])
            && stands_behind < length
        {
            return Err(format!(
                "operation {} was asked at {:?} and answered {answer:?}, although operation {number} had shown {length} \
                 entries at {told:?}",
                operation.number, operation.asked
            ));
        }
        if self.told.last().is_none_or(|(_, length, _)| shows > *length) {
            self.told.push((when, shows, operation.number));
        }
        Ok(())
    }

    /// A later position has a later epoch.
    fn judge_epoch(&mut self, answer: Answer) -> Result<(), String> {
        let Answer::Written { position, epoch } = answer else { return Ok(()) };
        let at = self.epochs.partition_point(|(other, _)| *other < position);
        let earlier = at.checked_sub(1).map(|before| self.epochs[before]);
        let later = self.epochs.get(at).copied();
        if earlier.is_some_and(|(_, other)| other >= epoch) || later.is_some_and(|(_, other)| other <= epoch) {
            return Err(format!("position {position} has epoch {epoch}, between {earlier:?} and {later:?}"));
        }
        self.epochs.insert(at, (position, epoch));
        Ok(())
    }
}

impl Invariant for Linearizable {
    fn claim(&self) -> &'static str {
        "writes and linearizable reads take effect between their request and their answer, and epochs grow with them"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (when, operation, answer) in moment.operations.answered_since(self.judged) {
            self.judge(when, operation, answer)?;
            self.judge_epoch(answer)?;
        }
        self.judged = moment.operations.answered_count();
        Ok(())
    }

    fn forked(&mut self, moment: &Moment<'_>, _survivor: Name) {
        *self = Self { judged: moment.operations.answered_count(), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, seconds};
    use super::*;
    use crate::sim::history::Request;

    fn judge(operations: &[(Request, f64, f64, Answer)]) -> Result<(), String> {
        let mut story = Story::new(1);
        let mut answers: Vec<_> = operations
            .iter()
            .map(|(request, asked, answered, answer)| {
                (seconds(*answered), story.operations.ask(Name(1), *request, seconds(*asked)), *answer)
            })
            .collect();
        answers.sort_by_key(|(when, ..)| *when);
        for (when, number, answer) in answers {
            story.operations.answer(number, answer, when);
        }
        Linearizable::default().check(&story.moment())
    }

    const fn written(position: u64) -> Answer {
        Answer::Written { position, epoch: position + 10 }
    }

    const fn seen(length: u64) -> Answer {
        Answer::Read { length, last: None }
    }

    #[test]
    fn operations_that_overlap_may_take_effect_in_any_order() {
        use Request::{Read, Write};
        judge(&[
            (Write, 0.0, 2.0, written(1)),
            (Write, 1.0, 3.0, written(0)),
            (Read, 1.5, 2.5, seen(0)),
            (Read, 1.5, 2.5, seen(2)),
            (Read, 4.0, 5.0, seen(2)),
        ])
        .unwrap();
    }

    #[test]
    fn a_read_that_misses_an_acknowledged_write_is_noticed() {
        use Request::{Read, Write};
        assert!(judge(&[(Write, 0.0, 1.0, written(0)), (Read, 2.0, 3.0, seen(0))]).is_err());
    }

    #[test]
    fn reads_that_go_back_are_noticed() {
        use Request::Read;
        assert!(judge(&[(Read, 0.0, 1.0, seen(5)), (Read, 2.0, 3.0, seen(4))]).is_err());
    }

    #[test]
    fn a_write_that_lands_before_what_was_already_seen_is_noticed() {
        use Request::{Read, Write};
        assert!(judge(&[(Read, 0.0, 1.0, seen(5)), (Write, 2.0, 3.0, written(4))]).is_err());
        assert!(judge(&[(Write, 0.0, 1.0, written(5)), (Write, 2.0, 3.0, written(4))]).is_err());
    }

    #[test]
    fn an_epoch_that_is_given_twice_is_noticed() {
        use Request::Write;
        let same = |position| Answer::Written { position, epoch: 3 };
        assert!(judge(&[(Write, 0.0, 1.0, same(0)), (Write, 2.0, 3.0, same(1))]).is_err());
    }
}
