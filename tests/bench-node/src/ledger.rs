//! The machine that proposals change: it keeps which writer's which proposal was applied, and nothing of their bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use ha_cluster::{Applied, Capture, Machine, MachineId};
use serde::{Deserialize, Serialize};

/// One proposal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Proposal {
    /// One closed loop of one life of one node.
    pub(crate) writer: u64,
    /// Counts up from 0 in each writer.
    pub(crate) serial: u64,
    /// As many bytes as the measurement wants.
    pub(crate) payload: Bytes,
}

/// Which proposals were applied: for each writer the ranges of its serials, first and last included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    ranges: BTreeMap<u64, Vec<(u64, u64)>>,
    twice: u64,
}

impl Ledger {
    /// Whether a proposal was applied.
    pub(crate) fn holds(&self, writer: u64, serial: u64) -> bool {
        let Some(ranges) = self.ranges.get(&writer) else { return false };
        let after = ranges.partition_point(|(first, _)| *first <= serial);
        after > 0 && serial <= ranges[after - 1].1
    }

    /// How many proposals were applied more than once.
    pub(crate) fn twice(&self) -> u64 {
        self.twice
    }

    fn enter(&mut self, writer: u64, serial: u64) {
        if self.holds(writer, serial) {
            self.twice += 1;
            return;
        }
        let ranges = self.ranges.entry(writer).or_default();
        let after = ranges.partition_point(|(first, _)| *first <= serial);
        let joins_left = after > 0 && ranges[after - 1].1 + 1 == serial;
        let joins_right = ranges.get(after).is_some_and(|(first, _)| serial + 1 == *first);
        match (joins_left, joins_right) {
            (true, true) => {
                ranges[after - 1].1 = ranges[after].1;
                ranges.remove(after);
            }
            (true, false) => ranges[after - 1].1 = serial,
            (false, true) => ranges[after].0 = serial,
            (false, false) => ranges.insert(after, (serial, serial)),
        }
    }
}

impl Machine for Ledger {
    const ID: MachineId = MachineId(200);
    const NAME: &'static str = "bench ledger";
    type Command = Proposal;
    type Reply = ();

    fn apply(&mut self, _at: Applied, proposal: Proposal) {
        self.enter(proposal.writer, proposal.serial);
    }

    fn capture(&self) -> Capture {
        let copy = self.clone();
        Box::new(std::iter::once_with(move || serde_json::to_vec(&copy).unwrap_or_default()))
    }

    fn restore(&mut self, image: &[u8]) -> Result<(), String> {
        *self = serde_json::from_slice(image).map_err(|error| error.to_string())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_merge_into_ranges_in_any_order() {
        let mut ledger = Ledger::default();
        for serial in [5, 3, 4, 0, 1, 9] {
            ledger.enter(1, serial);
        }
        assert_eq!(ledger.ranges[&1], [(0, 1), (3, 5), (9, 9)]);
        for serial in 0..12 {
            assert_eq!(ledger.holds(1, serial), [0, 1, 3, 4, 5, 9].contains(&serial), "{serial}");
        }
        assert!(!ledger.holds(2, 0));
        ledger.enter(1, 4);
        assert_eq!(ledger.twice(), 1);
    }

    #[test]
    fn an_image_restores_the_ledger() {
        let mut ledger = Ledger::default();
        ledger.enter(u64::MAX, 7);
        let mut restored = Ledger::default();
        restored.restore(&ledger.capture().flatten().collect::<Vec<_>>()).unwrap();
        assert_eq!(restored, ledger);
    }
}
