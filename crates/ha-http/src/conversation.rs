//! One connection: its requests, one after the other, and when it may be ended.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::{BUFFER_BYTES_MAX, HEAD_BYTES_MAX, HEAD_READ_TIME_MAX, HEADERS_MAX, WRITE_STALL_MAX};
use crate::places::CameFrom;
use crate::short::Ways;
use crate::visitors::Visit;

/// Answers what comes in until the connection ends.
pub(crate) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ways: Ways,
    visit: Visit,
    watcher: Watcher,
) {
    let visit = Arc::new(visit);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(ways.clone(), Arc::clone(&visit), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = builder().serve_connection(Stalling::new(TokioIo::new(stream)), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIME_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
}

/// As [`converse`], for a connection that nobody counts.
#[cfg(feature = "testing")]
pub(crate) async fn conversation(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ways: Ways) {
    let service = service_fn(move |request: Request<Incoming>| {
        let ways = ways.clone();
        async move { Ok::<_, Infallible>(ways.answer(request.map(Body::new), CameFrom::NOWHERE).await) }
    });
    let _ = builder().serve_connection(Stalling::new(TokioIo::new(stream)), service).await;
}

async fn answer(ways: Ways, visit: Arc<Visit>, request: Request<Incoming>) -> Response<Body> {
    let request = if request.body().is_end_stream() {
        visit.is_answered();
        request.map(Body::new)
    } else {
        let visit = Arc::clone(&visit);
        request.map(|body| Body::new(Asking { body, visit }))
    };
    let response = ways.answer(request, CameFrom(visit.place())).await;
    visit.is_answered();
    response.map(|body| Body::new(Answering { body, visit }))
}

/// The body of a request: when it is there in full, its caller is one that is answered.
struct Asking {
    body: Incoming,
    visit: Arc<Visit>,
}

impl HttpBody for Asking {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.visit.is_answered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: when it is out, its caller is one that waits again.
struct Answering {
    body: Body,
    visit: Arc<Visit>,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.visit.waits();
    }
}

/// A socket that fails when its other side takes nothing for too long.
struct Stalling<T> {
    io: T,
    /// Until when something must have been taken; none while nothing waits.
    until: Option<Pin<Box<Sleep>>>,
}

impl<T> Stalling<T> {
    fn new(io: T) -> Self {
        Self { io, until: None }
    }

    fn judge<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_STALL_MAX)));
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: Read + Unpin> Read for Stalling<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: Write + Unpin> Write for Stalling<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.judge(cx, written)
    }
}
