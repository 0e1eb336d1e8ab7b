//! What has gone over the wire, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since start. Bytes include headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes written to admitted connections.
    pub sent_bytes: u64,
    /// Bytes of frames received on admitted connections.
    pub received_bytes: u64,
    /// Frames written to admitted connections.
    pub sent_frames: u64,
    /// Frames received on admitted connections.
    pub received_frames: u64,
    /// Admitted connections open now, dialled and accepted.
    pub connections: u64,
    /// Greetings that ended in a refusal, ours or theirs.
    pub refused: u64,
}

/// The counters behind [`Traffic`]. They order nothing, hence relaxed.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    sent_frames: AtomicU64,
    received_frames: AtomicU64,
    connections: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    pub(crate) fn sent(&self, frames: u64, bytes: u64) {
        self.sent_frames.fetch_add(frames, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, frames: u64, bytes: u64) {
        self.received_frames.fetch_add(frames, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Traffic {
        Traffic {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            sent_frames: self.sent_frames.load(Ordering::Relaxed),
            received_frames: self.received_frames.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
