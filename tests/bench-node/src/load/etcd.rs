//! A client of etcd: the few calls that are measured, in gRPC over HTTP/2, with the protocol's messages written by hand
//! (`rpc.proto` and `v3lock.proto` of etcd 3.4 have the numbers of the fields).

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use ha_bench_node::{Load, closed_loops, key};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{Job, What};

/// Connections that all clients share: with these etcd does best.
const CONNECTIONS: usize = 4;
/// The length of the leases of locks, in seconds.
const TTL_SECONDS: u64 = 60;
const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const LOCK: &str = "/v3lockpb.Lock/Lock";
const UNLOCK: &str = "/v3lockpb.Lock/Unlock";

type Failure = Box<dyn Error + Send + Sync>;

/// One connection. Cheap to clone.
#[derive(Clone)]
struct Connection {
    sender: SendRequest<Bytes>,
    authority: Arc<str>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { sender, authority: address.to_string().into() })
    }

    /// One call: the bytes of a message go out, those of another come in.
    async fn call(&self, path: &str, message: &[u8]) -> Result<Bytes, Failure> {
        let request = http::Request::post(format!("http://{}{path}", self.authority))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(request, false)?;
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(0);
        frame.put_u32(message.len() as u32);
        frame.put_slice(message);
        stream.send_data(frame.freeze(), true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut received = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            received.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        if trailers.get("grpc-status").is_none_or(|status| status != "0") || received.len() < 5 {
            return Err(format!("{path}: {trailers:?} {:?}", head.headers).into());
        }
        Ok(received.split_off(5).freeze())
    }
}

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(mut self, field: u8, number: u64) -> Self {
        self.0.push(field << 3);
        self.varint(number);
        self
    }

    fn bytes(mut self, field: u8, bytes: &[u8]) -> Self {
        self.0.push(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

/// A field of a received message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The first field of that number in a received message.
fn field(mut message: &[u8], wanted: u64) -> Option<Field<'_>> {
    fn varint(from: &mut &[u8]) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = from.split_first()?;
            *from = rest;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let found = match tag & 7 {
            0 => Field::Number(varint(&mut message)?),
            2 => {
                let length = varint(&mut message)? as usize;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some(found);
        }
    }
    None
}

fn number(message: &[u8], wanted: u64) -> u64 {
    match field(message, wanted) {
        Some(Field::Number(number)) => number,
        _ => 0,
    }
}

fn bytes(message: &[u8], wanted: u64) -> &[u8] {
    match field(message, wanted) {
        Some(Field::Bytes(bytes)) => bytes,
        _ => &[],
    }
}

/// The node that leads.
async fn leader(addresses: &[SocketAddr]) -> Result<SocketAddr, Failure> {
    for address in addresses {
        let status = Connection::open(*address).await?.call(STATUS, &[]).await?;
        let member = number(bytes(&status, 1), 2);
        if member != 0 && member == number(&status, 4) {
            return Ok(*address);
        }
    }
    Err("no etcd node leads".into())
}

async fn lease(connection: &Connection) -> Result<u64, Failure> {
    let granted = connection.call(GRANT, &Message::default().number(1, TTL_SECONDS).0).await?;
    Ok(number(&granted, 2))
}

/// Takes a lock; returns the key that stands for holding it.
async fn lock(connection: &Connection, name: &str, lease: u64) -> Result<Vec<u8>, Failure> {
    let message = Message::default().bytes(1, name.as_bytes()).number(2, lease);
    Ok(bytes(&connection.call(LOCK, &message.0).await?, 2).to_vec())
}

async fn unlock(connection: &Connection, key: &[u8]) -> Result<(), Failure> {
    connection.call(UNLOCK, &Message::default().bytes(1, key).0).await.map(drop)
}

pub(crate) async fn run(job: &Job, time: Duration) -> Result<Load, Box<dyn Error>> {
    run_all(job, time).await.map_err(|failure| failure.to_string().into())
}

async fn run_all(job: &Job, time: Duration) -> Result<Load, Failure> {
    let leader = leader(&job.addresses).await?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS.min(job.clients.max(2)) {
        connections.push(Connection::open(leader).await?);
    }
    if matches!(job.what, What::HandOver) {
        return hand_over(&connections, Duration::from_millis(job.queued_ms), time).await;
    }
    let mut leases = Vec::new();
    for client in 0..job.clients {
        let locks = matches!(job.what, What::Lock);
        leases.push(if locks { lease(&connections[client % connections.len()]).await? } else { 0 });
    }
    let (what, value) = (job.what, vec![b'x'; job.bytes]);
    Ok(closed_loops(job.clients, time, |client| {
        let (connection, lease) = (connections[client % connections.len()].clone(), leases[client]);
        let value: Arc<[u8]> = value.as_slice().into();
        move |operation| {
            let (connection, value) = (connection.clone(), value.clone());
            async move {
                let key = key(client, operation);
                match what {
                    What::Put | What::Record => {
                        let message = Message::default().bytes(1, key.as_bytes()).bytes(2, &value);
                        connection.call(PUT, &message.0).await.is_ok()
                    }
                    What::Get => {
                        let answer = connection.call(RANGE, &Message::default().bytes(1, key.as_bytes()).0).await;
                        answer.is_ok_and(|answer| number(&answer, 4) == 1)
                    }
                    What::Lock | What::HandOver => match lock(&connection, &format!("bench-{client}"), lease).await {
                        Ok(key) => unlock(&connection, &key).await.is_ok(),
                        Err(_) => false,
                    },
                }
            }
        }
    })
    .await)
}

/// Two clients hand one lock to and fro: from when the holder gives it back to when the other, who has queued for a
/// while, has it.
async fn hand_over(connections: &[Connection], queued: Duration, time: Duration) -> Result<Load, Failure> {
    let (one, other) = (connections[0].clone(), connections[1].clone());
    let (mut holder, mut waiter) = ((one.clone(), lease(&one).await?), (other.clone(), lease(&other).await?));
    let mut held = lock(&holder.0, "hand-over", holder.1).await?;
    let (began, mut load) = (Instant::now(), Load::default());
    while began.elapsed() < time {
        let (connection, lease) = waiter.clone();
        let waiting = tokio::spawn(async move { (lock(&connection, "hand-over", lease).await, Instant::now()) });
        tokio::time::sleep(queued).await;
        let gives = Instant::now();
        unlock(&holder.0, &held).await?;
        let (taken, at) = waiting.await?;
        held = taken?;
        load.latencies.push(at - gives);
        std::mem::swap(&mut holder, &mut waiter);
    }
    load.took = began.elapsed();
    unlock(&holder.0, &held).await?;
    Ok(load)
}
