//! Which votes of other nodes are believed.
//!
//! A term that is believed is kept for good, and the next election counts on from it. One number near the highest that a
//! record can carry would therefore be the last: nobody could be elected after it.

use ha_net::{Fault, NodeId};
use openraft::async_runtime::WatchReceiver as _;

use super::codec::AppendRequest;
use super::engine::Engine;
use super::types::{LogId, Vote};

/// Terms up to here are believed of anybody, so that a node that joins, or was away for years, is let in: no cluster uses
/// so many up.
const TERM_PLAUSIBLE: u64 = 1 << 40;
/// Beyond, those that are this far above the node's own at most.
const TERM_STEP_MAX: u64 = 1 << 20;

/// A vote that no node would have that works.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unbelievable {
    #[error("{from} speaks with the vote of {node}")]
    Foreign { from: NodeId, node: NodeId },
    #[error("term {term} is beyond belief: this node is in term {own}")]
    Term { term: u64, own: u64 },
    #[error("{from} was not elected in term {term}, and sends what only a leader has")]
    NotElected { from: NodeId, term: u64 },
    #[error("what {from} sends is of term {found}, which comes after its own term {term}")]
    Later { from: NodeId, found: u64, term: u64 },
    #[error("what {from} sends contradicts the entry {index} that this node knows to be committed")]
    Contradiction { from: NodeId, index: u64 },
}

/// Whether a term may be taken over by a node that is in its `own`.
pub(super) fn believe_term(term: u64, own: u64) -> Result<(), Unbelievable> {
    let highest = own.max(TERM_PLAUSIBLE).saturating_add(TERM_STEP_MAX);
    if term <= highest { Ok(()) } else { Err(Unbelievable::Term { term, own }) }
}

/// Whether a node may ask with this vote. Candidates and leaders ask with their own and no other.
fn believe(from: &NodeId, vote: &Vote, own: impl FnOnce() -> u64) -> Result<(), Unbelievable> {
    let node = &vote.leader_id.voted_for;
    if node != from {
        return Err(Unbelievable::Foreign { from: from.clone(), node: node.clone() });
    }
    let term = vote.leader_id.term;
    // Nearly always so: what is asked most need not look further.
    if term <= TERM_PLAUSIBLE { Ok(()) } else { believe_term(term, own()) }
}

/// Whether a leader may send what ends with an entry of a term: none has entries of a later one than its own.
pub(super) fn believe_leader(from: &NodeId, vote: &Vote, last: Option<u64>) -> Result<(), Unbelievable> {
    let term = vote.leader_id.term;
    if !vote.committed {
        return Err(Unbelievable::NotElected { from: from.clone(), term });
    }
    match last {
        Some(found) if found > term => Err(Unbelievable::Later { from: from.clone(), found, term }),
        _ => Ok(()),
    }
}

/// Whether what ends with an entry may follow what is committed here: of two entries that are both committed, the one of
/// the later term is behind the other.
pub(super) fn believe_last(from: &NodeId, last: Option<&LogId>, committed: Option<&LogId>) -> Result<(), Unbelievable> {
    match (last, committed) {
        (Some(last), Some(committed)) if last > committed && last.index <= committed.index => {
            Err(Unbelievable::Contradiction { from: from.clone(), index: committed.index })
        }
        _ => Ok(()),
    }
}

impl Engine {
    /// Refuses an append message of a vote that is not believed, or of a present leader that contradicts what is
    /// committed here: openraft would take its entries for those that are. No leader of this term or a later one sends that
    /// unless a majority has lost what it acknowledged. One that was deposed may, and openraft refuses it.
    pub(super) fn believe_append(&self, from: &NodeId, request: &AppendRequest) -> Result<(), Fault> {
        self.believe(from, &request.vote)?;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(committed) = &metrics.local_committed else { return Ok(()) };
        if request.vote.leader_id.term < metrics.current_term {
            return Ok(());
        }
        let known = request.entries.iter().take_while(|entry| entry.log_id.index <= committed.index).last();
        let last = known.map(|entry| &entry.log_id).or(request.prev_log_id.as_ref());
        believe_last(from, last, Some(committed)).map_err(|error| {
            self.contradiction.send_if_modified(|told| {
                let is_new = told.is_none();
                *told = Some(error.to_string().into());
                is_new
            });
            Fault { message: error.to_string() }
        })
    }

    /// Refuses what is asked with a vote that is not believed.
    pub(super) fn believe(&self, from: &NodeId, vote: &Vote) -> Result<(), Fault> {
        let own = || self.raft.metrics().borrow_watched().vote.leader_id.term;
        believe(from, vote, own).map_err(|error| Fault { message: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_vote_takes_a_node_to_the_last_term() {
        let a: NodeId = "a".parse().unwrap();
        let asks = |term, own| believe(&a, &Vote::new_committed(term, a.clone()), || own);
        for (term, own) in [(1, 0), (1 << 21, 0), (TERM_PLAUSIBLE, 3), (5, TERM_PLAUSIBLE)] {
            assert_eq!(asks(term, own), Ok(()), "also for one that is new, or was away");
        }
        let highest = TERM_PLAUSIBLE + TERM_STEP_MAX;
        assert_eq!(asks(1 << 56, 4), Err(Unbelievable::Term { term: 1 << 56, own: 4 }));
        assert_eq!(asks(highest + 1, 4), Err(Unbelievable::Term { term: highest + 1, own: 4 }));
        assert_eq!(asks(highest, 4), Ok(()));
        assert_eq!(asks(highest + 1, highest), Ok(()), "elections go on from there");
    }

    #[test]
    fn only_a_leader_sends_what_a_leader_has_and_nothing_from_after_its_term() {
        let a: NodeId = "a".parse().unwrap();
        let elected = Vote::new_committed(3, a.clone());
        for last in [None, Some(1), Some(3)] {
            assert_eq!(believe_leader(&a, &elected, last), Ok(()));
        }
        let later = believe_leader(&a, &elected, Some(4));
        assert_eq!(later, Err(Unbelievable::Later { from: a.clone(), found: 4, term: 3 }));
        let candidate = believe_leader(&a, &Vote::new(3, a.clone()), None);
        assert_eq!(candidate, Err(Unbelievable::NotElected { from: a, term: 3 }));
    }

    #[test]
    fn nothing_of_a_later_term_ends_before_what_is_committed() {
        let a: NodeId = "a".parse().unwrap();
        let committed = LogId::new_term_index(3, 9);
        let believes = |term, index| believe_last(&a, Some(&LogId::new_term_index(term, index)), Some(&committed));
        for (term, index) in [(3, 10), (4, 10), (3, 9), (2, 4), (3, 8)] {
            assert_eq!(believes(term, index), Ok(()), "newer, or nothing new");
        }
        for index in [0, 8, 9] {
            assert_eq!(believes(4, index), Err(Unbelievable::Contradiction { from: a.clone(), index: 9 }));
        }
        assert_eq!(believe_last(&a, None, Some(&committed)), Ok(()));
        assert_eq!(believe_last(&a, Some(&committed), None), Ok(()));
    }

    #[test]
    fn nobody_asks_with_the_vote_of_another() {
        let (a, b): (NodeId, NodeId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let vote = Vote::new_committed(3, b.clone());
        assert_eq!(believe(&a, &vote, || 3), Err(Unbelievable::Foreign { from: a.clone(), node: b.clone() }));
        assert_eq!(believe(&b, &vote, || 3), Ok(()));
    }
}
