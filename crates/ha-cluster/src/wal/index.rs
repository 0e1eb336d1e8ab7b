//! Where each written entry is.

use std::collections::VecDeque;
use std::io;

/// Where a record is within its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) offset: u32,
    /// Of the payload, in bytes.
    pub(super) length: u32,
}

impl Slot {
    pub(super) fn new(offset: u64, length: usize) -> io::Result<Self> {
        let offset = u32::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(Self { offset, length: u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)? })
    }
}

/// Consecutive entries in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) sequence: u64,
    pub(super) first: u64,
    pub(super) slots: Vec<Slot>,
}

/// Where each written entry is: 8 bytes per entry.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Index of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// The index of the first entry in a segment, and the segment's sequence. The first one is at or before `first`.
    segments: VecDeque<(u64, u64)>,
}

impl Index {
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The oldest segment that is still needed for an entry.
    pub(super) fn oldest_segment(&self) -> Option<u64> {
        self.segments.front().map(|(_, sequence)| *sequence)
    }

    /// How many segments begin behind an entry.
    pub(super) fn segments_behind(&self, index: u64) -> usize {
        self.segments.len() - self.segments.partition_point(|(begin, _)| *begin <= index)
    }

    /// The first entry of the last so many segments.
    pub(super) fn begin_of_last(&self, segments: usize) -> u64 {
        let at = self.segments.len().saturating_sub(segments);
        self.segments.get(at).map_or_else(|| self.next(), |(begin, _)| self.first.max(*begin))
    }

    pub(super) fn push(&mut self, index: u64, sequence: u64, slot: Slot) {
        if self.slots.is_empty() {
            self.first = index;
        }
        if self.segments.back().is_none_or(|(_, last)| *last != sequence) {
            self.segments.push_back((index, sequence));
        }
        self.slots.push_back(slot);
    }

    /// Drops the entries from `from` on.
    pub(super) fn cut(&mut self, from: u64) {
        let kept = from.saturating_sub(self.first).min(self.slots.len() as u64);
        self.slots.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        let next = self.next();
        while self.segments.back().is_some_and(|(begin, _)| *begin >= next) {
            self.segments.pop_back();
        }
        self.tidy();
    }

    /// Drops the entries before `first`.
    pub(super) fn start_at(&mut self, first: u64) {
        let dropped = first.saturating_sub(self.first).min(self.slots.len() as u64);
        self.slots.drain(..usize::try_from(dropped).unwrap_or(usize::MAX));
        self.first = self.first.max(first);
        while self.segments.get(1).is_some_and(|(begin, _)| *begin <= first) {
            self.segments.pop_front();
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.slots.is_empty() {
            self.segments.clear();
        }
        if self.slots.capacity() > 4 * self.slots.len() + 1024 {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }

    /// The entries from `first` on, before `until`, that are in one segment and no more than `bytes_max` bytes of it,
    /// but at least one; `None` when `first` is not here.
    pub(super) fn span(&self, first: u64, until: u64, bytes_max: u64) -> Option<Span> {
        let at = usize::try_from(first.checked_sub(self.first)?).ok()?;
        let begin = self.slots.get(at)?.offset;
        let run = self.segments.partition_point(|(from, _)| *from <= first);
        let (_, sequence) = *self.segments.get(run.checked_sub(1)?)?;
        let end = self.segments.get(run).map_or(until, |(from, _)| until.min(*from));
        let mut slots = Vec::new();
        for (slot, _) in self.slots.range(at..).zip(first..end) {
            let bytes = u64::from(slot.offset.saturating_sub(begin)) + u64::from(slot.length);
            if !slots.is_empty() && bytes > bytes_max {
                break;
            }
            slots.push(*slot);
        }
        (!slots.is_empty()).then_some(Span { sequence, first, slots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Index {
        let mut index = Index::default();
        for at in 10..20u64 {
            let offset = u32::try_from(at % 5 * 100).unwrap();
            index.push(at, at / 5, Slot { offset, length: 60 });
        }
        index
    }

    #[test]
    fn spans_end_with_the_segment_the_range_and_the_bytes() {
        let index = filled();
        let span = index.span(12, 99, u64::MAX).unwrap();
        assert_eq!((span.sequence, span.slots.len()), (2, 3));
        assert_eq!(index.span(12, 14, u64::MAX).unwrap().slots.len(), 2);
        assert_eq!(index.span(12, 99, 160).unwrap().slots.len(), 2);
        assert_eq!(index.span(12, 99, 1).unwrap().slots.len(), 1, "at least one");
        assert_eq!(index.span(9, 99, 1), None);
        assert_eq!(index.span(20, 99, 1), None);
    }

    #[test]
    fn segments_are_needed_until_their_last_entry_is_gone() {
        let mut index = filled();
        index.start_at(14);
        assert_eq!(index.oldest_segment(), Some(2));
        index.start_at(15);
        assert_eq!(index.oldest_segment(), Some(3));
        index.cut(15);
        assert_eq!((index.oldest_segment(), index.next()), (None, 15));
        index.push(15, 4, Slot { offset: 0, length: 0 });
        assert_eq!(index.span(15, 16, 1).unwrap().sequence, 4);
    }

    #[test]
    fn segments_are_counted_from_the_end() {
        let mut index = filled();
        assert_eq!([9, 10, 14, 15, 19].map(|at| index.segments_behind(at)), [2, 1, 1, 0, 0]);
        assert_eq!([0, 1, 2, 3].map(|last| index.begin_of_last(last)), [20, 15, 10, 10]);
        index.start_at(12);
        assert_eq!(index.begin_of_last(2), 12, "what was dropped of a segment does not count");
    }

    #[test]
    fn memory_is_given_back() {
        let mut index = Index::default();
        for at in 0..100_000 {
            index.push(at, 1, Slot { offset: 0, length: 0 });
        }
        index.start_at(99_990);
        assert!(index.slots.capacity() <= 4096);
    }
}
