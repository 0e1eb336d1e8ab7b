//! The handle.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::codec::hello::Versions;
use crate::connection::Connection;
use crate::dialling::{DialError, dial};
use crate::event::Events;
use crate::greeting::GreetingError;
use crate::limits::{BULK_CONNECTIONS_MAX, GOODBYE_WAIT_MAX};
use crate::peers::Target;
use crate::secret::{Nonces, Secret};
use crate::shared::Shared;
use crate::wire::Wire;
use crate::{
    Address, AskError, FrameStream, Gate, GreetError, Handler, Introduction, Lane, NodeId, PeerEvent, Service,
    StartError, Traffic,
};

/// How this node listens and dials.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Bulk connections per peer, opened when first needed; 1 to 64.
    pub bulk_connections: usize,
    /// How long a dial and the greeting on it may take.
    pub connect_timeout: Duration,
    /// Silence after which a connection is taken for dead. Pings keep an idle one alive.
    pub idle_timeout: Duration,
    /// Seed of the jitter in reconnects, and of what proofs of the secret are made from.
    pub seed: u64,
    /// What every node of the cluster must show that it knows; `None` lets anybody in that the gate admits.
    pub secret: Option<Secret>,
}

impl Default for Config {
    /// Port 7946 on all addresses, 4 bulk connections, 2 s to connect, 10 s of silence, seed 0, no secret.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 7946)),
            bulk_connections: 4,
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(10),
            seed: 0,
            secret: None,
        }
    }
}

impl Config {
    /// Checks each field on its own.
    pub fn validate(&self) -> Result<(), StartError> {
        if self.bulk_connections == 0 || self.bulk_connections > BULK_CONNECTIONS_MAX {
            let value = self.bulk_connections.to_string();
            return Err(StartError::Config { field: "bulk_connections", value, accepted: "1 to 64 are accepted" });
        }
        let times = [("connect_timeout", self.connect_timeout), ("idle_timeout", self.idle_timeout)];
        for (field, time) in times {
            if time < Duration::from_millis(1) {
                return Err(StartError::Config { field, value: format!("{time:?}"), accepted: "at least 1 ms is" });
            }
        }
        Ok(())
    }
}

/// Starts to listen. All tasks run on the current tokio runtime.
pub async fn start(
    config: Config,
    wire: Arc<dyn Wire>,
    gate: Arc<dyn Gate>,
    handler: Arc<dyn Handler>,
) -> Result<(Net, mpsc::Receiver<PeerEvent>), StartError> {
    start_speaking(Versions::OURS, config, wire, gate, handler).await
}

/// As [`start`], with other protocol versions, so that tests can be a node of another age.
pub(crate) async fn start_speaking(
    versions: Versions,
    config: Config,
    wire: Arc<dyn Wire>,
    gate: Arc<dyn Gate>,
    handler: Arc<dyn Handler>,
) -> Result<(Net, mpsc::Receiver<PeerEvent>), StartError> {
    config.validate()?;
    let failed = |source| StartError::Listen { address: config.listen, source };
    let listener = wire.listen(config.listen).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    let (events, reader) = Events::new();
    let shared = Arc::new(Shared {
        node_id: gate.introduce().node_id,
        nonces: config.secret.clone().map(|secret| Nonces::new(secret, config.seed)),
        instance: StdRng::seed_from_u64(config.seed).next_u64(),
        config,
        wire,
        gate,
        handler,
        versions,
        local_addr,
        counters: Default::default(),
        events,
        registry: Default::default(),
        peers: Default::default(),
        warnings: Default::default(),
        refusals: Default::default(),
        stopped: CancellationToken::new(),
        tasks: TaskTracker::new(),
    });
    shared.tasks.spawn(crate::accepting::accept_all(Arc::clone(&shared), listener));
    let pumping = Arc::clone(&shared);
    shared.tasks.spawn(async move {
        tokio::select! {
            biased;
            () = pumping.stopped.cancelled() => {}
            () = pumping.events.pump() => {}
        }
    });
    Ok((Net { owner: Arc::new(Owner(shared)) }, reader))
}

/// Reaches other nodes. Cheap to clone; the last one dropped, or `stop`, ends all connections.
#[derive(Clone)]
pub struct Net {
    owner: Arc<Owner>,
}

/// Ends everything with the last handle. Tasks hold the inside of it only.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.begin_stop();
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("node_id", &self.shared().node_id).field("listens", &self.local_addr()).finish()
    }
}

impl Net {
    fn shared(&self) -> &Arc<Shared> {
        &self.owner.0
    }

    /// Where this node really listens (the port, when 0 was asked for).
    pub fn local_addr(&self) -> SocketAddr {
        self.shared().local_addr
    }

    /// What has gone over the wire so far.
    pub fn traffic(&self) -> Traffic {
        self.shared().counters.read()
    }

