//! What openraft asks of other nodes.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use ha_net::{AskError, FrameReceiver, FrameSender, Lane, Net, NodeId, Service};
use openraft::base::BoxFuture;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Mutex, Notify};

use super::belief::{Unbelievable, believe_term};
use super::codec::{
    AppendAnswer, AppendRequest, NotARecord, TransferAnswer, TransferAsk, VoteAnswer, VoteAsk, VoteRecord, get, put,
    put_append,
};
use super::memory::{Memory, Sent};
use super::sending::Sender;
use super::types::{Body, PeerRecord, Snapshot, Types, Vote};
use crate::service;

/// Append messages in flight on one stream.
const APPENDS_IN_FLIGHT_MAX: usize = 256;
/// How long one append message may stay unanswered: far above a disk's stall, since heartbeats watch over the peer.
const APPEND_PATIENCE: Duration = Duration::from_secs(10);
/// How often a message without entries steps back for everything else that can run. Between an acknowledgement and
/// the next entry lie the machine, those who were answered, and whoever gathers what they ask next; each may wait for
/// such a round itself.
const ROUNDS_WITHOUT_ENTRIES: usize = 4;

pub(super) type RpcError = RPCError<Types>;

/// The streams of entries to followers, each of which can be ended. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<std::sync::Mutex<BTreeMap<NodeId, Arc<Notify>>>>);

impl Streams {
    fn of(&self, target: &NodeId) -> Arc<Notify> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(target.clone()).or_default().clone()
    }

    /// Ends the stream to a node, if there is one: openraft sends that node a snapshot then when the log that it lacks is
    /// to be purged.
    pub(super) fn end(&self, target: &NodeId) {
        self.of(target).notify_waiters();
    }
}

/// The follower is so far behind that the log is not kept for it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it is too far behind")]
struct TooFarBehind;

/// Hands out clients.
pub(crate) struct Network {
    net: Net,
    memory: Arc<Memory>,
    streams: Streams,
    snapshots: Sender,
}

impl Network {
    /// Calls `forgetful` with a node that refuses what it has acknowledged. A witness sends no snapshots.
    pub(crate) fn new(net: Net, forgetful: Arc<dyn Fn(&NodeId) + Send + Sync>, witness: bool) -> Self {
        let (memory, snapshots) = (Arc::new(Memory::new(forgetful)), Sender::new(net.clone(), witness));
        Self { memory, streams: Streams::default(), snapshots, net }
    }

    /// What followers have answered to this node's messages.
    pub(super) fn memory(&self) -> Arc<Memory> {
        self.memory.clone()
    }

    /// The streams of entries from this node.
    pub(super) fn streams(&self) -> Streams {
        self.streams.clone()
    }

    fn client(&self, target: NodeId, node: &PeerRecord, appends: Appends) -> Client {
        let (net, memory, snapshots) = (self.net.clone(), self.memory.clone(), self.snapshots.clone());
        let streams = self.streams.clone();
        Client { net, memory, streams, snapshots, target, disk: node.disk, appends }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, node: &PeerRecord) -> Client {
        self.client(target, node, Appends::Streamed)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &PeerRecord) -> Client {
        self.client(target, node, Appends::Asked)
    }
}

/// How a client carries append messages.
#[derive(Clone, Copy)]
enum Appends {
    /// Entries: pipelined on a stream.
    Streamed,
    /// Heartbeats: each asked on the control lane, so that no entry stands before it.
    Asked,
}

/// Asks one node.
pub(crate) struct Client {
    net: Net,
    memory: Arc<Memory>,
    streams: Streams,
    snapshots: Sender,
    target: NodeId,
    /// With which it joined.
    disk: u64,
    appends: Appends,
}

impl Client {
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        to: Service,
        question: &Q,
        option: &RPCOption,
    ) -> Result<A, RpcError> {
        let answer = self.net.ask(&self.target, Lane::Control, to, put(question), option.soft_ttl()).await;
        get(&answer.map_err(failed)?).map_err(garbled)
    }

    async fn vote_in(&self, service: Service, rpc: VoteRequest<Types>, option: RPCOption) -> VoteResult {
        let ask = VoteAsk {
            vote: (&rpc.vote).into(),
            last: rpc.last_log_id.as_ref().map(Into::into),
            leadership_transfer: rpc.leadership_transfer,
        };
        let answer: VoteAnswer = self.ask(service, &ask, &option).await?;
        Ok(VoteResponse::new(
            believed(answer.vote, term_of(&rpc.vote)).map_err(unbelievable)?,
            answer.last.map(Into::into),
            answer.granted,
        ))
    }

    async fn heartbeat(
        &self,
        request: AppendRequest,
        option: RPCOption,
    ) -> Result<StreamAppendResult<Types>, RpcError> {
        let (body, sent) = (put_append(&request), Sent::now(&request));
        let answer = self.net.ask(&self.target, Lane::Control, service::RAFT_HEARTBEAT, body, option.soft_ttl()).await;
        self.memory.check((&self.target, self.disk), sent, append_result(&answer.map_err(failed)?, sent.term)?)
    }
}

