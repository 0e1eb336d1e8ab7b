//! Listens, serves within limits, and stops in order.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ha_runtime::Ha;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::access::Access;
use crate::conversation::converse;
use crate::limits::{
    ACCEPT_PAUSE, BACKLOG, FAREWELL_TIME_MAX, FAREWELLS_MAX, GIVE_WAY_PAUSE, GIVE_WAYS_PER_PAUSE, HEAD_READ_TIME_MAX,
    METRICS_UPKEEP_INTERVAL, STOP_TIME_MAX,
};
use crate::request_id::Ids;
use crate::router::{Shared, Snapshots, Streams, router};
use crate::short::Ways;
use crate::visitors::{Entry, Visit, Visitors};
use crate::{Config, Metrics};

/// Takes the port. Callers wait until [`Door::serve`].
pub async fn listen(config: Config) -> Result<Door, ListenError> {
    let failed = |source| ListenError { address: config.listen, source };
    let listener = open_port(config.listen).map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    Ok(Door { config, listener, local_addr })
}

fn open_port(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node that was killed must be able to listen again while its old connections linger in the kernel.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// The port could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for HTTP: {source}")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

/// A port that is taken, and not served yet.
#[derive(Debug)]
pub struct Door {
    config: Config,
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Door {
    /// Where this listens (the port, when 0 was asked for).
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves a node until [`Server::stop`]. Must be called on a tokio runtime.
    pub fn serve(self, ha: Ha) -> Server {
        let (end, ended) = watch::channel(false);
        let shared = Shared {
            ha,
            metrics: self.config.metrics.clone(),
            log: self.config.log.clone(),
            access: Arc::new(Access::new(self.config.token, self.local_addr)),
            streams: Streams::new(ended.clone()),
            snapshots: Snapshots::new(),
            ids: Ids::new(),
        };
        let done = watch::Sender::new(false);
        let finished = done.subscribe();
        tokio::spawn(async move {
            let ways = Ways::new(shared.clone(), router(shared));
            let reception = Reception::new(self.listener, self.config.silent_max, self.config.connections_max);
            serve(reception, ways, self.config.metrics, ended).await;
            done.send_replace(true);
        });
        Server { local_addr: self.local_addr, end: Arc::new(end), finished }
    }
}

/// A server that runs. Cheap to clone; it ends by [`Self::stop`], or when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Server {
    local_addr: SocketAddr,
    end: Arc<watch::Sender<bool>>,
    finished: watch::Receiver<bool>,
}

impl Server {
    /// Where this listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Accepts nobody any more, ends event streams, and gives requests that are being answered
    /// [`crate::limits::STOP_TIME_MAX`] to end.
    pub async fn stop(&self) {
        self.end.send_replace(true);
        // An error says that the serving task is gone, which is what is waited for.
        let _ = self.finished.clone().wait_for(|finished| *finished).await;
    }
}

async fn serve(reception: Reception, ways: Ways, metrics: Metrics, mut ended: watch::Receiver<bool>) {
    let connections = GracefulShutdown::new();
    let mut upkeep = tokio::time::interval(METRICS_UPKEEP_INTERVAL);
    // The end also comes when every `Server` is dropped: then waiting for it fails.
    let mut end = pin!(async move { _ = ended.wait_for(|ended| *ended).await });
    let (mut silent, mut conversations) = (JoinSet::new(), JoinSet::new());
    let mut next = pin!(reception.next());
    loop {
        tokio::select! {
            // Those that have come before those that come: between the two rooms nobody counts them.
            biased;
            () = &mut end => break,
            _ = upkeep.tick() => metrics.upkeep(),
            Some(heard) = silent.join_next() => {
                // Whoever gave way, left or said nothing is gone.
                if let Ok(Some((stream, from))) = heard
                    && let Some((stream, visit)) = reception.admit(stream, from)
                {
                    let number = visit.number();
                    let task = conversations.spawn(converse(stream, ways.clone(), visit, connections.watcher()));
                    reception.visitors.served_by(number, task);
                }
            }
            Some(_) = conversations.join_next() => {}
            (stream, from, visit) = &mut next => {
                let number = visit.number();
                let task = silent.spawn(until_heard(stream, from, visit));
                reception.silent.served_by(number, task);
                next.set(reception.next());
            }
        }
    }
    if tokio::time::timeout(STOP_TIME_MAX, connections.shutdown()).await.is_err() {
        tracing::debug!(requests = conversations.len(), "requests that took too long were cut off");
        conversations.shutdown().await;
    }
}

/// Waits for the first byte of a caller; nothing when none comes.
async fn until_heard(stream: TcpStream, from: SocketAddr, visit: Visit) -> Option<(TcpStream, SocketAddr)> {
    let heard = timeout(HEAD_READ_TIME_MAX, stream.peek(&mut [0])).await;
    drop(visit);
    matches!(heard, Ok(Ok(1..))).then_some((stream, from))
}

/// Where connections come in.
///
/// One that has said nothing yet costs a file and little memory: there is room for many, so that those who only hold
/// connections need not be thrown out, to come again at once. Whoever has begun to speak takes one of the places.
struct Reception {
    listener: TcpListener,
    silent: Visitors,
    visitors: Visitors,
    /// How many had to give way since the last pause.
    gave_way: AtomicUsize,
    farewells: Arc<Semaphore>,
}

impl Reception {
    fn new(listener: TcpListener, silent_max: usize, connections_max: usize) -> Self {
        let (silent, visitors) = (Visitors::new(silent_max), Visitors::new(connections_max));
        let farewells = Arc::new(Semaphore::new(FAREWELLS_MAX));
        Self { listener, silent, visitors, gave_way: AtomicUsize::new(0), farewells }
    }

    /// The next connection.
    async fn next(&self) -> (TcpStream, SocketAddr, Visit) {
        loop {
            if self.gave_way.load(Ordering::Relaxed) >= GIVE_WAYS_PER_PAUSE {
                self.gave_way.store(0, Ordering::Relaxed);
                // Whoever dials faster than that waits in the kernel, and not at the cost of the node.
                tokio::time::sleep(GIVE_WAY_PAUSE).await;
            }
            let (stream, from) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "an HTTP connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Whoever is silent waits, so that one gives way for each that comes.
            if let Entry::Admitted(visit, another_gave_way) = self.silent.enter(from) {
                self.gave_way.fetch_add(usize::from(another_gave_way), Ordering::Relaxed);
                return (stream, from, visit);
            }
        }
    }

    /// Gives a place to one that has begun to speak, or tells it that there is none.
    fn admit(&self, stream: TcpStream, from: SocketAddr) -> Option<(TcpStream, Visit)> {
        match self.visitors.enter(from) {
            Entry::Admitted(visit, another_gave_way) => {
                self.gave_way.fetch_add(usize::from(another_gave_way), Ordering::Relaxed);
                // Small answers must not wait for more to send; a socket that refuses only answers more slowly.
                let _ = stream.set_nodelay(true);
                Some((stream, visit))
            }
            Entry::Full => {
                self.gave_way.fetch_add(1, Ordering::Relaxed);
                // Beyond that many at once, nobody is told why.
                if let Ok(place) = self.farewells.clone().try_acquire_owned() {
                    tokio::spawn(async move {
                        let _ = timeout(FAREWELL_TIME_MAX, turn_away(stream)).await;
                        drop(place);
                    });
                }
                None
            }
        }
    }
}

/// Says why, and hears the caller out: a close with something unread would take the answer from him.
async fn turn_away(mut stream: TcpStream) -> std::io::Result<()> {
    const BODY: &str =
        r#"{"error": {"code": "too_many_connections", "message": "every place is taken; try again later"}}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Retry-After: 1\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}
