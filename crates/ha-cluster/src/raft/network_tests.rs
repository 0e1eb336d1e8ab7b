//! The defaults of openraft's network trait compile and do harm; each test here fails with the default body.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use ha_net::wire::memory::MemoryNetwork;
use ha_net::{Fault, FrameStream, Gate, Handler, Incarnation, Introduction, Net, NodeId, Peer, Refusal, Service};
use openraft::errors::StreamingError;
use openraft::network::{RPCOption, RaftNetworkFactory as _};
use openraft::raft::{TransferLeaderRequest, VoteRequest};

use super::codec::{SnapshotHead, TransferAnswer, VoteAnswer, VoteRecord, get, put};
use super::network::Network;
use super::types::{Body, PeerRecord, Snapshot, SnapshotMeta, Types, Vote};
use crate::disk::faulty::FaultyDisk;
use crate::service;
use crate::snapshot::SnapshotStore;

struct Open(Introduction);

impl Gate for Open {
    fn introduce(&self) -> Introduction {
        self.0.clone()
    }

    fn admit(&self, _peer: &Introduction) -> Result<(), Refusal> {
        Ok(())
    }
}

/// A voter that has a live leader, and agrees to be handed the leadership.
struct Voter;

impl Handler for Voter {
    fn told(&self, _: &Peer, _: Service, _: Bytes) {}

    fn asked(&self, _: &Peer, service: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
        let vote = VoteRecord::from(&Vote::new_committed(7, NodeId::from(9)));
        ready(Ok(match service {
            service::RAFT_PRE_VOTE => put(&VoteAnswer { vote, last: None, granted: false }),
            _ => put(&TransferAnswer::Accepted),
        }))
        .boxed()
    }

    /// Takes a snapshot, and answers with its own vote once all of it is there.
    fn opened(&self, _: &Peer, _: Service, mut frames: FrameStream) -> BoxFuture<'static, ()> {
        async move {
            let head: SnapshotHead = get(&frames.receiver.recv().await.unwrap()).unwrap();
            let mut body = BytesMut::new();
            while (body.len() as u64) < head.bytes {
                body.extend_from_slice(&frames.receiver.recv().await.unwrap());
            }
            assert_eq!((body.len() as u64, crc32c::crc32c(&body)), (head.bytes, head.crc32c));
            frames.sender.send(put(&VoteRecord::from(&Vote::new_committed(7, NodeId::from(9))))).await.unwrap();
        }
        .boxed()
    }
}

pub(super) async fn net(network: &MemoryNetwork, number: u64) -> Net {
    net_of(network, number, Voter).await
}

pub(super) async fn net_of(network: &MemoryNetwork, number: u64, handler: impl Handler) -> Net {
    let host = format!("h{number}");
    let introduction = Introduction {
        cluster_name: "c".to_owned(),
        cluster_id: None,
        generation: 0,
        node_id: NodeId::from(number),
        incarnation: Incarnation(1),
        address: format!("{host}:7946").parse().unwrap(),
        claims: BTreeMap::new(),
    };
    let config = ha_net::Config {
        listen: SocketAddr::from(([0, 0, 0, 0], 7946)),
        bulk_connections: 1,
        connect_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(10),
        seed: number,
        secret: None,
    };
    let wire = Arc::new(network.host(&host));
    ha_net::start(config, wire, Arc::new(Open(introduction)), Arc::new(handler)).await.unwrap().0
}

async fn client_of(witness: bool) -> (super::network::Client, Net, Net) {
    let network = MemoryNetwork::new();
    let (a, b) = (net(&network, 1).await, net(&network, 2).await);
    a.learn(&NodeId::from(2), &"h2:7946".parse().unwrap());
    let mut network = Network::new(a.clone(), Arc::new(|_| ()), witness);
    (network.new_client(NodeId::from(2), &PeerRecord::default()).await, a, b)
}

async fn client() -> (super::network::Client, Net, Net) {
    client_of(false).await
}

fn option() -> RPCOption {
    RPCOption::new(Duration::from_secs(5))
}

/// The default grants without asking: pre-vote would be off, and a node that was cut off would depose a healthy leader.
#[tokio::test]
async fn a_pre_vote_is_asked_of_the_peer_and_its_refusal_counts() {
    use openraft::network::RaftNetworkV2;
    let (mut client, _a, _b) = client().await;
    let request = VoteRequest::<Types>::new(Vote::new(8, NodeId::from(1)), None);
    let answer = client.pre_vote(request, option()).await.unwrap();
    assert!(!answer.vote_granted);
    assert_eq!(answer.vote, Vote::new_committed(7, NodeId::from(9)));
}

/// The default answers that nobody can be reached: a hand-over would freeze writes until the timers help.
#[tokio::test]
async fn a_hand_over_reaches_the_peer() {
    use openraft::network::RaftNetworkV2;
    let (mut client, _a, _b) = client().await;
    let request = TransferLeaderRequest::new(Vote::new_committed(7, NodeId::from(1)), NodeId::from(2), None);
    assert_eq!(client.transfer_leader(request, option()).await.unwrap(), Ok(()));
}

/// One on disk that takes several reads, and several frames.
async fn kept() -> Snapshot {
    let store = SnapshotStore::open(Arc::new(FaultyDisk::default()), "/snapshots".into()).await.unwrap();
    store.write(Bytes::new(), (0..9).map(|n| Bytes::from(vec![n; 1_000_001]))).await.unwrap();
    let body = Body::Kept(store.newest().await.unwrap().unwrap());
    Snapshot { meta: SnapshotMeta::default(), snapshot: body }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_sent_from_the_disk_by_whoever_has_state_and_never_by_a_witness() {
    use openraft::network::RaftNetworkV2;
    let vote = Vote::new_committed(7, NodeId::from(1));
    for witness in [false, true] {
        let (mut client, _a, _b) = client_of(witness).await;
        let sent = client.full_snapshot(vote.clone(), kept().await, std::future::pending(), option()).await;
        match sent {
            Ok(answer) => assert_eq!((witness, answer.vote), (false, Vote::new_committed(7, NodeId::from(9)))),
            Err(error) => assert!(witness && matches!(error, StreamingError::Unreachable(_)), "{error}"),
        }
    }
}
