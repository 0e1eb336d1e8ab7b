//! An ordered exchange of frames with one peer.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::connection::streams::{Blocked, Flow};

/// Both ends of an ordered exchange of frames with one peer, multiplexed on one connection.
#[derive(Debug)]
pub struct FrameStream {
    /// Frames to the peer.
    pub sender: FrameSender,
    /// Frames from the peer.
    pub receiver: FrameReceiver,
}

/// Sends frames in order. Dropping it tells the peer that no more will come.
#[derive(Debug)]
pub struct FrameSender {
    connection: Arc<Connection>,
    id: u64,
    flow: Arc<Flow>,
}

impl FrameSender {
    pub(crate) fn new(connection: Arc<Connection>, id: u64, flow: Arc<Flow>) -> Self {
        Self { connection, id, flow }
    }

    /// Queues one frame; waits while the peer's reader is a full window behind or the connection's bounded queue is
    /// full. Fails once the connection or the stream has ended, and for a frame longer than
    /// [`Lane::body_bytes_max`](crate::Lane::body_bytes_max). Cancel-safe: a dropped future has queued nothing.
    pub async fn send(&self, frame: Bytes) -> Result<(), StreamEnded> {
        if frame.len() > self.connection.lane.body_bytes_max() {
            return Err(StreamEnded);
        }
        let mut frame = frame;
        loop {
            let (changed, room) = (self.flow.changed.notified(), self.connection.outbox.room());
            match self.connection.send_frame(self.id, &self.flow, frame) {
                Ok(()) => return Ok(()),
                Err(Blocked::Ended) => return Err(StreamEnded),
                Err(Blocked::Full(again)) => frame = again,
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = room => {}
            }
        }
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        self.connection.end_sending(self.id, &self.flow);
    }
}

/// Receives frames in order. Dropping it tells the peer that no more are wanted.
#[derive(Debug)]
pub struct FrameReceiver {
    connection: Arc<Connection>,
    id: u64,
    flow: Arc<Flow>,
    frames: mpsc::Receiver<Bytes>,
}

impl FrameReceiver {
    pub(crate) fn new(connection: Arc<Connection>, id: u64, flow: Arc<Flow>, frames: mpsc::Receiver<Bytes>) -> Self {
        Self { connection, id, flow, frames }
    }

    /// The next frame, or `None` when the peer's sender was dropped or the connection ended. Which of the two it was
    /// the frames themselves must say, for instance with a last one. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`Self::recv`], for use in a hand-written future.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let next = self.frames.poll_recv(cx);
        if let Poll::Ready(Some(frame)) = &next {
            self.connection.frame_taken(self.id, &self.flow, frame);
        }
        next
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        self.connection.end_receiving(self.id);
    }
}

/// The stream or its connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended")]
pub struct StreamEnded;
