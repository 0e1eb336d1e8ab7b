//! Takes batches to the leader, wherever it is, until one answers or patience ends.

use std::time::Duration;

use bytes::Bytes;
use ha_net::{AskError, NodeId};
use openraft::errors::{ClientWriteError, ForwardReason, RaftError};
use openraft::impls::ProgressResponder;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::codec::{get, put};
use super::engine::Engine;
use super::types::{Outcomes, Payload, Types};
use crate::machine::{
    Batch, Command, MachineId, Outcome, Propose, ProposeError, SessionId, WriteError, decode_outcomes, encode_outcomes,
};
use crate::view::Term;
use crate::{service, wal};

/// How long a batch is tried: longer than any single caller waits, so that whoever gives up first is the caller.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one try at another node may take before the leader is looked for anew.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between tries: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Bytes that may wait for the disk of the leader; while there are more, it takes no proposals. Far below what its log
/// can bear, since the entries of several that are proposed at once come on top.
const BACKLOG_BYTES_MAX: usize = wal::QUEUE_BYTES_MAX / 4;

type WriteFailure = RaftError<Types, ClientWriteError<Types>>;

/// How one try ended without outcomes.
struct Miss {
    /// Whether the batch may have reached a log.
    maybe: bool,
    /// Whether a further try can help.
    again: bool,
    reason: String,
}

impl From<Miss> for WriteError {
    fn from(Miss { maybe, reason, .. }: Miss) -> Self {
        if maybe { Self::Unknown { reason } } else { Self::NotApplied { reason } }
    }
}

/// What a node answers to another that proposes through it.
#[derive(Serialize, Deserialize)]
enum Proposed {
    Outcomes(Vec<u8>),
    Miss { maybe: bool, reason: String },
}

impl Propose for Engine {
    async fn propose(&self, batch: Bytes) -> Result<Vec<Outcome>, ProposeError> {
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.changes();
        let mut pause = PAUSE_MIN;
        let mut maybe = false;
        loop {
            let miss = match self.leader() {
                (_, true) => self.propose_here(batch.clone()).await,
                (Some(leader), _) => self.propose_there(&leader, batch.clone()).await,
                (None, _) => Err(Miss { maybe: false, again: true, reason: "there is no leader now".to_owned() }),
            };
            let miss = match miss {
                Ok(outcomes) => return Ok(outcomes),
                Err(miss) => miss,
            };
            maybe |= miss.maybe;
            if !miss.again || self.net.is_stopped() || Instant::now() + pause >= deadline {
                let reason = miss.reason;
                return Err(if maybe {
                    ProposeError::Unknown { reason }
                } else {
                    ProposeError::NotProposed { reason }
                });
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                // A new leader takes proposals once a quorum has answered it, which is soon.
                () = changes.next() => pause = PAUSE_MIN,
            }
        }
    }
}

impl Engine {
    async fn propose_here(&self, batch: Bytes) -> Result<Vec<Outcome>, Miss> {
        if self.witness {
            let reason = "a witness leads, and hands over".to_owned();
            return Err(Miss { maybe: false, again: true, reason });
        }
        if let Some(reason) = self.short_of_voters().or_else(|| self.stalled()) {
            return Err(Miss { maybe: false, again: true, reason });
        }
        match self.raft.client_write(Payload(batch)).await {
            Ok(response) => Ok(response.data.0),
            Err(error) => Err(miss(&error)),
        }
    }

    /// Why nothing may be proposed before the disk of this node has caught up. What is proposed is committed without it
    /// when enough others have it: nothing else would hold back what waits here, until the log takes no more and fails.
    fn stalled(&self) -> Option<String> {
        let waiting = self.backlog.bytes();
        let stalled = || format!("the disk of the leader has stalled: {waiting} bytes wait for it");
        (waiting > BACKLOG_BYTES_MAX).then(stalled)
    }

