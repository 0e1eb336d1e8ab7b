//! What other nodes' openraft asks of this one.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt};
use ha_net::{Fault, FrameStream, NodeId, Service};
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::{StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest, VoteRequest};
use tokio::time::{Instant, timeout};

use super::belief::{believe_last, believe_leader};
use super::codec::{
    AppendAnswer, NotARecord, SnapshotHead, TransferAnswer, TransferAsk, VoteAnswer, VoteAsk, VoteRecord, get,
    get_append, put, term_of,
};
use super::engine::Engine;
use super::types::{Body, Snapshot, SnapshotMeta, Types, Vote};
use crate::service;

/// How long the leader may take for the next part of a snapshot.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(30);

/// Largest snapshot that is taken from a peer.
pub(super) const SNAPSHOT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// The next part of a snapshot.
async fn part(frames: &mut FrameStream) -> Result<Bytes, Fault> {
    match timeout(SNAPSHOT_PATIENCE, frames.receiver.recv()).await {
        Ok(Some(part)) => Ok(part),
        Ok(None) => Err(fault("it ended before its last byte")),
        Err(_) => Err(fault("its next part did not come in time")),
    }
}

fn fault(error: impl ToString) -> Fault {
    Fault { message: error.to_string() }
}

impl Engine {
    /// Whether this engine serves a message.
    pub(crate) fn serves(service: Service) -> bool {
        (service::RAFT_APPEND..=service::READ_INDEX).contains(&service)
    }

    /// Answers a peer's question.
    pub(crate) async fn asked(&self, from: &NodeId, service: Service, body: Bytes) -> Result<Bytes, Fault> {
        match service {
            service::RAFT_HEARTBEAT => self.heartbeat(from, body).await,
            service::RAFT_VOTE | service::RAFT_PRE_VOTE => {
                self.vote(from, service, get(&body).map_err(fault)?).await.map(|a| put(&a))
            }
            service::RAFT_TRANSFER => self.transfer(from, get(&body).map_err(fault)?).await.map(|a| put(&a)),
            service::PROPOSE => Ok(self.proposed(from, body).await),
            service::READ_INDEX => self.read_index().await.map(|index| put(&index)).map_err(fault),
            _ => Err(fault(format!("this version has no service {}", service.0))),
        }
    }

    /// Serves a stream to its end.
    pub(crate) async fn opened(&self, from: &NodeId, service: Service, frames: FrameStream) {
        if *self.ended.borrow() {
            return;
        }
        match service {
            service::RAFT_APPEND => self.appends(from, frames).await,
            service::RAFT_SNAPSHOT => {
                if let Err(fault) = self.snapshot(from, frames).await {
                    self.lines.warn(&format_args!("a snapshot from {from} was not taken: {fault}"));
                }
            }
            _ => tracing::debug!("{from} opened service {}, which this version does not have", service.0),
        }
    }

    /// The answer to an append message of a stream, or a heartbeat, that began then.
    fn answer(&self, began: Instant, result: StreamAppendResult<Types>) -> AppendAnswer {
        match result {
            Ok(last) => {
                self.guard.arm(began);
                AppendAnswer::Matched(last.as_ref().map(Into::into))
            }
            Err(StreamAppendError::Conflict(at)) => {
                self.guard.arm(began);
                AppendAnswer::Conflict((&at).into())
            }
            Err(StreamAppendError::HigherVote(vote)) => AppendAnswer::HigherVote((&vote).into()),
        }
    }

    async fn heartbeat(&self, from: &NodeId, body: Bytes) -> Result<Bytes, Fault> {
        let began = Instant::now();
        // Openraft would write a line of its own about each.
        if *self.ended.borrow() {
            return Err(fault("the consensus has stopped"));
        }
        let request = get_append(body).map_err(fault)?;
        self.believe_append(from, &request)?;
        let mut answers = pin!(self.raft.stream_append(futures::stream::iter([request])));
        match answers.next().await {
            Some(Ok(result)) => Ok(put(&self.answer(began, result))),
            Some(Err(fatal)) => Err(fault(fatal)),
            None => Err(fault("the node is stopping")),
        }
    }

