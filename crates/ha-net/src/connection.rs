//! One admitted connection: what is shared between its task and those who use it.

mod dispatch;
pub(crate) mod driver;
pub(crate) mod outbox;
mod requests;
mod served;
pub(crate) mod streams;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::task::AtomicWaker;
use tokio::sync::watch;

use crate::codec::frame::{Header, Kind, Outgoing};
use crate::{AskError, FrameStream, Incarnation, Introduction, Lane, Peer, Service};

use outbox::Outbox;
use requests::Requests;
use served::Served;
use streams::Streams;

/// Which side dialled; that side asks, the other answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialled,
    Accepted,
}

/// One admitted connection. Its task reads and writes; everything else goes through here.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    pub(crate) lane: Lane,
    pub(crate) side: Side,
    pub(crate) outbox: Outbox,
    requests: Requests,
    served: Served,
    streams: Streams,
    ids: AtomicU64,
    /// Somebody wants this connection to end in good order.
    leaving: AtomicBool,
    /// A newer life of the peer has been seen, so that nobody is at the other end any more.
    outlived: AtomicBool,
    task: AtomicWaker,
    ended: watch::Sender<Option<Ended>>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ended {
    /// The peer said goodbye.
    #[error("the peer said goodbye")]
    Goodbye,
    /// This node said goodbye.
    #[error("this node has closed the connection")]
    Left,
    /// The peer closed without a goodbye.
    #[error("the peer closed the connection")]
    Closed,
    /// The socket failed.
    #[error("the connection failed: {reason}")]
    Failed { reason: String },
    /// The stream of bytes ended inside a frame: the peer died while it wrote, or something damaged the stream.
    #[error("the connection was cut inside a frame")]
    Truncated,
    /// The peer has been started again since.
    #[error("the peer has been started again")]
    Outlived,
    /// Nothing came, or nothing could be sent, for too long.
    #[error("the peer was silent for too long")]
    Silent,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {reason}")]
    Violated { reason: String },
}

impl Ended {
    /// The end of a process looks like this from here, so that dialling again at once tells more.
    pub(crate) fn is_abrupt(&self) -> bool {
        matches!(self, Self::Closed | Self::Failed { .. } | Self::Truncated | Self::Outlived)
    }

    fn failed(error: &io::Error) -> Self {
        Self::Failed { reason: error.to_string() }
    }

    fn violated(error: impl std::fmt::Display) -> Self {
        Self::Violated { reason: error.to_string() }
    }
}

impl Connection {
    pub(crate) fn new(introduction: Introduction, lane: Lane, side: Side) -> Arc<Self> {
        let Introduction { node_id, incarnation, address, .. } = introduction;
        let peer = Peer { node_id, incarnation, address };
        Arc::new(Self {
            peer,
            lane,
            side,
            outbox: Outbox::default(),
            requests: Requests::default(),
            served: Served::default(),
            streams: Streams::default(),
            ids: AtomicU64::new(1),
            leaving: AtomicBool::new(false),
            outlived: AtomicBool::new(false),
            task: AtomicWaker::new(),
            ended: watch::Sender::new(None),
        })
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a one-way message if there is room.
    pub(crate) fn tell(&self, service: Service, body: Bytes) -> bool {
        let header = Header { service: service.0, ..Header::plain(Kind::Tell) };
        self.outbox.offer(Outgoing::new(header, body)).is_ok()
    }

    /// Opens a stream to the peer.
    pub(crate) async fn open(self: &Arc<Self>, service: Service) -> Result<FrameStream, AskError> {
        let id = self.next_id();
        let Some(frames) = streams::open(self, id) else {
            return Err(AskError::not_sent("the connection has ended, or too many streams are open on it"));
        };
        let header = Header { service: service.0, ..Header::about(Kind::Open, id) };
        match self.outbox.push(Outgoing::bare(header)).await {
            Ok(()) => Ok(frames),
            Err(outbox::Closed) => Err(AskError::not_sent("the connection has ended")),
        }
    }

    /// Ends this connection in good order: what is queued is sent, then a goodbye.
    pub(crate) fn leave(&self) {
        if !self.leaving.swap(true, Ordering::AcqRel) {
            self.outbox.close_with(Outgoing::bare(Header::plain(Kind::Goodbye)));
            self.task.wake();
        }
    }

    /// Ends this connection at once if a newer life of its peer than the one that made it has been seen.
    pub(crate) fn compare(&self, newest: Incarnation) {
        if self.peer.incarnation < newest {
            self.outlived.store(true, Ordering::Release);
            self.task.wake();
        }
    }

    /// Whether this connection can still be used.
    pub(crate) fn is_open(&self) -> bool {
        self.ended.borrow().is_none() && !self.leaving.load(Ordering::Acquire)
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as `self`, so this cannot fail before there is a reason.
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(Ended::Closed),
            Err(_) => Ended::Closed,
        }
    }

    /// Tells everyone who waits on this connection that it has ended.
    fn finish(&self, ended: Ended) {
        let unsent = self.outbox.close();
        self.requests.end(&unsent, &ended.to_string());
        self.streams.end();
        self.served.end();
        self.ended.send_replace(Some(ended));
    }
}
