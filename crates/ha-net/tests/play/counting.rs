//! A wire that counts its writes, as a kernel would its system calls.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use ha_net::Address;
use ha_net::wire::memory::MemoryWire;
use ha_net::wire::{Listener, Socket, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Clone)]
pub struct Counting {
    wire: MemoryWire,
    writes: Arc<AtomicUsize>,
}

impl Counting {
    pub fn new(wire: MemoryWire) -> Self {
        Self { wire, writes: Arc::default() }
    }

    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

struct Counted<T> {
    inner: T,
    writes: Arc<AtomicUsize>,
}

impl Wire for Counting {
    fn dial<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Socket>>> {
        async move {
            let inner = self.wire.dial(address).await?;
            Ok(Box::new(Counted { inner, writes: Arc::clone(&self.writes) }) as Box<dyn Socket>)
        }
        .boxed()
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        async move {
            let inner = self.wire.listen(address).await?;
            Ok(Box::new(Counted { inner, writes: Arc::clone(&self.writes) }) as Box<dyn Listener>)
        }
        .boxed()
    }

    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.wire.lookup(host, port)
    }
}

impl Listener for Counted<Box<dyn Listener>> {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>> {
        async move {
            let (inner, from) = self.inner.accept().await?;
            Ok((Box::new(Counted { inner, writes: Arc::clone(&self.writes) }) as Box<dyn Socket>, from))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl AsyncRead for Counted<Box<dyn Socket>> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted<Box<dyn Socket>> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
