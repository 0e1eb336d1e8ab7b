//! A node whose cluster is a puppet, and a caller that speaks plain HTTP/1.1 over a socket.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ha_http::{Config, Server, Token};
use ha_runtime::testing::Puppet;
use ha_runtime::{Ha, View};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing in these tests takes long; what does has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A served node.
pub struct Stage {
    pub puppet: Arc<Puppet>,
    pub ha: Ha,
    pub server: Server,
    pub caller: Caller,
}

pub async fn stage(view: View) -> Stage {
    stage_with(view, "127.0.0.1:0", None).await
}

pub async fn stage_with(view: View, listen: &str, token: Option<&str>) -> Stage {
    let puppet = Puppet::new(view);
    let ha = puppet.node();
    let token = token.map(|token| Token::new(token).unwrap());
    let config = Config { listen: listen.parse().unwrap(), token, ..Config::default() };
    let server = ha_http::listen(config).await.unwrap().serve(ha.clone());
    let caller = Caller { to: SocketAddr::from(([127, 0, 0, 1], server.local_addr().port())) };
    Stage { puppet, ha, server, caller }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    /// By its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(header, _)| *header == name).map(|(_, value)| value)
    }
}

/// Calls a server.
#[derive(Clone, Copy)]
pub struct Caller {
    pub to: SocketAddr,
}

impl Caller {
    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub async fn post_json(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, &["Content-Type: application/json"], body).await
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = self.open(method, path, headers, body).await;
        let mut bytes = Vec::new();
        // A server that refuses a body hangs up on what is still being sent; its answer comes all the same.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer in time");
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a complete head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// Sends a request and leaves the answer to be read.
    pub async fn open(&self, method: &str, path: &str, headers: &[&str], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.to).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for header in headers {
            head += &format!("{header}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses a body may hang up before it has read all of it.
        let _ = stream.write_all(body.as_bytes()).await;
        stream
    }
}

/// Reads until a text has come, and returns all that came.
pub async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    tokio::time::timeout(PATIENCE, async {
        while !String::from_utf8_lossy(&read).contains(text) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "the stream ended before {text:?} came: {:?}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&buffer[..count]);
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{text:?} did not come"));
    String::from_utf8(read).unwrap()
}
