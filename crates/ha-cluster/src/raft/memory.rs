//! What followers have acknowledged to this leader.
//!
//! A follower that lost a part of its log refuses what comes after it, like one that lags. Openraft takes that for a
//! broken promise of its storage and panics, on the leader. Here it is found out before openraft hears of it: such a
//! node runs on an older copy of its disk, has forgotten votes too, and must not take part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ha_net::NodeId;
use openraft::errors::{RPCError, Unreachable};
use openraft::raft::{StreamAppendError, StreamAppendResult};

use super::network::RpcError;
use super::types::Types;

/// Per follower and the disk with which it joined, the term in which it answered last and the last index that it
/// acknowledged in that term. What it acknowledged to leaders of other terms may have been taken back since, for good
/// reason.
pub(super) struct Memory {
    acknowledged: Mutex<BTreeMap<(NodeId, u64), (u64, u64)>>,
    forgetful: Arc<dyn Fn(&NodeId) + Send + Sync>,
}

/// A follower has forgotten what it acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} has acknowledged entry {acknowledged} and now has no entry {conflict}: its disk is an older copy")]
struct Forgotten {
    node: NodeId,
    acknowledged: u64,
    conflict: u64,
}

impl Memory {
    pub(super) fn new(forgetful: Arc<dyn Fn(&NodeId) + Send + Sync>) -> Self {
        Self { acknowledged: Mutex::default(), forgetful }
    }

    /// Passes an answer on to a message of a leader of this term, unless it breaks the follower's word. A node that joined
    /// again, on another disk, has given none yet.
    pub(super) fn check(
        &self,
        (node, disk): (&NodeId, u64),
        term: u64,
        answer: StreamAppendResult<Types>,
    ) -> Result<StreamAppendResult<Types>, RpcError> {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let (known_term, known) = acknowledged.entry((node.clone(), disk)).or_insert((term, 0));
        if *known_term < term {
            (*known_term, *known) = (term, 0);
        }
        match &answer {
            Ok(Some(matched)) if *known_term == term => *known = matched.index.max(*known),
            Err(StreamAppendError::Conflict(at)) if *known_term == term && at.index <= *known => {
                let forgotten = Forgotten { node: node.clone(), acknowledged: *known, conflict: at.index };
                *known = 0;
                drop(acknowledged);
                tracing::error!("{forgotten}");
                (self.forgetful)(node);
                return Err(RPCError::Unreachable(Unreachable::new(&forgotten)));
            }
            _ => {}
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::LogId;

    fn matched(term: u64, index: u64) -> StreamAppendResult<Types> {
        Ok(Some(LogId::new_term_index(term, index)))
    }

    fn conflict(index: u64) -> StreamAppendResult<Types> {
        Err(StreamAppendError::Conflict(LogId::new_term_index(1, index)))
    }

    #[test]
    fn only_what_was_acknowledged_in_this_term_must_be_there() {
        let found: Arc<Mutex<Vec<NodeId>>> = Arc::default();
        let finds = found.clone();
        let memory = Memory::new(Arc::new(move |node| finds.lock().unwrap().push(node.clone())));
        let node = NodeId::from(1);
        assert!(memory.check((&node, 1), 1, conflict(5)).is_ok(), "a new leader probes");
        assert!(memory.check((&node, 1), 1, matched(1, 4)).is_ok());
        assert!(memory.check((&node, 1), 1, conflict(5)).is_ok());
        assert!(memory.check((&node, 1), 2, conflict(3)).is_ok(), "the leader of another term may have cut it");
        assert!(memory.check((&node, 1), 2, matched(2, 7)).is_ok());
        assert!(memory.check((&node, 1), 1, conflict(6)).is_ok(), "late, of a term that is over");
        assert!(found.lock().unwrap().is_empty());
        assert!(memory.check((&node, 2), 2, conflict(3)).is_ok(), "it joined anew, on another disk");
        assert!(found.lock().unwrap().is_empty());
        assert!(memory.check((&node, 1), 2, conflict(7)).is_err());
        assert_eq!(*found.lock().unwrap(), [node]);
    }
}
