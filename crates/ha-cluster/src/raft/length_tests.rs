//! A leader whose followers are played: what it keeps of its log for one that lives and is slow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use ha_net::wire::memory::MemoryNetwork;
use ha_net::{Fault, FrameStream, Handler, NodeId, Peer, Service};

use super::codec::{AppendAnswer, SnapshotHead, VoteAnswer, VoteAsk, get, get_append, put};
use super::engine::{Engine, EngineParts};
use super::network_tests::{net, net_of};
use super::types::{LogId, PeerRecord, SnapshotMeta};
use crate::disk::faulty::FaultyDisk;
use crate::machine::{Applied, Batch, Capture, Command, Host, Machine, MachineId, Machines, Propose as _, SessionId};
use crate::snapshot::SnapshotStore;
use crate::wal::{self, Wal};
use crate::{Config, service};

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;

/// A follower that keeps nothing, and acknowledges one message of entries per pause.
#[derive(Clone, Default)]
struct Follower {
    pause: Duration,
    acknowledged: Arc<AtomicU64>,
    snapshots: Arc<AtomicUsize>,
}

impl Follower {
    fn answer(&self, last: Option<LogId>) -> Bytes {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        put(&match last {
            Some(last) if last.index > acknowledged => AppendAnswer::Conflict((&last).into()),
            last => AppendAnswer::Matched(last.as_ref().map(Into::into)),
        })
    }

    async fn append(self, mut frames: FrameStream) {
        while let Some(frame) = frames.receiver.recv().await {
            let request = get_append(frame).unwrap();
            let last = match request.entries.last() {
                Some(last) => {
                    tokio::time::sleep(self.pause).await;
                    self.acknowledged.store(last.log_id.index, Ordering::Relaxed);
                    Some(last.log_id)
                }
                None => request.prev_log_id,
            };
            if frames.sender.send(self.answer(last)).await.is_err() {
                return;
            }
        }
    }

    async fn install(self, mut frames: FrameStream) {
        let head: SnapshotHead = get(&frames.receiver.recv().await.unwrap()).unwrap();
        let mut left = head.bytes;
        while left > 0 {
            left -= frames.receiver.recv().await.unwrap().len() as u64;
        }
        let meta = SnapshotMeta::try_from(head.meta).unwrap();
        self.acknowledged.store(meta.last_log_id.unwrap().index, Ordering::Relaxed);
        self.snapshots.fetch_add(1, Ordering::Relaxed);
        frames.sender.send(put(&head.vote)).await.unwrap();
    }
}

impl Handler for Follower {
    fn told(&self, _: &Peer, _: Service, _: Bytes) {}

    fn asked(&self, _: &Peer, service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
        ready(Ok(match service {
            service::RAFT_HEARTBEAT => self.answer(get_append(body).unwrap().prev_log_id),
            _ => put(&VoteAnswer { vote: get::<VoteAsk>(&body).unwrap().vote, last: None, granted: true }),
        }))
        .boxed()
    }

    fn opened(&self, _: &Peer, service: Service, frames: FrameStream) -> BoxFuture<'static, ()> {
        match service {
            service::RAFT_APPEND => self.clone().append(frames).boxed(),
            _ => self.clone().install(frames).boxed(),
        }
    }
}

/// Takes bytes, and forgets them.
struct Sink;

impl Machine for Sink {
    const ID: MachineId = MachineId(9);
    const NAME: &'static str = "sink";
    type Command = Vec<u8>;
    type Reply = ();

    fn apply(&mut self, _: Applied, _: Vec<u8>) {}

    fn capture(&self) -> Capture {
        Box::new(std::iter::empty())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn large() -> Bytes {
    let body = crate::codec::record(&vec![0u8; 512 * KIB]);
    let command = Command { serial: 0, machine: Sink::ID, body };
    Batch { session: SessionId::NONE, acknowledged_below: 0, commands: vec![command] }.encode()
}

/// Waits until it is so, for a time.
async fn becomes(limit: Duration, is_so: impl Fn() -> bool) -> bool {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(limit, looks).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_log_is_not_kept_for_a_follower_that_lives_and_is_far_behind() {
    let network = MemoryNetwork::new();
    let quick = Follower::default();
    let slow = Follower { pause: Duration::from_millis(500), ..Follower::default() };
    let (net_1, _net_2) = (net(&network, 1).await, net_of(&network, 2, quick.clone()).await);
    let _net_3 = net_of(&network, 3, slow.clone()).await;
    let members: BTreeMap<NodeId, PeerRecord> = (1..=3)
        .map(|number| {
            let address: ha_net::Address = format!("h{number}:7946").parse().unwrap();
            net_1.learn(&NodeId::from(number), &address);
            (NodeId::from(number), PeerRecord { address, ..PeerRecord::default() })
        })
        .collect();

    let config = Config { kept_bytes: MIB, ..Config::default() };
    let log = wal::Config { segment_bytes: MIB, ..wal::Config::default() };
    let (wal, _) = Wal::open(Arc::new(FaultyDisk::default()), "/wal".into(), log).await.unwrap();
    let parts = EngineParts {
        node_id: NodeId::from(1),
        net: net_1,
        wal: wal.clone(),
        snapshots: SnapshotStore::open(Arc::new(FaultyDisk::default()), "/snapshots".into()).await.unwrap(),
        host: Host::new(Machines::new().with(Sink), false),
        witness: false,
        forgetful: Arc::new(|_| ()),
    };
    let engine = Engine::start(&config, parts).await.unwrap();
    engine.initialize(members).await.unwrap();
    engine.set_live_voters(3);
    engine.campaign().await;
    assert!(becomes(Duration::from_secs(10), || engine.leader().1).await);

    for _ in 0..80 {
        engine.propose(large()).await.unwrap();
    }
    engine.take_snapshot().await;
    let lags = |number: u64| engine.status().matched[&NodeId::from(number)];
    assert!(becomes(Duration::from_secs(5), || engine.status().snapshot_index > 70 && lags(3) > 0).await);
    assert!(lags(2) > 70 && lags(3) < 30, "{} {}", lags(2), lags(3));

    let status = engine.status();
    let upto = engine.purgeable(&status, &config, &wal, None).unwrap();
    let laggards = engine.laggards(&status, &config, &wal, upto);
    assert_eq!(laggards, [NodeId::from(3)]);
    assert!(engine.laggards(&status, &Config { kept_bytes: 20 * MIB, ..config.clone() }, &wal, upto).is_empty());
    engine.purge(upto, Vec::new()).await;
    let is_purged = || engine.status().purged_index >= upto;
    assert!(!becomes(Duration::from_secs(2), is_purged).await, "as long as the slow one answers, nothing goes");
    engine.purge(upto, laggards).await;
    assert!(becomes(Duration::from_secs(2), is_purged).await);
    assert!(engine.laggards(&engine.status(), &config, &wal, upto).is_empty(), "it waits for its snapshot");
    assert!(becomes(Duration::from_secs(5), || lags(3) >= upto).await);
    let snapshots = [&quick, &slow].map(|follower| follower.snapshots.load(Ordering::Relaxed));
    assert_eq!(snapshots, [0, 1]);
    engine.propose(large()).await.unwrap();
    assert!(becomes(Duration::from_secs(5), || lags(3) == lags(1)).await, "it follows the log again");
    engine.stop().await;
}
