//! Frames become writes: as few as possible, and no large body is copied.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};

use super::outbox::Outbox;
use crate::limits::{COPIED_BODY_BYTES_MAX, WRITE_BYTES_MAX};
use crate::traffic::Counters;
use crate::wire::Socket;

/// Writes what an outbox holds. Small frames are gathered in one buffer; a large body follows it in the same write, as
/// it is.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    gathered: BytesMut,
    large: Bytes,
    /// The socket may still hold bytes back (as TLS does).
    unflushed: bool,
    /// Grows with each byte written, to tell a slow peer from one that no longer reads.
    written: u64,
}

impl Writer {
    /// Writes until nothing is left (then it is ready) or the socket takes no more (then it is pending). Ready does
    /// not wake again: the outbox does.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut dyn Socket,
        outbox: &Outbox,
        counters: &Counters,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.is_empty() && !self.refill(cx, outbox, counters) {
                if self.unflushed {
                    ready!(Pin::new(socket).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Ready(Ok(()));
            }
            let count = ready!(self.poll_write_once(cx, socket))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(count);
        }
    }

    /// Whether all frames taken from the outbox have been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.large.is_empty()
    }

    /// How many bytes have been written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    fn refill(&mut self, cx: &mut Context<'_>, outbox: &Outbox, counters: &Counters) -> bool {
        let (mut frames, mut bytes) = (0, 0);
        let taken = outbox.poll_take(cx, |frame| {
            frames += 1;
            bytes += frame.len() as u64;
            self.gathered.extend_from_slice(&frame.head);
            if frame.body.len() > COPIED_BODY_BYTES_MAX {
                self.large = frame.body;
                return false;
            }
            self.gathered.extend_from_slice(&frame.body);
            self.gathered.len() < WRITE_BYTES_MAX
        });
        counters.sent(frames, bytes);
        taken.is_ready()
    }

    fn poll_write_once(&self, cx: &mut Context<'_>, socket: &mut dyn Socket) -> Poll<io::Result<usize>> {
        match (self.gathered.is_empty(), self.large.is_empty()) {
            (_, true) => Pin::new(socket).poll_write(cx, &self.gathered),
            (true, false) => Pin::new(socket).poll_write(cx, &self.large),
            (false, false) => {
                let parts = [IoSlice::new(&self.gathered), IoSlice::new(&self.large)];
                Pin::new(socket).poll_write_vectored(cx, &parts)
            }
        }
    }

    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        let gathered = count.min(self.gathered.len());
        self.gathered.advance(gathered);
        self.large.advance(count - gathered);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::codec::frame::{Header, Kind, LENGTH_BYTES, Outgoing, open};

    #[tokio::test]
    async fn small_and_large_frames_arrive_whole_and_in_order_through_a_narrow_pipe() {
        let outbox = Outbox::default();
        let counters = Counters::default();
        let sizes = [0, 1, COPIED_BODY_BYTES_MAX, COPIED_BODY_BYTES_MAX + 1, 5, 300_000, 0, 7];
        for (id, size) in sizes.iter().enumerate() {
            let body = Bytes::from(vec![id as u8; *size]);
            assert!(outbox.offer(Outgoing::new(Header::about(Kind::Tell, id as u64), body)).is_ok());
        }
        let (mut near, mut far) = tokio::io::duplex(1000);
        let mut writer = Writer::default();
        let write = poll_fn(|cx| writer.poll_write(cx, &mut near, &outbox, &counters));
        let read = async {
            for (id, size) in sizes.iter().enumerate() {
                let length = far.read_u32().await.unwrap() as usize;
                let mut frame = vec![0; length];
                far.read_exact(&mut frame).await.unwrap();
                let (header, body) = open(BytesMut::from(&frame[..])).unwrap();
                assert_eq!((header.id, body.len()), (id as u64, *size));
                assert!(body.iter().all(|byte| *byte == id as u8));
            }
        };
        let (written, ()) = tokio::join!(write, read);
        written.unwrap();
        assert!(writer.is_empty());
        assert_eq!(counters.read().sent_frames, sizes.len() as u64);
        assert_eq!(counters.read().sent_bytes, writer.written());
        assert_eq!(LENGTH_BYTES, 4);
    }
}
