//! What a request costs: `ask` over loopback TCP, beside a ping-pong of the same bytes over a bare tokio socket.
//!
//! Client and server have a runtime each, as two processes would. The median of all round trips is printed too. Then
//! the same with many askers at once, and the time of one MiB in a stream of frames.

#![allow(missing_docs, reason = "criterion makes the entry point")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures::future::BoxFuture;
use ha_net::wire::TcpWire;
use ha_net::{
    Address, Config, Fault, FrameStream, Gate, Handler, Incarnation, Introduction, Lane, Net, NodeId, Peer, Refusal,
    Service, start,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::Instant;

const BODY_BYTES: usize = 256;
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct Open(NodeId);

impl Gate for Open {
    fn introduce(&self) -> Introduction {
        Introduction {
            cluster_name: "bench".to_owned(),
            cluster_id: None,
            generation: 0,
            node_id: self.0.clone(),
            incarnation: Incarnation(1),
            address: Address::from(LOOPBACK),
            claims: BTreeMap::new(),
        }
    }

    fn admit(&self, _peer: &Introduction) -> Result<(), Refusal> {
        Ok(())
    }
}

struct Echo;

impl Handler for Echo {
    fn told(&self, _from: &Peer, _service: Service, _body: Bytes) {}

    fn asked(&self, _from: &Peer, _service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
        Box::pin(async { Ok(body) })
    }

    fn opened(&self, _from: &Peer, _service: Service, mut frames: FrameStream) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while frames.receiver.recv().await.is_some() {}
            let _ = frames.sender.send(Bytes::from_static(b"done")).await;
        })
    }
}

async fn node(name: &str) -> Net {
    let gate = Arc::new(Open(name.parse().expect("a name")));
    let config = Config { listen: LOOPBACK, ..Config::default() };
    start(config, Arc::new(TcpWire), gate, Arc::new(Echo)).await.expect("a free port").0
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

async fn echo_raw(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.expect("a client");
    stream.set_nodelay(true).expect("an open socket");
    let mut bytes = [0; BODY_BYTES];
    while stream.read_exact(&mut bytes).await.is_ok() {
        stream.write_all(&bytes).await.expect("an open socket");
    }
}

async fn ping_raw(stream: &mut TcpStream, trips: &mut Vec<Duration>, count: u64) {
    let mut bytes = [7; BODY_BYTES];
    for _ in 0..count {
        let began = Instant::now();
        stream.write_all(&bytes).await.expect("an open socket");
        stream.read_exact(&mut bytes).await.expect("an open socket");
        trips.push(began.elapsed());
    }
}

async fn ask_all(net: &Net, to: &NodeId, trips: &mut Vec<Duration>, count: u64) {
    let body = Bytes::from(vec![7; BODY_BYTES]);
    for _ in 0..count {
        let began = Instant::now();
        let answer = net.ask(to, Lane::Bulk(0), Service(1), body.clone(), Duration::from_secs(5)).await;
        assert_eq!(answer.expect("an answer").len(), BODY_BYTES);
        trips.push(began.elapsed());
    }
}

fn report(name: &str, mut trips: Vec<Duration>) {
    trips.sort();
    let at = |share: usize| trips.get(trips.len() * share / 1000).copied().unwrap_or_default();
    println!("{name}: p50 {:?}, p99 {:?}, p99.9 {:?} of {} round trips", at(500), at(990), at(999), trips.len());
}

fn round_trip(criterion: &mut Criterion) {
    let (client, server) = (runtime(), runtime());
    let mut group = criterion.benchmark_group("round_trip");

    let mut trips = Vec::new();
    let listener = server.block_on(TcpListener::bind(LOOPBACK)).expect("a free port");
    let address = listener.local_addr().expect("a port");
    server.spawn(echo_raw(listener));
    let mut stream = Some(client.block_on(TcpStream::connect(address)).expect("a server"));
    stream.as_mut().expect("just made").set_nodelay(true).expect("an open socket");
    group.bench_function("raw", |bencher| {
        bencher.iter_custom(|count| {
            let mut own = stream.take().expect("put back below");
            let (own, some) = client
                .block_on(client.spawn(async move {
                    let mut trips = Vec::with_capacity(count as usize);
                    ping_raw(&mut own, &mut trips, count).await;
                    (own, trips)
                }))
                .expect("no panic");
            stream = Some(own);
            let sum = some.iter().sum();
            trips.extend(some);
            sum
        });
    });
    report("raw", trips);

    let mut trips = Vec::new();
    let far = server.block_on(node("far"));
    let near = client.block_on(node("near"));
    let to: NodeId = "far".parse().expect("a name");
    near.learn(&to, &far.local_addr().into());
    group.bench_function("ask", |bencher| {
        bencher.iter_custom(|count| {
            let (near, to) = (near.clone(), to.clone());
            let some = client
                .block_on(client.spawn(async move {
                    let mut trips = Vec::with_capacity(count as usize);
                    ask_all(&near, &to, &mut trips, count).await;
                    trips
                }))
                .expect("no panic");
            let sum = some.iter().sum();
            trips.extend(some);
            sum
        });
    });
    report("ask", trips);

    group.bench_function("ask_by_64_at_once", |bencher| {
        bencher.iter_custom(|count| {
            let (near, to) = (near.clone(), to.clone());
            let began = Instant::now();
            client.block_on(async {
                let askers = (0..64).map(|_| {
                    let (near, to) = (near.clone(), to.clone());
                    client.spawn(async move { ask_all(&near, &to, &mut Vec::new(), count.div_ceil(64)).await })
                });
                futures::future::join_all(askers).await
            });
            began.elapsed()
        });
    });
    group.bench_function("stream_one_mib", |bencher| {
        bencher.iter_custom(|count| {
            let (near, to) = (near.clone(), to.clone());
            client.block_on(async {
                let mut stream = near.open(&to, Lane::Bulk(0), Service(2)).await.expect("a stream");
                let frame = Bytes::from(vec![7; 64 * 1024]);
                let began = Instant::now();
                for _ in 0..count * 16 {
                    stream.sender.send(frame.clone()).await.expect("an open stream");
                }
                drop(stream.sender);
                assert_eq!(stream.receiver.recv().await.as_deref(), Some(&b"done"[..]));
                began.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).sample_size(30);
    targets = round_trip
}
criterion_main!(benches);
