//! What waits to be written to one connection. Bounded in frames and in bytes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use crate::codec::frame::{Kind, Outgoing};
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_FRAMES_IN_ANY_CASE_MAX, OUTBOX_FRAMES_MAX};
use crate::sync::lock;

/// Frames on their way to the connection's task. A frame that is still here has certainly not left this node.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    room: Notify,
    is_overfull: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Outgoing>,
    bytes: usize,
    /// Somebody waits for room.
    wanted: bool,
    closed: bool,
    /// The connection's task, while it waits for a first frame. Taken by whoever brings that, so that it wakes once.
    task: Option<Waker>,
}

/// Why a frame was not queued.
#[derive(Debug)]
pub(crate) enum Rejected {
    Full(Outgoing),
    Closed,
}

/// The connection has ended or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl Outbox {
    /// Queues a frame if there is room.
    pub(crate) fn offer(&self, frame: Outgoing) -> Result<(), Rejected> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Rejected::Closed);
        }
        if !state.has_room() {
            state.wanted = true;
            return Err(Rejected::Full(frame));
        }
        let task = state.add(frame);
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        Ok(())
    }

    /// Queues a frame whether there is room or not. Only for those without a body which the peer must not miss, and whose
    /// number is bounded by something else, with a peer that keeps to the protocol.
    pub(crate) fn insist(&self, frame: Outgoing) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        let task = if state.frames.len() < OUTBOX_FRAMES_IN_ANY_CASE_MAX {
            state.add(frame)
        } else {
            self.is_overfull.store(true, Ordering::Relaxed);
            state.task.take()
        };
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Whether a frame was lost that the peer must not miss: the connection is to end.
    pub(crate) fn is_overfull(&self) -> bool {
        self.is_overfull.load(Ordering::Relaxed)
    }

    /// Queues a frame as soon as there is room. Cancel-safe: a dropped future has queued nothing.
    pub(crate) async fn push(&self, mut frame: Outgoing) -> Result<(), Closed> {
        loop {
            let room = self.room.notified();
            match self.offer(frame) {
                Ok(()) => return Ok(()),
                Err(Rejected::Closed) => return Err(Closed),
                Err(Rejected::Full(again)) => frame = again,
            }
            room.await;
        }
    }

    /// Waits until there may be room. The future must be made before the offer that failed.
    pub(crate) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    /// Takes a request back if it has not left yet, and wakes those who wait for the room.
    pub(crate) fn withdraw(&self, id: u64) -> bool {
        let mut state = lock(&self.state);
        let at = state.frames.iter().position(|frame| frame.id == id && frame.kind == Kind::Ask);
        let Some(frame) = at.and_then(|at| state.frames.remove(at)) else { return false };
        state.bytes -= frame.len();
        // The last one may have been this: nobody may ever take a frame before somebody brings one.
        let wanted = state.has_room() && std::mem::take(&mut state.wanted);
        drop(state);
        if wanted {
            self.room.notify_waiters();
        }
        true
    }

    /// Hands frames to the connection's task, as long as it wants more, and wakes those who wait for room. Pending when
    /// there was none.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, mut want: impl FnMut(Outgoing) -> bool) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.frames.is_empty() {
            if state.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
                state.task = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        while let Some(frame) = state.frames.pop_front() {
            state.bytes -= frame.len();
            if !want(frame) {
                break;
            }
        }
        let wanted = std::mem::take(&mut state.wanted);
        drop(state);
        if wanted {
            self.room.notify_waiters();
        }
        Poll::Ready(())
    }

    /// How many frames wait.
    pub(crate) fn len(&self) -> usize {
        lock(&self.state).frames.len()
    }

    /// Takes a last frame and refuses all others from now on.
    pub(crate) fn close_with(&self, last: Outgoing) {
        self.insist(last);
        lock(&self.state).closed = true;
        self.room.notify_waiters();
    }

    /// Refuses all from now on and returns the requests that have not left.
    pub(crate) fn close(&self) -> BTreeSet<u64> {
        let mut state = lock(&self.state);
        state.closed = true;
        state.bytes = 0;
        let unsent = state.frames.drain(..).filter(|frame| frame.kind == Kind::Ask).map(|frame| frame.id).collect();
        drop(state);
        self.room.notify_waiters();
        unsent
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.frames.len() < OUTBOX_FRAMES_MAX && self.bytes < OUTBOX_BYTES_MAX
    }

    fn add(&mut self, frame: Outgoing) -> Option<Waker> {
        self.bytes += frame.len();
        self.frames.push_back(frame);
        self.task.take()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt;

    use super::*;
    use crate::codec::frame::Header;

    fn frame(kind: Kind, id: u64, bytes: usize) -> Outgoing {
        Outgoing::new(Header::about(kind, id), Bytes::from(vec![0; bytes]))
    }

    fn take_all(outbox: &Outbox) -> Vec<u64> {
        let mut taken = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        let _ = outbox.poll_take(&mut cx, |frame| {
            taken.push(frame.id);
            true
        });
        taken
    }

    #[test]
    fn it_is_bounded_in_frames_and_in_bytes() {
        let outbox = Outbox::default();
        let taken = (0..).take_while(|id| outbox.offer(frame(Kind::Tell, *id, 0)).is_ok()).count();
        assert_eq!(taken, OUTBOX_FRAMES_MAX);
        let outbox = Outbox::default();
        let taken = (0..).take_while(|id| outbox.offer(frame(Kind::Tell, *id, OUTBOX_BYTES_MAX / 2)).is_ok()).count();
        assert_eq!(taken, 2);
    }

    #[test]
    fn what_must_not_be_missed_is_bounded_too() {
        let outbox = Outbox::default();
        (0..OUTBOX_FRAMES_IN_ANY_CASE_MAX as u64).for_each(|id| outbox.insist(frame(Kind::End, id, 0)));
        assert!(!outbox.is_overfull());
        outbox.insist(frame(Kind::End, u64::MAX, 0));
        assert!(outbox.is_overfull());
        assert_eq!(outbox.len(), OUTBOX_FRAMES_IN_ANY_CASE_MAX);
    }

    #[test]
    fn one_who_waits_goes_on_when_there_is_room() {
        let outbox = Outbox::default();
        assert!(outbox.offer(frame(Kind::Tell, 1, OUTBOX_BYTES_MAX)).is_ok());
        let mut second = Box::pin(outbox.push(frame(Kind::Tell, 2, 1)));
        assert_eq!(second.as_mut().now_or_never(), None);
        assert_eq!(take_all(&outbox), [1]);
        assert_eq!(second.as_mut().now_or_never(), Some(Ok(())));
        assert_eq!(take_all(&outbox), [2]);
    }

    #[test]
    fn one_who_waits_goes_on_when_a_request_is_taken_back() {
        let outbox = Outbox::default();
        assert!(outbox.offer(frame(Kind::Ask, 1, OUTBOX_BYTES_MAX)).is_ok());
        let mut second = Box::pin(outbox.push(frame(Kind::Tell, 2, 1)));
        assert_eq!(second.as_mut().now_or_never(), None);
        assert!(outbox.withdraw(1));
        assert_eq!(second.as_mut().now_or_never(), Some(Ok(())));
        assert_eq!(take_all(&outbox), [2]);
    }

    #[test]
    fn one_who_waits_learns_of_the_end() {
        let outbox = Outbox::default();
        assert!(outbox.offer(frame(Kind::Ask, 1, OUTBOX_BYTES_MAX)).is_ok());
        let mut second = Box::pin(outbox.push(frame(Kind::Tell, 2, 1)));
        assert_eq!(second.as_mut().now_or_never(), None);
        assert_eq!(outbox.close(), BTreeSet::from([1]));
        assert_eq!(second.as_mut().now_or_never(), Some(Err(Closed)));
        assert!(matches!(outbox.offer(frame(Kind::Tell, 3, 1)), Err(Rejected::Closed)));
    }

    #[test]
    fn a_request_is_taken_back_only_before_it_has_left() {
        let outbox = Outbox::default();
        for id in 1..=3 {
            assert!(outbox.offer(frame(Kind::Ask, id, 10)).is_ok());
        }
        assert!(outbox.withdraw(2));
        assert!(!outbox.withdraw(2));
        assert_eq!(take_all(&outbox), [1, 3]);
        assert!(!outbox.withdraw(1));
        assert_eq!(lock(&outbox.state).bytes, 0);
    }
}