type Answer = Result<StreamAppendResult<Types>, RpcError>;
type VoteResult = Result<VoteResponse<Types>, RpcError>;

/// Never sent is `Unreachable`, at which openraft backs off; lost on the way is retried sooner.
fn failed(error: AskError) -> RpcError {
    match error {
        AskError::NotSent { .. } => RPCError::Unreachable(Unreachable::new(&error)),
        _ => RPCError::Network(NetworkError::new(&error)),
    }
}

fn garbled(error: NotARecord) -> RpcError {
    RPCError::Network(NetworkError::new(&error))
}

pub(super) fn term_of(vote: &Vote) -> u64 {
    vote.leader_id.term
}

/// The vote that came in answer to one of this term.
pub(super) fn believed(answer: VoteRecord, term: u64) -> Result<Vote, Unbelievable> {
    let vote = Vote::from(answer);
    believe_term(term_of(&vote), term).map(|()| vote)
}

fn unbelievable(error: Unbelievable) -> RpcError {
    RPCError::Network(NetworkError::new(&error))
}

fn ended() -> RpcError {
    RPCError::Network(NetworkError::new(&ha_net::StreamEnded))
}

fn append_result(answer: &[u8], term: u64) -> Result<StreamAppendResult<Types>, RpcError> {
    Ok(match get(answer).map_err(garbled)? {
        AppendAnswer::Matched(last) => Ok(last.map(Into::into)),
        AppendAnswer::Conflict(at) => Err(StreamAppendError::Conflict(at.into())),
        AppendAnswer::HigherVote(vote) => {
            Err(StreamAppendError::HigherVote(believed(vote, term).map_err(unbelievable)?))
        }
    })
}

/// Both ends of the stream to a follower, opened with the first message: openraft backs off inside its input, so
/// connecting before that input is polled would turn an absent peer into a busy loop.
struct AppendStream {
    net: Net,
    target: NodeId,
    sender: Option<FrameSender>,
    receiver: Arc<Mutex<Option<FrameReceiver>>>,
}

impl AppendStream {
    async fn send(&mut self, request: AppendRequest) -> Result<(), RpcError> {
        if self.sender.is_none() {
            let frames = self.net.open(&self.target, service::APPEND_LANE, service::RAFT_APPEND).await;
            let frames = frames.map_err(failed)?;
            *self.receiver.lock().await = Some(frames.receiver);
            self.sender = Some(frames.sender);
        }
        let sender = self.sender.as_ref().ok_or_else(ended)?;
        sender.send(put_append(&request)).await.map_err(|_| ended())
    }
}

/// The next message. One that only tells what is committed steps back a few times for whatever else can run, and is
/// left out when entries follow by then: they tell it too, and their answer is the answer to both. So a client that
/// proposes again as soon as it has its answer costs each follower one message per entry, and not two.
async fn worth_sending(input: &mut (impl Stream<Item = AppendRequest> + Unpin)) -> Option<AppendRequest> {
    let mut request = input.next().await?;
    for _ in 0..ROUNDS_WITHOUT_ENTRIES {
        if !request.entries.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            next = input.next() => match next {
                Some(next) => request = next,
                // The input has ended.
                None => break,
            },
            () = tokio::task::yield_now() => {}
        }
    }
    Some(request)
}

/// Answers, until the stream is to end.
fn until<'s>(answers: BoxStream<'s, Answer>, ended: OwnedNotified) -> impl Stream<Item = Answer> + Send + 's {
    futures::stream::unfold(Some((answers, Box::pin(ended))), |state| async {
        let (mut answers, mut ended) = state?;
        tokio::select! {
            biased;
            answer = answers.next() => Some((answer?, Some((answers, ended)))),
            () = &mut ended => Some((Err(RPCError::Unreachable(Unreachable::new(&TooFarBehind))), None)),
        }
    })
}

