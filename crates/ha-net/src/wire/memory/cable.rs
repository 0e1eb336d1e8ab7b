//! One connection in memory: a buffer in each direction.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sync::lock;

/// Bytes that one direction holds before its writer has to wait.
const BUFFER_BYTES: usize = 64 * 1024;

/// Both directions of a connection between two hosts.
pub(super) struct Cable {
    hosts: [String; 2],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What each end has sent.
    flows: [Flow; 2],
    cut: bool,
    reset: bool,
}

#[derive(Default)]
struct Flow {
    bytes: VecDeque<u8>,
    /// The writer has finished.
    closed: bool,
    /// The reader is gone, so that a write is answered with a reset.
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Flow {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl Cable {
    /// The two ends of a new connection, that of the first host first.
    pub(super) fn between(a: &str, b: &str) -> (MemorySocket, MemorySocket) {
        let cable = Arc::new(Self { hosts: [a.to_owned(), b.to_owned()], state: Mutex::default() });
        (MemorySocket { cable: Arc::clone(&cable), end: 0 }, MemorySocket { cable, end: 1 })
    }

    pub(super) fn touches(&self, host: &str) -> bool {
        self.hosts.iter().any(|end| end == host)
    }

    pub(super) fn connects(&self, a: &str, b: &str) -> bool {
        let [first, second] = &self.hosts;
        (first == a && second == b) || (first == b && second == a)
    }

    pub(super) fn set_cut(&self, cut: bool) {
        self.change(|state| state.cut = cut);
    }

    pub(super) fn reset(&self) {
        self.change(|state| state.reset = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        state.flows.iter_mut().for_each(Flow::wake);
    }
}

/// One end of a connection in memory.
pub(super) struct MemorySocket {
    cable: Arc<Cable>,
    end: usize,
}

impl MemorySocket {
    pub(super) fn cable(&self) -> Weak<Cable> {
        Arc::downgrade(&self.cable)
    }
}

fn reset_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")
}

impl AsyncRead for MemorySocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.cable.state);
        if state.reset {
            return Poll::Ready(Err(reset_error()));
        }
        let cut = state.cut;
        let flow = &mut state.flows[1 - self.end];
        if cut || (flow.bytes.is_empty() && !flow.closed) {
            flow.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (front, _) = flow.bytes.as_slices();
        let count = front.len().min(buffer.remaining());
        buffer.put_slice(&front[..count]);
        flow.bytes.drain(..count);
        if let Some(writer) = flow.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemorySocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.cable.state);
        if state.reset {
            return Poll::Ready(Err(reset_error()));
        }
        let cut = state.cut;
        let flow = &mut state.flows[self.end];
        if flow.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if flow.reader_gone && !cut {
            return Poll::Ready(Err(reset_error()));
        }
        let count = bytes.len().min(BUFFER_BYTES - flow.bytes.len());
        if count == 0 && !bytes.is_empty() {
            flow.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        flow.bytes.extend(&bytes[..count]);
        if let Some(reader) = flow.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cable.change(|state| state.flows[self.end].closed = true);
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        self.cable.change(|state| {
            state.flows[self.end].closed = true;
            state.flows[1 - self.end].reader_gone = true;
        });
    }
}
