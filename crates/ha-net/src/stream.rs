//! An ordered exchange of frames with one peer. (Skeleton: the shape is fixed, the inside is to be built.)

use bytes::Bytes;

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
pub struct FrameSender {}

impl FrameSender {
    /// Queues one frame; waits while the bounded queue is full. Fails once the connection or the stream has ended.
    pub async fn send(&self, _frame: Bytes) -> Result<(), StreamEnded> {
        Err(StreamEnded)
    }
}

/// Receives frames in order.
#[derive(Debug)]
pub struct FrameReceiver {}

impl FrameReceiver {
    /// The next frame, or `None` when the peer's sender was dropped or the connection ended.
    pub async fn recv(&mut self) -> Option<Bytes> {
        None
    }

    /// As [`Self::recv`], for use in a hand-written future.
    pub fn poll_recv(&mut self, _cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Bytes>> {
        std::task::Poll::Ready(None)
    }
}

/// The stream or its connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended")]
pub struct StreamEnded;