    /// Dials an address of which only the place is known, a seed, and returns who answers there. The connection is
    /// kept as the control connection to that node, and the address in its introduction is learnt.
    pub async fn greet(&self, address: &Address) -> Result<Introduction, GreetError> {
        let shared = self.shared();
        let unreachable = |reason: String| GreetError::Unreachable { address: address.clone(), reason };
        let offer = match dial(shared, address, Lane::Control).await {
            Ok(offer) => offer,
            Err(DialError::Greeting(_, GreetingError::Myself)) => {
                return Err(GreetError::Myself { address: address.clone() });
            }
            Err(DialError::Greeting(_, GreetingError::Refused { refusal, .. })) => {
                return Err(GreetError::Refused { address: address.clone(), refusal });
            }
            Err(DialError::Greeting(_, GreetingError::Malformed { reason })) => {
                return Err(GreetError::NotANode { address: address.clone(), reason });
            }
            Err(DialError::Greeting(_, error)) => return Err(unreachable(error.to_string())),
            Err(error) => return Err(unreachable(error.to_string())),
        };
        let found = offer.introduction().clone();
        let Some(target) = shared.peers.learn(shared, &found.node_id, &found.address) else {
            return Err(unreachable("too many nodes are known".to_owned()));
        };
        let link = target.link(Lane::Control);
        let same_life = |up: &Arc<Connection>| up.is_open() && up.peer.incarnation == found.incarnation;
        if !link.connection().as_ref().is_some_and(same_life) {
            link.offer(offer);
            target.want(shared, Lane::Control);
            let up = async {
                loop {
                    match link.waiter().connected().await {
                        Ok(up) if same_life(&up) => return Ok(()),
                        Ok(older) => drop(older.ended().await),
                        Err(error) => return Err(error),
                    }
                }
            };
            match timeout(shared.config.connect_timeout, up).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(unreachable(error.to_string())),
                Err(_) => return Err(unreachable("the connection was not up in time".to_owned())),
            }
        }
        Ok(found)
    }

    /// Where a node can be dialled from now on; replaces what was known, closing connections to the old place.
    pub fn learn(&self, node: &NodeId, address: &Address) {
        let shared = self.shared();
        if *node != shared.node_id {
            shared.peers.learn(shared, node, address);
        }
    }

    /// Forgets a node and closes its connections, those that it dialled too.
    pub fn forget(&self, node: &NodeId) {
        self.shared().peers.forget(node);
        for connection in self.shared().registry.of(node) {
            connection.leave();
        }
    }

    /// Asks and waits for the answer. Without a connection it waits for the next dial, and fails with that. Cancel-safe:
    /// dropping the future gives the request up, and tells the peer if it has left already.
    pub async fn ask(
        &self,
        to: &NodeId,
        lane: Lane,
        service: Service,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, AskError> {
        let deadline = Instant::now() + deadline;
        check_length(lane, &body)?;
        let target = self.target(to)?;
        let connection = match target.link(lane).connection() {
            Some(connection) => connection,
            None => match timeout_at(deadline, self.connected(&target, lane)).await {
                Ok(connection) => connection?,
                Err(_) => return Err(AskError::not_sent("no connection was up at the deadline")),
            },
        };
        connection.ask(service, body, deadline).await
    }

    /// Sends a one-way message, or drops it when no connection is up (it starts to dial one) or its queue is full.
    /// True when it was queued on a live connection.
    pub fn tell(&self, to: &NodeId, lane: Lane, service: Service, body: Bytes) -> bool {
        let Ok(target) = self.target(to) else { return false };
        match target.link(lane).connection() {
            Some(connection) => body.len() <= lane.body_bytes_max() && connection.tell(service, body),
            None => {
                target.want(self.shared(), lane);
                false
            }
        }
    }

    /// Opens an ordered exchange of frames. Without a connection it waits for the next dial, and fails with that.
    /// Cancel-safe.
    pub async fn open(&self, to: &NodeId, lane: Lane, service: Service) -> Result<FrameStream, AskError> {
        let target = self.target(to)?;
        let connection = match target.link(lane).connection() {
            Some(connection) => connection,
            None => self.connected(&target, lane).await?,
        };
        connection.open(service).await
    }

    /// Whether this node has been told to stop: nothing is sent or answered any more.
    pub fn is_stopped(&self) -> bool {
        self.shared().stopped.is_cancelled()
    }

    /// Stops listening, sends what is queued within a short bound, and ends all connections.
    pub async fn stop(&self) {
        let shared = self.shared();
        shared.begin_stop();
        // Each task ends by itself within this bound; the runtime may be slow, but nobody waits for it for long.
        let _ = timeout(GOODBYE_WAIT_MAX * 2, shared.tasks.wait()).await;
    }

    fn target(&self, node: &NodeId) -> Result<Arc<Target>, AskError> {
        self.shared().peers.get(node).ok_or_else(|| AskError::not_sent(format!("no address of node {node} is known")))
    }

    /// Waits for a connection. Bounded by the dial, which has a timeout.
    async fn connected(&self, target: &Arc<Target>, lane: Lane) -> Result<Arc<Connection>, AskError> {
        let waiter = target.link(lane).waiter();
        target.want(self.shared(), lane);
        waiter.connected().await
    }
}

fn check_length(lane: Lane, body: &Bytes) -> Result<(), AskError> {
    let (bytes, accepted) = (body.len(), lane.body_bytes_max());
    if bytes > accepted {
        return Err(AskError::not_sent(format!("{bytes} bytes are more than the {accepted} that fit in a frame")));
    }
    Ok(())
}
