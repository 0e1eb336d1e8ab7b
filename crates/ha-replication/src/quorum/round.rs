//! What follows from what copies answered. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ha_cluster::NodeId;

use super::Siblings;
use crate::Version;

/// How many of so many copies any two questions must meet in one of.
pub(crate) fn majority(copies: usize) -> usize {
    copies / 2 + 1
}

/// The answers of the copies to one question.
#[derive(Debug)]
pub(crate) struct Round<T> {
    asked: usize,
    needed: usize,
    given: BTreeMap<NodeId, T>,
    refused: BTreeMap<NodeId, String>,
}

/// How a question stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// More answers are waited for.
    Open,
    /// Enough copies have answered.
    Enough,
    /// So many have refused that there cannot be enough.
    TooFew,
}

impl<T> Round<T> {
    pub(crate) fn new(asked: usize, needed: usize) -> Self {
        Self { asked, needed, given: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// A copy has answered, or did not.
    pub(crate) fn step(&mut self, node: NodeId, answer: Result<T, String>) -> Standing {
        match answer {
            Ok(answer) => drop(self.given.insert(node, answer)),
            Err(reason) => drop(self.refused.insert(node, reason)),
        }
        if self.given.len() >= self.needed {
            Standing::Enough
        } else if self.asked - self.refused.len() < self.needed {
            Standing::TooFew
        } else {
            Standing::Open
        }
    }

    pub(crate) fn into_given(self) -> BTreeMap<NodeId, T> {
        self.given
    }

    /// How far it came, for a person.
    pub(crate) fn tell(&self) -> String {
        let refused: Vec<String> = self.refused.iter().map(|(node, reason)| format!("{node}: {reason}")).collect();
        let refused = if refused.is_empty() { "the others do not answer".to_owned() } else { refused.join("; ") };
        format!("{} of {} copies answered, and {} must ({refused})", self.given.len(), self.asked, self.needed)
    }
}

/// What a copy knows of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peeked {
    pub(crate) state: Siblings,
    /// Its disk has it.
    pub(crate) is_stored: bool,
}

/// What is to be answered to a reader, and the copies that must hold it before.
pub(crate) struct Reading {
    pub(crate) state: Siblings,
    /// The copies whose disk holds exactly this.
    pub(crate) held_by: BTreeSet<NodeId>,
}

/// What the answers of enough copies tell a reader.
pub(crate) fn read(answers: BTreeMap<NodeId, Peeked>) -> Reading {
    let state = answers.values().fold(Siblings::default(), |state, peeked| state.join(peeked.state.clone()));
    let holds = |peeked: &Peeked| peeked.is_stored && peeked.state == state;
    let held_by = answers.iter().filter(|(_, peeked)| holds(peeked)).map(|(node, _)| node.clone()).collect();
    Reading { state, held_by }
}

/// What a write replaces, from the answers of enough copies.
pub(crate) fn replaced(answers: BTreeMap<NodeId, Peeked>) -> Siblings {
    answers.into_values().fold(Siblings::default(), |state, peeked| state.join(peeked.state.bare())).bare()
}

/// The state after a write over what was found; `stamp` gives a version that is later than a time.
pub(crate) fn write(
    replaced: Siblings,
    data: Option<Bytes>,
    stamp: impl FnOnce(u64) -> Version,
) -> (Version, Siblings) {
    let version = stamp(replaced.time());
    (version, replaced.write(version, data))
}
