//! Listens, serves within limits, and stops in order.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use ha_runtime::Ha;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::access::Access;
use crate::limits::{ACCEPT_PAUSE, HEAD_BYTES_MAX, HEAD_READ_TIME_MAX, METRICS_UPKEEP_INTERVAL, STOP_TIME_MAX};
use crate::router::{Shared, Streams, router};
use crate::short::Ways;
use crate::{Config, Metrics};

/// Takes the port. Callers wait until [`Door::serve`].
pub async fn listen(config: Config) -> Result<Door, ListenError> {
    let failed = |source| ListenError { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    Ok(Door { config, listener, local_addr })
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
        };
        let done = watch::Sender::new(false);
        let finished = done.subscribe();
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(self.config.connections_max.max(1)));
            let ways = Ways::new(shared.clone(), router(shared));
            serve(self.listener, places, ways, self.config.metrics, ended).await;
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

async fn serve(
    listener: TcpListener,
    places: Arc<Semaphore>,
    ways: Ways,
    metrics: Metrics,
    mut ended: watch::Receiver<bool>,
) {
    let connections = GracefulShutdown::new();
    let mut upkeep = tokio::time::interval(METRICS_UPKEEP_INTERVAL);
    // The end also comes when every `Server` is dropped: then waiting for it fails.
    let mut end = pin!(async move { _ = ended.wait_for(|ended| *ended).await });
    let mut conversations = JoinSet::new();
    let mut next = pin!(accept(&listener, places.clone()));
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = upkeep.tick() => metrics.upkeep(),
            (stream, place) = &mut next => {
                conversations.spawn(converse(stream, place, ways.clone(), connections.watcher()));
                next.set(accept(&listener, places.clone()));
            }
            Some(_) = conversations.join_next() => {}
        }
    }
    if tokio::time::timeout(STOP_TIME_MAX, connections.shutdown()).await.is_err() {
        tracing::debug!(requests = conversations.len(), "requests that took too long were cut off");
        conversations.shutdown().await;
    }
}

/// The next connection and its place among those served at once.
async fn accept(listener: &TcpListener, places: Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            // The semaphore is never closed; were it, nobody more could be served.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, place: OwnedSemaphorePermit, ways: Ways, watcher: Watcher) {
    // Small answers must not wait for more to send; a socket that refuses only answers more slowly.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIME_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), ways);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
    drop(place);
}
