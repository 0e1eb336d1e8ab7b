//! What a log holds, apart from its payloads.

use std::collections::VecDeque;

use bytes::Bytes;

/// An index of the log and the term of the entry there.
pub type Position = (u64, u64);

/// What a log holds, apart from its payloads. The submitter, the writer and recovery each keep one, and take it through
/// the same steps.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) hard_state: Option<Bytes>,
    pub(super) committed: Option<Bytes>,
    pub(super) purged: Option<Position>,
    pub(super) terms: Terms,
}

impl View {
    /// The last entry; without one, the purge position.
    pub(super) fn last(&self) -> Option<Position> {
        self.terms.last().or(self.purged)
    }

    /// The term of an entry, or of the purge position.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        let purged = || self.purged.filter(|(purged, _)| *purged == index).map(|(_, term)| term);
        self.terms.get(index).or_else(purged)
    }

    /// Whether an entry of this index may be appended. An empty log of which nothing was purged may start anywhere.
    pub(super) fn accepts(&self, index: u64) -> bool {
        self.last().is_none_or(|(last, _)| index == last.saturating_add(1)) && index < u64::MAX
    }

    pub(super) fn append(&mut self, index: u64, term: u64) {
        self.terms.push(index, term);
    }

    /// Drops the entries from `from` on.
    pub(super) fn cut(&mut self, from: u64) {
        self.terms.cut(from);
    }

    /// Drops the entries up to `index`, and starts behind it when the log ended before. False when it had been done
    /// already.
    pub(super) fn purge(&mut self, index: u64, term: u64) -> bool {
        if self.purged.is_some_and(|(purged, _)| index <= purged) {
            return false;
        }
        self.purged = Some((index, term));
        self.terms.start_at(index.saturating_add(1));
        true
    }
}

/// The terms of consecutive entries, as runs of equal ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    /// Index of the first entry.
    first: u64,
    /// Index after the last entry; equal to `first` when there is none.
    next: u64,
    /// Where each run begins, and its term. The first begins at or before `first`.
    runs: VecDeque<Position>,
}

impl Terms {
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first == self.next
    }

    pub(super) fn last(&self) -> Option<Position> {
        if self.is_empty() { None } else { self.runs.back().map(|(_, term)| (self.next - 1, *term)) }
    }

    pub(super) fn get(&self, index: u64) -> Option<u64> {
        if !(self.first..self.next).contains(&index) {
            return None;
        }
        let run = self.runs.partition_point(|(from, _)| *from <= index);
        self.runs.get(run.checked_sub(1)?).map(|(_, term)| *term)
    }

    /// Stands for entries whose single terms are not known.
    pub(super) fn assume(first: u64, last: u64, term: u64) -> Self {
        Self { first, next: last.saturating_add(1), runs: VecDeque::from([(first, term)]) }
    }

    fn push(&mut self, index: u64, term: u64) {
        if self.is_empty() {
            (self.first, self.next) = (index, index);
        }
        if self.runs.back().is_none_or(|(_, last)| *last != term) {
            self.runs.push_back((index, term));
        }
        self.next = index + 1;
    }

    fn cut(&mut self, from: u64) {
        self.next = self.next.min(from).max(self.first);
        while self.runs.back().is_some_and(|(begin, _)| *begin >= self.next) {
            self.runs.pop_back();
        }
        if self.is_empty() {
            self.runs.clear();
        }
    }

    fn start_at(&mut self, first: u64) {
        self.first = first;
        self.next = self.next.max(first);
        while self.runs.get(1).is_some_and(|(begin, _)| *begin <= first) {
            self.runs.pop_front();
        }
        if self.is_empty() {
            self.runs.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(u64),
        Cut(u64),
        Purge(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..4u64).prop_map(Step::Append),
            1 => (0..30u64).prop_map(Step::Cut),
            1 => (0..30u64).prop_map(Step::Purge),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(steps in steps()) {
            let mut view = View::default();
            let mut model: Vec<Position> = Vec::new();
            let mut purged = None;
            for step in steps {
                match step {
                    Step::Append(term) => {
                        let index = view.last().map_or(5, |(last, _)| last + 1);
                        prop_assert!(view.accepts(index) && (view.last().is_none() || !view.accepts(index + 1)));
                        view.append(index, term);
                        model.push((index, term));
                    }
                    Step::Cut(from) => {
                        view.cut(from);
                        model.retain(|(index, _)| *index < from);
                    }
                    Step::Purge(index) => {
                        let fresh = purged.is_none_or(|purged| index > purged);
                        prop_assert_eq!(view.purge(index, 9), fresh);
                        purged = purged.max(Some(index));
                        model.retain(|(kept, _)| Some(*kept) > purged);
                    }
                }
                prop_assert_eq!(view.last(), model.last().copied().or(purged.map(|index| (index, 9))));
                for index in 0..80 {
                    let expected = model.iter().find(|(kept, _)| *kept == index).map(|(_, term)| *term);
                    prop_assert_eq!(view.terms.get(index), expected);
                }
            }
        }
    }
}
