//! What followers have acknowledged to this leader.
//!
//! A follower that lost a part of its log refuses what comes after it, like one that lags. Openraft takes that for a
//! broken promise of its storage and panics, on the leader. Here it is found out before openraft hears of it: such a
//! node runs on an older copy of its disk, has forgotten votes too, and must not take part.
//!
//! Openraft takes an answer for one to all messages before it that end at the same entry, so also to one that only told
//! what is committed, and that had not been sent when the follower gave that answer. A leader that was away could take the
//! old answers that wait for it for the present agreement of a quorum. When what was answered had left is known here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use ha_net::NodeId;
use openraft::errors::{RPCError, Unreachable};
use openraft::raft::{StreamAppendError, StreamAppendResult};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::codec::AppendRequest;
use super::network::{RpcError, term_of};
use super::types::Types;

/// A message to a follower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Of the leader that sent it.
    pub(super) term: u64,
    /// When it left, or just before.
    pub(super) at: Instant,
}

impl Sent {
    pub(super) fn now(request: &AppendRequest) -> Self {
        Self { term: term_of(&request.vote), at: Instant::now() }
    }
}

/// Per follower and the disk with which it joined, the term in which it answered last and the last index that it
/// acknowledged in that term. What it acknowledged to leaders of other terms may have been taken back since, for good
/// reason.
pub(super) struct Memory {
    acknowledged: Mutex<BTreeMap<(NodeId, u64), (u64, u64)>>,
    /// Per follower, the last message to which it answered that it follows.
    heard: Mutex<BTreeMap<NodeId, Sent>>,
    heard_more: Notify,
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
        Self { acknowledged: Mutex::default(), heard: Mutex::default(), heard_more: Notify::new(), forgetful }
    }

    /// Waits until a majority of each of these sets of voters, of whom `me` is one that agrees, has answered messages of a
    /// term that had left since. Cancel-safe.
    pub(super) async fn heard_since(&self, since: Sent, voters: &[BTreeSet<NodeId>], me: &NodeId) {
        loop {
            let more = self.heard_more.notified();
            if voters.iter().all(|voters| self.has_majority(since, voters, me)) {
                return;
            }
            more.await;
        }
    }

    fn has_majority(&self, since: Sent, voters: &BTreeSet<NodeId>, me: &NodeId) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let follows = |node: &&NodeId| {
            let newer = |last: &Sent| last.term == since.term && last.at >= since.at;
            *node == me || heard.get(*node).is_some_and(newer)
        };
        voters.iter().filter(follows).count() > voters.len() / 2
    }

    fn hear(&self, node: &NodeId, sent: Sent) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.get_mut(node) {
            Some(last) if (last.term, last.at) >= (sent.term, sent.at) => return,
            Some(last) => *last = sent,
            None => drop(heard.insert(node.clone(), sent)),
        }
        drop(heard);
        self.heard_more.notify_waiters();
    }

    /// Whether a follower has answered no message of a leader of this term that left since.
    pub(super) fn is_silent(&self, node: &NodeId, since: Sent) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(node).is_none_or(|last| (last.term, last.at) < (since.term, since.at))
    }

    /// Passes an answer on to a message of a leader of this term, unless it breaks the follower's word. A node that joined
    /// again, on another disk, has given none yet.
    pub(super) fn check(
        &self,
        (node, disk): (&NodeId, u64),
        sent: Sent,
        answer: StreamAppendResult<Types>,
    ) -> Result<StreamAppendResult<Types>, RpcError> {
        let term = sent.term;
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
        drop(acknowledged);
        if !matches!(answer, Err(StreamAppendError::HigherVote(_))) {
            self.hear(node, sent);
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::raft::types::LogId;

    fn matched(term: u64, index: u64) -> StreamAppendResult<Types> {
        Ok(Some(LogId::new_term_index(term, index)))
    }

    fn conflict(index: u64) -> StreamAppendResult<Types> {
        Err(StreamAppendError::Conflict(LogId::new_term_index(1, index)))
    }

    fn sent(term: u64) -> Sent {
        Sent { term, at: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_the_present_leader_is_silent() {
        let memory = Memory::new(Arc::new(|_| ()));
        let (node, began) = (NodeId::from(2), sent(7));
        assert!(memory.is_silent(&node, began));
        assert!(memory.check((&node, 0), began, matched(7, 1)).is_ok());
        assert!(!memory.is_silent(&node, began) && memory.is_silent(&node, sent(8)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(memory.is_silent(&node, sent(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_answer_agrees_with_nothing_that_was_asked_since() {
        let memory = Memory::new(Arc::new(|_| ()));
        let [me, b, c, d] = [0, 1, 2, 3].map(NodeId::from);
        let three = [BTreeSet::from([me.clone(), b.clone(), c.clone()])];
        let before = sent(4);
        tokio::time::advance(Duration::from_millis(1)).await;
        let since = sent(4);
        let answers = |node, sent, answer| assert!(memory.check((node, 1), sent, answer).is_ok());
        let heard = |voters: &[BTreeSet<NodeId>]| memory.heard_since(since, voters, &me).now_or_never().is_some();
        answers(&b, before, matched(4, 9));
        answers(&c, sent(3), matched(3, 9));
        assert!(!heard(&three), "of messages that had left before, or of another term");
        let higher = Err(StreamAppendError::HigherVote(crate::raft::types::Vote::new(5, c.clone())));
        answers(&c, sent(4), higher);
        assert!(!heard(&three), "it follows another");
        let waits = memory.heard_since(since, &three, &me);
        futures::join!(waits, async { answers(&b, sent(4), conflict(12)) });
        let joint = [three[0].clone(), BTreeSet::from([me.clone(), c.clone(), d.clone()])];
        assert!(heard(&three) && !heard(&joint), "of both sets while members change");
        answers(&b, before, matched(4, 9));
        assert!(heard(&three), "an older answer that comes late takes nothing back");
        assert!(heard(&[BTreeSet::from([me.clone()])]), "alone");
    }

    #[test]
    fn only_what_was_acknowledged_in_this_term_must_be_there() {
        let found: Arc<Mutex<Vec<NodeId>>> = Arc::default();
        let finds = found.clone();
        let memory = Memory::new(Arc::new(move |node| finds.lock().unwrap().push(node.clone())));
        let node = NodeId::from(1);
        assert!(memory.check((&node, 1), sent(1), conflict(5)).is_ok(), "a new leader probes");
        assert!(memory.check((&node, 1), sent(1), matched(1, 4)).is_ok());
        assert!(memory.check((&node, 1), sent(1), conflict(5)).is_ok());
        assert!(memory.check((&node, 1), sent(2), conflict(3)).is_ok(), "the leader of another term may have cut it");
        assert!(memory.check((&node, 1), sent(2), matched(2, 7)).is_ok());
        assert!(memory.check((&node, 1), sent(1), conflict(6)).is_ok(), "late, of a term that is over");
        assert!(found.lock().unwrap().is_empty());
        assert!(memory.check((&node, 2), sent(2), conflict(3)).is_ok(), "it joined anew, on another disk");
        assert!(found.lock().unwrap().is_empty());
        assert!(memory.check((&node, 1), sent(2), conflict(7)).is_err());
        assert_eq!(*found.lock().unwrap(), [node]);
    }
}
