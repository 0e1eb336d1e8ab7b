//! The newest records, in memory.

use std::collections::VecDeque;

use super::Record;

/// What a cached record costs beside its payload, in bytes.
const OVERHEAD_BYTES: usize = 64;

/// The newest records, in memory: those not yet written, and as many others as fit.
#[derive(Debug)]
pub(super) struct Tail {
    bytes_max: usize,
    bytes: usize,
    /// Consecutive records up to the last of the log, each with the ticket of the operation that brought it.
    records: VecDeque<(u64, Record)>,
}

impl Tail {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, records: VecDeque::new() }
    }

    /// The index of the first record here.
    pub(super) fn first(&self) -> Option<u64> {
        self.records.front().map(|(_, record)| record.index)
    }

    pub(super) fn push(&mut self, ticket: u64, record: Record) {
        self.bytes += cost(&record);
        self.records.push_back((ticket, record));
    }

    /// Copies records from `first` on to the end of `into`, until `until`, or until the bytes are used up.
    pub(super) fn copy(&self, first: u64, until: u64, bytes_left: &mut usize, into: &mut Vec<Record>) {
        let Some(start) = self.first() else { return };
        let skipped = usize::try_from(first.saturating_sub(start)).unwrap_or(usize::MAX).min(self.records.len());
        for (_, record) in self.records.range(skipped..).take_while(|(_, record)| record.index < until) {
            if !take(record.payload.len(), bytes_left, into.is_empty()) {
                break;
            }
            into.push(record.clone());
        }
    }

    /// Drops the records from `from` on.
    pub(super) fn cut(&mut self, from: u64) {
        while let Some((_, record)) = self.records.pop_back_if(|(_, record)| record.index >= from) {
            self.bytes -= cost(&record);
        }
        self.tidy();
    }

    /// Drops the records before `first`.
    pub(super) fn start_at(&mut self, first: u64) {
        while let Some((_, record)) = self.records.pop_front_if(|(_, record)| record.index < first) {
            self.bytes -= cost(&record);
        }
        self.tidy();
    }

    /// Drops the oldest records beyond the limit, but none that still has to be written.
    pub(super) fn evict(&mut self, written: u64) {
        while self.bytes > self.bytes_max {
            let Some((_, record)) = self.records.pop_front_if(|(ticket, _)| *ticket <= written) else { break };
            self.bytes -= cost(&record);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.records.capacity() > 4 * self.records.len() + 1024 {
            self.records.shrink_to(2 * self.records.len());
        }
    }
}

fn cost(record: &Record) -> usize {
    record.payload.len() + OVERHEAD_BYTES
}

/// Whether one more payload may be taken; the first may always.
pub(super) fn take(payload: usize, bytes_left: &mut usize, first: bool) -> bool {
    match bytes_left.checked_sub(payload) {
        Some(left) => *bytes_left = left,
        None if first => *bytes_left = 0,
        None => {
            *bytes_left = 0;
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn filled() -> Tail {
        let mut tail = Tail::new(5 * (100 + OVERHEAD_BYTES));
        for index in 10..20 {
            tail.push(index, Record { index, term: 1, payload: Bytes::from(vec![0; 100]) });
        }
        tail
    }

    fn copied(tail: &Tail, first: u64, until: u64, bytes: usize) -> Vec<u64> {
        let mut into = Vec::new();
        tail.copy(first, until, &mut { bytes }, &mut into);
        into.iter().map(|record| record.index).collect()
    }

    #[test]
    fn what_is_not_written_stays_whatever_it_costs() {
        let mut tail = filled();
        tail.evict(9);
        assert_eq!(tail.first(), Some(10));
        tail.evict(12);
        assert_eq!(tail.first(), Some(13));
        tail.evict(99);
        assert_eq!(tail.first(), Some(15));
    }

    #[test]
    fn copies_end_with_the_range_and_the_bytes() {
        let tail = filled();
        assert_eq!(copied(&tail, 12, 14, 1000), [12, 13]);
        assert_eq!(copied(&tail, 12, 99, 250), [12, 13]);
        assert_eq!(copied(&tail, 12, 99, 1), [12], "at least one");
        assert_eq!(copied(&tail, 20, 99, 1000), [] as [u64; 0]);
    }

    #[test]
    fn cutting_everything_frees_all_bytes() {
        let mut tail = filled();
        tail.start_at(12);
        tail.cut(0);
        assert_eq!((tail.bytes, tail.first()), (0, None));
    }
}
