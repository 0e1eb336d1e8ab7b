//! What a copy knows of itself, kept beside its records in the same transactions.

use std::collections::{BTreeMap, BTreeSet};

use ha_cluster::{NodeId, encoding};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::runs::Run;
use super::sealed::{seal, unseal};
use crate::loose::{Lost, Master};

/// Layout of the state: its first byte. Its last four are the checksum of all before them.
const SCHEMA: u8 = 5;

/// How far a copy is on the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The log entry.
    pub(crate) index: u64,
    /// The cluster's epoch after it.
    pub(crate) epoch: u64,
    /// Changes of records since the cluster began.
    pub(crate) items: u64,
    /// Bytes of those changes.
    pub(crate) bytes: u64,
}

/// Which copies a strong write waits for; changed by commands only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncSet {
    /// Counts its changes.
    pub(crate) generation: u64,
    pub(crate) members: BTreeSet<NodeId>,
}

/// What the copies agree on beside records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agreed {
    pub(crate) sync: SyncSet,
    /// How much was taken over from each foreign database.
    pub(crate) sources: BTreeMap<String, u64>,
    /// Every copy has seen all stamps below this, except those that must begin anew.
    pub(crate) horizon: u64,
    /// Copies that were away for too long when the horizon was moved, and that horizon.
    pub(crate) resets: BTreeMap<NodeId, u64>,
    /// Without a leader, where one node takes writes: which.
    pub(crate) master: Option<Master>,
    /// Nodes that took writes before, and when they lost that.
    pub(crate) lost: BTreeMap<NodeId, Lost>,
}

/// Changes that this copy never received: those above `after` up to `upto`. They are fetched from another copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hole {
    /// Epoch up to which this copy holds everything.
    pub(crate) after: u64,
    /// How far fetching is within the epoch after `after`.
    pub(crate) after_tie: u64,
    /// Epoch from which on the log brings everything.
    pub(crate) upto: u64,
    /// Nothing was there when fetching began: what was deleted before need not be known.
    pub(crate) anew: bool,
}

/// What a copy knows of itself. Written with every batch of records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) position: Position,
    pub(crate) agreed: Agreed,
    pub(crate) hole: Option<Hole>,
    /// Graves up to this place are gone: whoever is not past it cannot be told what was deleted.
    pub(crate) floor: (u64, u64),
    /// The highest place given so far, where this copy orders changes by itself.
    pub(crate) place: u64,
    /// The last place whose change is in the slots; those of later ones follow from the order of changes.
    pub(crate) slotted: u64,
    /// Where the slots are, oldest first.
    pub(crate) runs: Vec<Run>,
    /// The latest stamp given or seen.
    pub(crate) stamp: u64,
    /// The horizon at which this copy began anew last.
    pub(crate) began_at: u64,
    /// Without a leader: this copy has been compared with the others since it began.
    pub(crate) loaded: bool,
    /// What this copy had alone before this epoch is set aside.
    pub(crate) rewound: u64,
    pub(crate) totals: Totals,
}

/// What is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) graves: u64,
    /// Bytes of keys and data.
    pub(crate) bytes: u64,
    /// The sum of the fingerprints of all records, graves left out.
    pub(crate) digest: u64,
}

impl State {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let encoded = encoding::encode(&(SCHEMA, self));
        encoded.map(seal).map_err(|error| StoreError::Damaged { what: error.to_string() })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |what: String| StoreError::Damaged { what };
        if let Some(schema) = bytes.first().filter(|schema| **schema != SCHEMA) {
            return Err(StoreError::OtherFormat { found: *schema, known: SCHEMA });
        }
        let encoded = unseal(bytes).ok_or_else(|| damaged("the checksum of its state is wrong".to_owned()))?;
        let (_, state) = encoding::decode::<(u8, Self)>(encoded).map_err(|error| damaged(error.to_string()))?;
        Ok(state)
    }
}

/// What a copy knows of itself, to begin with.
#[cfg(feature = "testing")]
pub(crate) fn fuzzing_states() -> Vec<Vec<u8>> {
    let mut state = State { hole: Some(Hole { after: 3, after_tie: 1, upto: 9, anew: true }), ..State::default() };
    state.agreed.sources.insert("old".to_owned(), 7);
    [State::default(), state].iter().filter_map(|state| state.encode().ok()).collect()
}

/// Any bytes for that.
#[cfg(feature = "testing")]
pub(crate) fn fuzz_state(input: &[u8]) {
    for bytes in [input.to_vec(), seal(input.to_vec())] {
        if let Ok(state) = State::decode(&bytes) {
            assert!(state.encode().is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_wrote_is_told_from_what_is_damaged() {
        let state = State { place: 7, ..State::default() };
        let encoded = state.encode().unwrap();
        assert_eq!(State::decode(&encoded).unwrap(), state);
        for at in 1..encoded.len() {
            let mut flipped = encoded.clone();
            flipped[at] ^= 1;
            assert!(matches!(State::decode(&flipped), Err(StoreError::Damaged { .. })), "byte {at}");
            assert!(matches!(State::decode(&encoded[..at]), Err(StoreError::Damaged { .. })), "cut at {at}");
        }
        for other in [SCHEMA - 1, SCHEMA + 1] {
            let mut older = encoded.clone();
            older[0] = other;
            assert_eq!(State::decode(&older), Err(StoreError::OtherFormat { found: other, known: SCHEMA }));
        }
    }
}