    async fn propose_there(&self, leader: &NodeId, batch: Bytes) -> Result<Vec<Outcome>, Miss> {
        let again = |maybe: bool, reason: String| Miss { maybe, again: true, reason };
        let answer = tokio::select! {
            answer = self.net.ask(leader, service::PROPOSE_LANE, service::PROPOSE, batch, TRY_TIMEOUT) => answer,
            () = self.deposed(leader) => return Err(again(true, "leadership changed before the answer came".to_owned())),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error @ AskError::NotSent { .. }) => return Err(again(false, error.to_string())),
            Err(error) => return Err(again(true, error.to_string())),
        };
        match get(&answer) {
            Ok(Proposed::Outcomes(outcomes)) => {
                decode_outcomes(outcomes.into()).map_err(|e| again(true, e.to_string()))
            }
            Ok(Proposed::Miss { maybe, reason }) => Err(again(maybe, reason)),
            Err(error) => Err(again(true, error.to_string())),
        }
    }

    /// Proposes for another node. Only the leader does: a batch is never passed on twice.
    pub(super) async fn proposed(&self, from: &NodeId, batch: Bytes) -> Bytes {
        let refuse = |reason: String| put(&Proposed::Miss { maybe: false, reason });
        if !self.leader().1 {
            return refuse("this node does not lead".to_owned());
        }
        // A witness has no machines to check it with, and takes no proposals in any case.
        if !self.witness
            && let Err(unfit) = self.host.check_proposed(from, &batch)
        {
            return refuse(unfit.to_string());
        }
        put(&match self.propose_here(batch).await {
            Ok(outcomes) => Proposed::Outcomes(encode_outcomes(&outcomes).into()),
            Err(miss) => Proposed::Miss { maybe: miss.maybe, reason: miss.reason },
        })
    }

    /// Proposes one command that takes effect only if this node still leads in `term`. Tried once.
    pub(crate) async fn propose_as_leader(
        &self,
        term: Term,
        machine: MachineId,
        body: Bytes,
    ) -> Result<Bytes, WriteError> {
        let command = Command { serial: 0, machine, body };
        let batch = Batch { session: SessionId::NONE, acknowledged_below: 0, commands: vec![command] };
        let (responder, answer) = ProgressResponder::complete_only();
        let leader = openraft::vote::leader_id_std::CommittedLeaderId::new(term.0);
        let not_applied = |reason: String| WriteError::NotApplied { reason };
        let request = self.raft.write(Payload(batch.encode())).with_leader(leader).responder(responder);
        request.await.map_err(|e| not_applied(e.to_string()))?;
        let unknown = |reason: String| WriteError::Unknown { reason };
        let answer = answer.await.map_err(|_| unknown("the node is stopping".to_owned()))?;
        match answer {
            Ok(response) => match response.data {
                Outcomes(outcomes) => match outcomes.into_iter().next() {
                    Some(Outcome::Reply(reply)) => Ok(reply),
                    _ => Err(unknown("the log answered for another command".to_owned())),
                },
            },
            Err(error) => Err(refusal(&error).into()),
        }
    }
}

fn miss(error: &WriteFailure) -> Miss {
    match error {
        RaftError::APIError(error) => refusal(error),
        RaftError::Fatal(fatal) => Miss { maybe: true, again: false, reason: fatal.to_string() },
    }
}

fn refusal(error: &ClientWriteError<Types>) -> Miss {
    let again = |maybe, reason: &str| Miss { maybe, again: true, reason: reason.to_owned() };
    match error {
        ClientWriteError::ForwardToLeader(forward) => match forward.reason {
            ForwardReason::LeaseExpired => again(false, "no quorum answers the leader"),
            ForwardReason::LeadershipTransfer => again(false, "leadership is being handed over"),
            ForwardReason::NotLeader => again(false, "this node does not lead"),
        },
        // It was in the log of a leader which lost its place: another one may have committed it, or still may.
        ClientWriteError::LogEntryDiscarded(_) => again(true, "leadership changed before it was committed"),
        other => Miss { maybe: false, again: false, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use openraft::errors::ForwardToLeader;

    use super::*;
    use crate::machine::Machines;
    use crate::raft::engine_tests::{Alone, batch};

    fn forward(reason: ForwardReason) -> ForwardToLeader<Types> {
        ForwardToLeader { leader_id: None, leader_node: None, reason }
    }

    #[test]
    fn what_was_refused_before_the_log_is_certain_and_tried_again() {
        for reason in [ForwardReason::LeaseExpired, ForwardReason::LeadershipTransfer, ForwardReason::NotLeader] {
            let miss = refusal(&ClientWriteError::ForwardToLeader(forward(reason)));
            assert!(miss.again && !miss.maybe);
            assert!(matches!(miss.into(), WriteError::NotApplied { .. }));
        }
    }

    #[test]
    fn what_was_in_the_log_of_a_leader_that_lost_its_place_is_unknown_and_tried_again() {
        let miss = refusal(&ClientWriteError::LogEntryDiscarded(forward(ForwardReason::NotLeader)));
        assert!(miss.again && miss.maybe);
        assert!(matches!(miss.into(), WriteError::Unknown { .. }));
    }

    /// What was proposed would be committed without its disk, on a majority of others.
    #[tokio::test(start_paused = true)]
    async fn a_leader_whose_disk_stalls_takes_no_more_than_its_log_can_bear() {
        let node = Alone::start(Machines::new()).await;
        let large = || node.wal.save_hard_state(vec![0; wal::STATE_BYTES_MAX].into());
        let waiting: Vec<_> = (0..=BACKLOG_BYTES_MAX / wal::STATE_BYTES_MAX).map(|_| large()).collect();
        let miss = node.engine.propose_here(batch()).await.err().unwrap();
        assert!(miss.again && !miss.maybe && miss.reason.contains("stalled"), "{}", miss.reason);
        assert!(node.engine.propose(batch()).await.is_ok(), "it is tried again until the disk has caught up");
        assert!(futures::future::join_all(waiting).await.into_iter().all(|written| written.is_ok()));
    }
}
