//! Two or three nodes of a play: what they say, whom they admit, and what they do with what reaches them.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ha_net::wire::Wire;
use ha_net::{
    Address, Config, Fault, FrameStream, Gate, Handler, Incarnation, Introduction, Lane, Net, NodeId, Peer, PeerEvent,
    Refusal, RefusalCode, Service, start,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// Long enough for a loaded machine, short enough to end a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Answers with the body reversed.
pub const MIRROR: Service = Service(1);
/// Answers when a permit of `Node::release` comes.
pub const HELD: Service = Service(2);
/// Answers with a fault.
pub const FAULTY: Service = Service(3);
/// Never answers.
pub const MUTE: Service = Service(4);
/// Answers with more bytes than fit in a frame.
pub const HUGE: Service = Service(5);
/// Panics.
pub const PANICKING: Service = Service(6);
/// A stream that is handed to the test.
pub const HANDED: Service = Service(7);

pub fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

/// Admits its own cluster.
pub struct House {
    pub says: Mutex<Introduction>,
}

impl Gate for House {
    fn introduce(&self) -> Introduction {
        self.says.lock().unwrap().clone()
    }

    fn admit(&self, peer: &Introduction) -> Result<(), Refusal> {
        let ours = self.says.lock().unwrap().cluster_name.clone();
        if peer.cluster_name == ours {
            return Ok(());
        }
        let message = format!("this is cluster {ours}, not {}", peer.cluster_name);
        Err(Refusal { code: RefusalCode::ClusterName, message })
    }
}

/// What a node does with what reaches it.
pub struct Desk {
    told: mpsc::UnboundedSender<(NodeId, Service, Bytes)>,
    opened: mpsc::UnboundedSender<FrameStream>,
    release: Arc<Semaphore>,
    pub asked: Arc<AtomicUsize>,
    /// Requests whose future was dropped before it was done.
    dropped: mpsc::UnboundedSender<()>,
}

struct Dropped(Option<mpsc::UnboundedSender<()>>);

impl Dropped {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(dropped) = self.0.take() {
            let _ = dropped.send(());
        }
    }
}

impl Handler for Desk {
    fn told(&self, from: &Peer, service: Service, body: Bytes) {
        let _ = self.told.send((from.node_id.clone(), service, body));
    }

    fn asked(&self, _from: &Peer, service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let release = Arc::clone(&self.release);
        let mut guard = Dropped(Some(self.dropped.clone()));
        async move {
            let answer = match service {
                HELD => {
                    release.acquire().await.unwrap().forget();
                    Ok(body)
                }
                FAULTY => Err(Fault { message: "not today".to_owned() }),
                MUTE => pending().await,
                HUGE => Ok(Bytes::from(vec![0; Lane::Bulk(0).body_bytes_max() + 1])),
                PANICKING => panic!("on purpose"),
                _ => Ok(body.iter().rev().copied().collect()),
            };
            guard.disarm();
            answer
        }
        .boxed()
    }

    fn opened(&self, _from: &Peer, service: Service, mut frames: FrameStream) -> BoxFuture<'static, ()> {
        if service == HANDED {
            let _ = self.opened.send(frames);
            return pending().boxed();
        }
        // An echo.
        async move {
            while let Some(frame) = frames.receiver.recv().await {
                if frames.sender.send(frame).await.is_err() {
                    return;
                }
            }
        }
        .boxed()
    }
}

/// A running node and all that a test may see of it.
pub struct Node {
    pub net: Net,
    pub events: mpsc::Receiver<PeerEvent>,
    pub told: mpsc::UnboundedReceiver<(NodeId, Service, Bytes)>,
    pub opened: mpsc::UnboundedReceiver<FrameStream>,
    pub dropped: mpsc::UnboundedReceiver<()>,
    pub release: Arc<Semaphore>,
    pub asked: Arc<AtomicUsize>,
    pub gate: Arc<House>,
    pub address: Address,
}

/// How a node differs from the others.
pub struct Script {
    pub name: &'static str,
    pub cluster: &'static str,
    pub incarnation: u64,
    pub config: Config,
    /// The host in its own address.
    pub host: String,
    pub wire: Arc<dyn Wire>,
}

impl Script {
    pub fn new(name: &'static str, wire: Arc<dyn Wire>, host: &str) -> Self {
        let loopback = host == "127.0.0.1";
        let ip = if loopback { [127, 0, 0, 1] } else { [0, 0, 0, 0] };
        let config = Config {
            listen: SocketAddr::from((ip, 0)),
            bulk_connections: 2,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(15),
            seed: u64::from(crc(name)),
            secret: None,
        };
        Self { name, cluster: "play", incarnation: 1, config, host: host.to_owned(), wire }
    }

    pub async fn start(self) -> Node {
        let says = Introduction {
            cluster_name: self.cluster.to_owned(),
            cluster_id: None,
            generation: 0,
            node_id: id(self.name),
            incarnation: Incarnation(self.incarnation),
            address: Address::new(self.host.clone(), 1).unwrap(),
            claims: BTreeMap::new(),
        };
        let gate = Arc::new(House { says: Mutex::new(says) });
        let (told_sender, told) = mpsc::unbounded_channel();
        let (opened_sender, opened) = mpsc::unbounded_channel();
        let (dropped_sender, dropped) = mpsc::unbounded_channel();
        let (release, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let desk = Desk {
            told: told_sender,
            opened: opened_sender,
            release: Arc::clone(&release),
            asked: Arc::clone(&asked),
            dropped: dropped_sender,
        };
        let gate_of_net: Arc<dyn Gate> = Arc::clone(&gate) as Arc<dyn Gate>;
        let (net, events) = start(self.config, self.wire, gate_of_net, Arc::new(desk)).await.unwrap();
        let address = Address::new(self.host, net.local_addr().port()).unwrap();
        gate.says.lock().unwrap().address = address.clone();
        Node { net, events, told, opened, dropped, release, asked, gate, address }
    }
}

/// Seeds that differ by name and are the same in each run.
fn crc(name: &str) -> u32 {
    name.bytes().fold(7, |sum, byte| sum * 31 + u32::from(byte))
}

/// Ends a test that hangs, with a reason.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

impl Node {
    pub async fn event(&mut self) -> PeerEvent {
        soon("an event", self.events.recv()).await.expect("the node runs")
    }

    pub async fn ask(&self, to: &str, lane: Lane, service: Service, body: &'static str) -> String {
        let answer = self.net.ask(&id(to), lane, service, Bytes::from_static(body.as_bytes()), DEADLINE).await;
        String::from_utf8(answer.unwrap().to_vec()).unwrap()
    }

    pub async fn greet(&self, other: &Node) -> Introduction {
        soon("a greeting", self.net.greet(&other.address)).await.unwrap()
    }
}
