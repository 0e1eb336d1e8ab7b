//! The seam between real, simulated and in-memory networks.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod memory;
mod tcp;
pub mod tls;

use std::any::Any;
use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Address;

pub use tcp::TcpWire;

/// A byte stream in both directions.
pub trait Socket: AsyncRead + AsyncWrite + Any + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Any + Send + Unpin> Socket for T {}

/// Dials and listens. Implemented by TCP, by memory, and by the simulator; the module `conformance` (feature
/// `testing`) is what all of them have in common.
pub trait Wire: Send + Sync + 'static {
    /// Connects to the first address of that host that answers. Without a deadline of its own. When nobody listens
    /// there, the error is of kind `ConnectionRefused`.
    fn dial<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Socket>>>;

    /// Listens.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;

    /// Every address behind a name, for `dns:` seeds. Without a deadline of its own.
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// Accepts connections.
pub trait Listener: Send + 'static {
    /// The next connection and where it came from. Cancel-safe.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>>;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}
