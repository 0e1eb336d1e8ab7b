//! A node whose cluster is a puppet, and a caller that speaks plain HTTP/1.1 over a socket.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use ha_http::{Config, Server, Token};
use ha_runtime::{
    Address, ClusterHandle, ClusterId, ClusterSeat, Epoch, Event, Ha, Incarnation, Member, MemberRole, MemberState,
    Node, NodeId, Rooms, Term, TransferError, View, Votes,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, watch};

/// Nothing in these tests takes long; what does has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The strings that move the puppet.
pub struct Puppet {
    pub view: watch::Sender<Arc<View>>,
    pub events: broadcast::Sender<Event>,
    pub transfers: Mutex<Vec<Option<NodeId>>>,
    pub transfer_answer: Mutex<Result<Node, TransferError>>,
    pub stopped: watch::Sender<bool>,
}

impl Puppet {
    pub fn new(view: View) -> Arc<Self> {
        Arc::new(Self {
            view: watch::Sender::new(Arc::new(view)),
            events: broadcast::Sender::new(4),
            transfers: Mutex::default(),
            transfer_answer: Mutex::new(Err(TransferError::NoLeader)),
            stopped: watch::Sender::new(false),
        })
    }

    pub fn show(&self, view: View) {
        self.view.send_replace(Arc::new(view));
    }

    pub fn happen(&self, number: u64, kind: &'static str, message: &str) {
        self.events.send(Event { number, kind, message: message.to_owned() }).unwrap();
    }
}

impl ClusterSeat for Puppet {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn transfer_leader(&self, to: Option<NodeId>) -> BoxFuture<'_, Result<Node, TransferError>> {
        self.transfers.lock().unwrap().push(to);
        Box::pin(std::future::ready(self.transfer_answer.lock().unwrap().clone()))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.stopped.send_replace(true);
        Box::pin(std::future::ready(()))
    }
}

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
    let rooms = Rooms { cluster: true, ..Rooms::default() };
    let ha = Ha::assemble(rooms, ClusterHandle::new(puppet.clone()));
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
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer in time").unwrap();
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

pub fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn member(node: &str, port: u16, role: MemberRole) -> Member {
    Member {
        node_id: id(node),
        address: "10.0.0.1".to_owned(),
        port,
        state: MemberState::Alive,
        role,
        priority: 100,
        voter: true,
    }
}

/// Three members; this is node-1, and it leads.
pub fn healthy() -> View {
    let address: Address = "10.0.0.1:7946".parse().unwrap();
    View {
        cluster_id: Some(ClusterId(0xabc)),
        cluster_name: "default".to_owned(),
        node_id: id("node-1"),
        incarnation: Incarnation(3),
        address: address.clone(),
        role: Some(MemberRole::Leader),
        term: Term(4),
        epoch: Epoch(17),
        leader: Some(Node::new(id("node-1"), &address)),
        leader_is_live: true,
        members: vec![
            member("node-1", 7946, MemberRole::Leader),
            member("node-2", 7947, MemberRole::Follower),
            member("node-3", 7948, MemberRole::Follower),
        ],
        votes: Votes { have: 3, need: 2 },
        waiting_for: None,
        stopped: None,
    }
}

/// As [`healthy`], seen from node-2.
pub fn follower() -> View {
    View { node_id: id("node-2"), role: Some(MemberRole::Follower), ..healthy() }
}

/// node-3 is gone.
pub fn degraded() -> View {
    let mut view = View { votes: Votes { have: 2, need: 2 }, ..healthy() };
    view.members[2].state = MemberState::Failed;
    view
}

/// Only this node is left.
pub fn no_quorum() -> View {
    let mut view = View {
        role: Some(MemberRole::Follower),
        leader: None,
        leader_is_live: false,
        votes: Votes { have: 1, need: 2 },
        ..healthy()
    };
    view.members[0].role = MemberRole::Follower;
    view.members[1].state = MemberState::Failed;
    view.members[2].state = MemberState::Failed;
    view
}

/// Nobody found yet.
pub fn forming() -> View {
    View {
        cluster_id: None,
        role: None,
        term: Term(0),
        epoch: Epoch(0),
        leader: None,
        leader_is_live: false,
        members: vec![],
        votes: Votes::default(),
        waiting_for: Some("1 of 2 nodes found".to_owned()),
        ..healthy()
    }
}

/// The disk failed.
pub fn stopped() -> View {
    View { stopped: Some("the disk failed: I/O error".to_owned()), ..no_quorum() }
}
