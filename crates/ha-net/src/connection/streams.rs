//! Streams multiplexed on one connection. Each has a window of bytes under way, so that a slow reader stops its own
//! sender and nobody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::Connection;
use crate::FrameStream;
use crate::codec::frame::{Header, Kind, Outgoing};
use crate::limits::{STREAM_FRAME_COST_MIN, STREAM_FRAMES_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX};
use crate::stream::{FrameReceiver, FrameSender};
use crate::sync::lock;

/// The open streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams {
    /// None once the connection has ended.
    open: Mutex<Option<BTreeMap<u64, Entry>>>,
}

/// What the connection's task keeps of one stream.
#[derive(Debug)]
struct Entry {
    /// To our receiver; None once the peer has ended, or our receiver is gone.
    inbox: Option<mpsc::Sender<Bytes>>,
    flow: Arc<Flow>,
}

/// The state that both ends of one stream in this process share with the connection.
#[derive(Debug)]
pub(crate) struct Flow {
    state: Mutex<FlowState>,
    /// More credit came, or the end.
    pub(crate) changed: Notify,
}

#[derive(Debug)]
struct FlowState {
    /// What we may still send. The frame that crosses zero is still sent, so that any frame fits.
    credit: i64,
    /// Our sender exists and the peer still reads.
    sending: bool,
    /// What the peer has sent and we have not given back as credit.
    owed: u32,
    /// The part of it that our receiver has taken.
    taken: u32,
}

/// What a frame takes of the window.
fn cost(frame: &Bytes) -> u32 {
    u32::try_from(frame.len()).unwrap_or(u32::MAX).max(STREAM_FRAME_COST_MIN)
}

/// Why a frame of a stream cannot be sent now.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// No credit, or no room in the outbox.
    Full(Bytes),
    /// The stream or its connection has ended.
    Ended,
}

impl Default for Streams {
    fn default() -> Self {
        Self { open: Mutex::new(Some(BTreeMap::new())) }
    }
}

/// Makes both ends of a stream. None when there are too many, or one of that id, or the connection has ended.
pub(crate) fn open(connection: &Arc<Connection>, id: u64) -> Option<FrameStream> {
    let (inbox, frames) = mpsc::channel(STREAM_FRAMES_MAX);
    let state = FlowState { credit: i64::from(STREAM_WINDOW_BYTES), sending: true, owed: 0, taken: 0 };
    let flow = Arc::new(Flow { state: Mutex::new(state), changed: Notify::new() });
    {
        let mut streams = lock(&connection.streams.open);
        let streams = streams.as_mut()?;
        if streams.len() >= STREAMS_MAX || streams.contains_key(&id) {
            return None;
        }
        streams.insert(id, Entry { inbox: Some(inbox), flow: Arc::clone(&flow) });
    }
    let sender = FrameSender::new(Arc::clone(connection), id, Arc::clone(&flow));
    let receiver = FrameReceiver::new(Arc::clone(connection), id, flow, frames);
    Some(FrameStream { sender, receiver })
}

impl Streams {
    /// A frame came. False when the peer sent more than its window.
    pub(crate) fn received(&self, id: u64, frame: Bytes) -> bool {
        let mut streams = lock(&self.open);
        // Frames may still come for a while after our receiver has gone.
        let Some(entry) = streams.as_mut().and_then(|streams| streams.get_mut(&id)) else { return true };
        let Some(inbox) = &entry.inbox else { return true };
        {
            let mut flow = lock(&entry.flow.state);
            if flow.owed >= STREAM_WINDOW_BYTES {
                return false;
            }
            flow.owed = flow.owed.saturating_add(cost(&frame));
        }
        match inbox.try_send(frame) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }

    /// The peer gave credit back.
    pub(crate) fn credited(&self, id: u64, bytes: u32) {
        let streams = lock(&self.open);
        let Some(entry) = streams.as_ref().and_then(|streams| streams.get(&id)) else { return };
        {
            let mut flow = lock(&entry.flow.state);
            // A peer that gives more than it took cannot widen the window.
            flow.credit = (flow.credit + i64::from(bytes)).min(i64::from(STREAM_WINDOW_BYTES));
        }
        entry.flow.changed.notify_waiters();
    }

    /// The peer will send no more.
    pub(crate) fn peer_ended(&self, id: u64) {
        self.change(id, |entry| entry.inbox = None);
    }

    /// The peer, or our own sender, wants no more to be sent.
    pub(crate) fn stop_sending(&self, id: u64) {
        self.change(id, |entry| {
            lock(&entry.flow.state).sending = false;
            entry.flow.changed.notify_waiters();
        });
    }

    /// Whether our receiver can still get frames.
    fn receiving(&self, id: u64) -> bool {
        lock(&self.open).as_ref().and_then(|streams| streams.get(&id)).is_some_and(|entry| entry.inbox.is_some())
    }

    /// Changes a stream and forgets it when both directions are over.
    fn change(&self, id: u64, change: impl FnOnce(&mut Entry)) {
        let mut streams = lock(&self.open);
        let Some(streams) = streams.as_mut() else { return };
        let Some(entry) = streams.get_mut(&id) else { return };
        change(entry);
        let over = entry.inbox.is_none() && !lock(&entry.flow.state).sending;
        if over {
            streams.remove(&id);
        }
    }

    /// Ends all.
    pub(crate) fn end(&self) {
        let open = lock(&self.open).take();
        for (_, entry) in open.into_iter().flatten() {
            lock(&entry.flow.state).sending = false;
            entry.flow.changed.notify_waiters();
        }
    }
}

impl Connection {
    /// Sends a frame of a stream if its window and the outbox allow.
    pub(crate) fn send_frame(&self, id: u64, flow: &Flow, frame: Bytes) -> Result<(), Blocked> {
        let mut state = lock(&flow.state);
        if !state.sending {
            return Err(Blocked::Ended);
        }
        if state.credit <= 0 {
            return Err(Blocked::Full(frame));
        }
        let cost = i64::from(cost(&frame));
        match self.outbox.offer(Outgoing::new(Header::about(Kind::Frame, id), frame)) {
            Ok(()) => {
                state.credit -= cost;
                Ok(())
            }
            Err(super::outbox::Rejected::Full(frame)) => Err(Blocked::Full(frame.body)),
            Err(super::outbox::Rejected::Closed) => Err(Blocked::Ended),
        }
    }

    /// Our receiver has taken a frame. Credit goes back in halves of the window, so at most two such frames per stream
    /// wait in the outbox.
    pub(crate) fn frame_taken(&self, id: u64, flow: &Flow, frame: &Bytes) {
        let mut state = lock(&flow.state);
        state.taken = state.taken.saturating_add(cost(frame));
        if state.taken >= STREAM_WINDOW_BYTES / 2 {
            let amount = std::mem::take(&mut state.taken);
            state.owed = state.owed.saturating_sub(amount);
            drop(state);
            self.outbox.insist(Outgoing::bare(Header { amount, ..Header::about(Kind::Credit, id) }));
        }
    }

    /// Our sender is gone.
    pub(crate) fn end_sending(&self, id: u64, flow: &Flow) {
        if lock(&flow.state).sending {
            self.outbox.insist(Outgoing::bare(Header::about(Kind::End, id)));
        }
        self.streams.stop_sending(id);
    }

    /// Our receiver is gone.
    pub(crate) fn end_receiving(&self, id: u64) {
        if self.streams.receiving(id) {
            self.outbox.insist(Outgoing::bare(Header::about(Kind::Cancel, id)));
        }
        self.streams.peer_ended(id);
    }
}
