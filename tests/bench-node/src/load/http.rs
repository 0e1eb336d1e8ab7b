//! A client of our HTTP that keeps its connection.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ha_bench_node::{Load, closed_loops, key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::{Job, What};

/// What it does between two answers takes from the nodes, on the same processors, what they are measured with: it
/// writes and reads in place.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    read: Vec<u8>,
    /// Where the body of the last answer begins.
    body_at: usize,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::with_capacity(4096), read: Vec::with_capacity(4096), body_at: 0 })
    }

    /// Sends one request, and returns the status of its answer.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<u16> {
        self.request.clear();
        write!(
            self.request,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        self.request.extend_from_slice(body.as_bytes());
        self.stream.write_all(&self.request).await?;
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((status, body_at)) = whole(&self.read)? {
                self.body_at = body_at;
                return Ok(status);
            }
        }
    }

    fn body(&self) -> &[u8] {
        &self.read[self.body_at..]
    }
}

/// The status of an answer and where its body begins, when all of it is there.
fn whole(read: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, body_at) = (std::str::from_utf8(&read[..end]).map_err(|_| invalid())?, end + 4);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.parse().ok()).ok_or_else(invalid)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
    Ok((read.len() >= body_at + length).then_some((status, body_at)))
}

/// Each client has a connection of its own, to one node after the other.
pub(crate) async fn run(job: &Job, time: Duration) -> Result<Load, Box<dyn Error>> {
    let mut connections = Vec::new();
    for client in 0..job.clients {
        let address = job.addresses[client % job.addresses.len()];
        connections.push(Arc::new(Mutex::new(Connection::open(address).await?)));
    }
    let what = job.what;
    let body: Arc<str> = match what {
        What::Record => format!("\"{}\"", "x".repeat(job.bytes.saturating_sub(2))).into(),
        _ => format!("{{\"value\":\"{}\"}}", "x".repeat(job.bytes)).into(),
    };
    // The ids of two runs must differ.
    let run = std::process::id();
    Ok(closed_loops(job.clients, time, |client| {
        let (connection, body) = (connections[client].clone(), body.clone());
        move |operation| {
            let (connection, body) = (connection.clone(), body.clone());
            async move {
                let mut connection = connection.lock().await;
                match what {
                    What::Put => {
                        let path = format!("/v1/state/{}", key(client, operation));
                        matches!(connection.ask("PUT", &path, &body).await, Ok(200))
                    }
                    What::Record => {
                        let path = format!("/v1/replication/bench/{run}-{client}-{operation}");
                        matches!(connection.ask("PUT", &path, &body).await, Ok(200))
                    }
                    What::Get => {
                        let path = format!("/v1/state/{}", key(client, operation));
                        matches!(connection.ask("GET", &path, "").await, Ok(200))
                    }
                    What::Lock | What::HandOver => cycle(&mut connection, client).await.is_some(),
                }
            }
        }
    })
    .await)
}

/// Takes and gives back a lock of the client's own.
async fn cycle(connection: &mut Connection, client: usize) -> Option<()> {
    let path = format!("/v1/locks/bench-{client}");
    let status = connection.ask("POST", &path, "").await.ok()?;
    let granted: serde_json::Value = serde_json::from_slice(connection.body()).ok()?;
    let id = granted["lock_id"].as_str().filter(|_| status == 200)?;
    let status = connection.ask("DELETE", &format!("{path}/{id}"), "").await.ok()?;
    (status == 200).then_some(())
}