async fn next_answer(
    receiver: &Mutex<Option<FrameReceiver>>,
    term: u64,
) -> Result<StreamAppendResult<Types>, RpcError> {
    let receive = async {
        let mut receiver = receiver.lock().await;
        match receiver.as_mut() {
            Some(frames) => frames.recv().await.ok_or_else(ended),
            None => Err(ended()),
        }
    };
    let frame = tokio::time::timeout(APPEND_PATIENCE, receive).await.map_err(|_| ended())??;
    append_result(&frame, term)
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Body;

    async fn append_entries(
        &mut self,
        rpc: AppendRequest,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RpcError> {
        let last = rpc.entries.last().map(|e| e.log_id).or(rpc.prev_log_id);
        Ok(match self.heartbeat(rpc, option).await? {
            Ok(matched) if matched == last => AppendEntriesResponse::Success,
            Ok(matched) => AppendEntriesResponse::PartialSuccess(matched),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<openraft::base::BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        let answers: BoxStream<'s, _> = match self.appends {
            Appends::Asked => {
                let client = &*self;
                input.then(move |request| client.heartbeat(request, option.clone())).boxed()
            }
            Appends::Streamed => {
                let receiver: Arc<Mutex<Option<FrameReceiver>>> = Arc::default();
                let (net, target) = (self.net.clone(), self.target.clone());
                let stream = AppendStream { net, target, sender: None, receiver: receiver.clone() };
                let sent = futures::stream::unfold((input.fuse(), stream), |(mut input, mut stream)| async {
                    let request = worth_sending(&mut input).await?;
                    let sent = Sent::now(&request);
                    let sent = stream.send(request).await.map(|()| sent);
                    Some((sent, (input, stream)))
                });
                let ended = self.streams.of(&self.target).notified_owned();
                let (memory, target, disk) = (self.memory.clone(), self.target.clone(), self.disk);
                let answers = sent
                    .map(move |sent| {
                        let (receiver, memory, target) = (receiver.clone(), memory.clone(), target.clone());
                        async move {
                            let sent = sent?;
                            memory.check((&target, disk), sent, next_answer(&receiver, sent.term).await?)
                        }
                    })
                    .buffered(APPENDS_IN_FLIGHT_MAX);
                until(answers.boxed(), ended).boxed()
            }
        };
        futures::future::ready(Ok(answers)).boxed()
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> VoteResult {
        self.vote_in(service::RAFT_VOTE, rpc, option).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> VoteResult {
        self.vote_in(service::RAFT_PRE_VOTE, rpc, option).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        let term = term_of(req.from_leader());
        let ask = TransferAsk {
            from: req.from_leader().into(),
            to: req.to_node_id().clone(),
            last: req.last_log_id().map(Into::into),
        };
        Ok(match self.ask(service::RAFT_TRANSFER, &ask, &option).await? {
            TransferAnswer::Accepted => Ok(()),
            TransferAnswer::VoteChanged { expected, actual } => {
                let believed = |vote| believed(vote, term).map_err(unbelievable);
                let (expected, actual) = (believed(expected)?, believed(actual)?);
                Err(TransferLeaderError::VoteChanged { expected, actual })
            }
            TransferAnswer::LogNotFlushed { expected, actual } => Err(TransferLeaderError::LogNotFlushed {
                expected: expected.map(Into::into),
                actual: actual.map(Into::into),
            }),
        })
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sent = self.snapshots.send(&self.target, &vote, &snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = sent => Ok(SnapshotResponse::new(answer?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use futures::stream;

    use super::*;
    use crate::raft::types::{Entry, LogId};

    fn append(committed: u64, entries: Vec<Entry>) -> AppendRequest {
        let leader_commit = Some(LogId::new_term_index(7, committed));
        AppendRequest { vote: Vote::new_committed(7, NodeId::from(1)), prev_log_id: None, leader_commit, entries }
    }

    #[tokio::test]
    async fn what_is_committed_is_told_by_the_entries_that_follow() {
        let (sender, mut input) = mpsc::unbounded();
        sender.unbounded_send(append(5, Vec::new())).unwrap();
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            let entry = Entry { log_id: LogId::new_term_index(7, 6), payload: openraft::EntryPayload::Blank };
            sender.unbounded_send(append(5, vec![entry])).unwrap();
        });
        let sent = worth_sending(&mut input).await.unwrap();
        assert_eq!(sent.entries.len(), 1);
    }

    #[tokio::test]
    async fn what_is_committed_is_told_alone_when_no_entries_follow() {
        let told = async |mut input: BoxStream<'static, AppendRequest>| {
            worth_sending(&mut input).await.and_then(|sent| sent.leader_commit).map(|committed| committed.index)
        };
        let only = |committed: u64| stream::iter([append(committed, Vec::new())]);
        assert_eq!(told(only(5).boxed()).await, Some(5), "the input has ended");
        assert_eq!(told(only(5).chain(stream::pending()).boxed()).await, Some(5), "nothing comes");
        let news = stream::iter(5..).map(|committed| append(committed, Vec::new()));
        assert!(told(news.boxed()).await.is_some_and(|committed| committed < 20), "always something newer");
    }
}
