//! The machine that simulated clients write to: a list that only grows, of entries that each occur once.

use ha_cluster::{Applied, Capture, Machine, MachineId};
use serde::{Deserialize, Serialize};

/// A list of entry numbers, in the order in which the cluster applied them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<u64>,
}

/// Adds an entry at the end, also when it is there already: an entry that is applied twice must show.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Append {
    /// Unique in a run.
    pub entry: u64,
}

/// Where it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// Entries before it.
    pub position: u64,
    /// The epoch that the command was given.
    pub epoch: u64,
}

impl Ledger {
    /// All entries, in order.
    pub fn entries(&self) -> &[u64] {
        &self.entries
    }
}

impl Machine for Ledger {
    const ID: MachineId = MachineId(200);
    const NAME: &'static str = "the simulation's ledger";
    type Command = Append;
    type Reply = Appended;

    fn apply(&mut self, at: Applied, command: Append) -> Appended {
        self.entries.push(command.entry);
        Appended { position: self.entries.len() as u64 - 1, epoch: at.epoch.0 }
    }

    fn capture(&self) -> Capture {
        let entries = self.entries.clone();
        let image = move || entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        Box::new(std::iter::once_with(image))
    }

    fn restore(&mut self, image: &[u8]) -> Result<(), String> {
        let (entries, rest) = image.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(format!("{} bytes are not a list of entries", image.len()));
        }
        self.entries = entries.iter().map(|entry| u64::from_le_bytes(*entry)).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_copy_is_the_same() {
        let ledger = Ledger { entries: vec![3, 1, u64::MAX] };
        let image: Vec<u8> = ledger.capture().flatten().collect();
        let mut copy = Ledger::default();
        copy.restore(&image).unwrap();
        assert_eq!(copy.entries(), ledger.entries());
        assert!(copy.restore(&image[1..]).is_err());
    }
}
