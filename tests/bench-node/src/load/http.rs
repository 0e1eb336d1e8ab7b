//! A client of our HTTP that keeps its connection.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ha_bench_node::{Load, closed_loops, key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::{Job, What};

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(4096) })
    }

    /// Sends one request, and returns the status and the body of its answer.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.read.clear();
        let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.read[..end]).map_err(|_| invalid())?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.parse().ok()).ok_or_else(invalid)?;
            if self.read.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
                return Ok((status, String::from_utf8_lossy(&self.read[end + 4..]).into_owned()));
            }
        }
    }
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
                        matches!(connection.ask("PUT", &path, &body).await, Ok((200, _)))
                    }
                    What::Record => {
                        let path = format!("/v1/replication/bench/{run}-{client}-{operation}");
                        matches!(connection.ask("PUT", &path, &body).await, Ok((200, _)))
                    }
                    What::Get => {
                        let path = format!("/v1/state/{}", key(client, operation));
                        matches!(connection.ask("GET", &path, "").await, Ok((200, _)))
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
    let (status, body) = connection.ask("POST", &path, "").await.ok()?;
    let granted: serde_json::Value = serde_json::from_str(&body).ok()?;
    let id = granted["lock_id"].as_str().filter(|_| status == 200)?;
    let (status, _) = connection.ask("DELETE", &format!("{path}/{id}"), "").await.ok()?;
    (status == 200).then_some(())
}