    async fn appends(&self, from: &NodeId, frames: FrameStream) {
        let began = Instant::now();
        let FrameStream { sender, receiver } = frames;
        let asker = (self.clone(), from.clone());
        let requests = futures::stream::unfold((receiver, asker), |(mut receiver, asker)| async {
            let request = get_append(receiver.recv().await?).map_err(fault);
            match request.and_then(|request| asker.0.believe_append(&asker.1, &request).map(|()| request)) {
                Ok(request) => Some((request, (receiver, asker))),
                Err(error) => {
                    asker.0.lines.warn(&format_args!("an append stream of {} ends: {error}", asker.1));
                    None
                }
            }
        });
        let mut answers = pin!(self.raft.stream_append(requests.boxed()));
        while let Some(Ok(result)) = answers.next().await {
            let last = result.is_err();
            if sender.send(put(&self.answer(began, result))).await.is_err() || last {
                return;
            }
        }
    }

    async fn vote(&self, from: &NodeId, service: Service, ask: VoteAsk) -> Result<VoteAnswer, Fault> {
        let vote = Vote::from(ask.vote);
        self.believe(from, &vote)?;
        let mut request = VoteRequest::<Types>::new(vote, ask.last.map(Into::into));
        request.leadership_transfer = ask.leadership_transfer;
        if self.guard.is_armed() && !request.leadership_transfer {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            // Refused with our own vote, which openraft takes for "a live leader stands before you".
            return Ok(VoteAnswer { vote: (&metrics.vote).into(), last: None, granted: false });
        }
        let answer = if service == service::RAFT_PRE_VOTE {
            self.raft.pre_vote(request).await
        } else {
            self.raft.vote(request).await
        };
        let answer = answer.map_err(fault)?;
        Ok(VoteAnswer {
            vote: (&answer.vote).into(),
            last: answer.last_log_id.as_ref().map(Into::into),
            granted: answer.vote_granted,
        })
    }

    async fn transfer(&self, from: &NodeId, ask: TransferAsk) -> Result<TransferAnswer, Fault> {
        let vote = Vote::from(ask.from);
        self.believe(from, &vote)?;
        let current = self.raft.metrics().borrow_watched().vote.clone();
        if vote == current {
            // The leader itself asks to be followed by another: its lease protects it no longer.
            self.guard.drop_lease();
        }
        let request = TransferLeaderRequest::<Types>::new(vote, ask.to, ask.last.map(Into::into));
        let record = |vote: &Vote| VoteRecord::from(vote);
        Ok(match self.raft.handle_transfer_leader(request).await.map_err(fault)? {
            Ok(()) => TransferAnswer::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                TransferAnswer::VoteChanged { expected: record(&expected), actual: record(&actual) }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => TransferAnswer::LogNotFlushed {
                expected: expected.as_ref().map(Into::into),
                actual: actual.as_ref().map(Into::into),
            },
        })
    }

    async fn snapshot(&self, from: &NodeId, mut frames: FrameStream) -> Result<(), Fault> {
        // All of it is kept in memory until it is whole.
        let Ok(_turn) = self.receiving.try_acquire() else { return Err(fault("another one is being received")) };
        let head: SnapshotHead = get(&part(&mut frames).await?).map_err(fault)?;
        let vote = Vote::from(head.vote);
        self.believe(from, &vote)?;
        let current = self.raft.metrics().borrow_watched().vote.clone();
        if vote < current {
            // What the consensus would answer, with the last byte.
            let _ = frames.sender.send(put(&VoteRecord::from(&current))).boxed().await;
            return Ok(());
        }
        let meta: SnapshotMeta = head.meta.try_into().map_err(|e: NotARecord| fault(e))?;
        believe_leader(from, &vote, meta.last_log_id.as_ref().map(term_of)).map_err(fault)?;
        if head.bytes > SNAPSHOT_BYTES_MAX {
            return Err(fault(format!("{} bytes are more than {SNAPSHOT_BYTES_MAX}", head.bytes)));
        }
        let began = Instant::now();
        let mut body = BytesMut::new();
        while (body.len() as u64) < head.bytes {
            body.extend_from_slice(&part(&mut frames).await?);
        }
        if body.len() as u64 != head.bytes || crc32c::crc32c(&body) != head.crc32c {
            return Err(fault("its checksum does not fit"));
        }
        let body = body.freeze();
        self.host.check_image(&body).map_err(fault)?;
        let committed = self.raft.with_raft_state(|state| state.local_committed().cloned()).await.map_err(fault)?;
        believe_last(from, meta.last_log_id.as_ref(), committed.as_ref()).map_err(fault)?;
        let snapshot = Snapshot { meta, snapshot: Body::Whole(body) };
        let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(fault)?;
        self.guard.arm(began);
        // The leader may have gone meanwhile; it will ask again.
        let _ = frames.sender.send(put(&VoteRecord::from(&answer.vote))).boxed().await;
        Ok(())
    }
}
