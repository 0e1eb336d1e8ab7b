//! Mutual TLS over another wire: both sides show a certificate that the cluster's authority has signed.
//!
//! TLS 1.3 only, and no session is resumed, so that every connection is checked against the certificates of today. Who
//! may call itself what is checked later, at the hello, where a node says its name: see [`names`].
//!
//! The handshake runs when the socket is first used. Accepting therefore waits for nobody, and the time and the number
//! of handshakes are bounded as those of greetings are.

mod files;
mod keys;
mod verdict;
mod verify;

use std::any::Any;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{Listener, Socket, Wire};
use crate::Address;

pub use files::{TlsError, TlsFiles};
pub use keys::{EXPIRY_WARNING, TlsKeys};
pub(crate) use verdict::{refusal_of, speaks_tls};
#[cfg(feature = "testing")]
pub(crate) use verify::authority;
pub use verify::can_be_named;
pub(crate) use verify::names;

/// TLS over another wire.
#[derive(Clone)]
pub struct TlsWire {
    under: Arc<dyn Wire>,
    keys: TlsKeys,
}

impl TlsWire {
    /// TLS with these keys over that wire.
    pub fn new(under: Arc<dyn Wire>, keys: TlsKeys) -> Self {
        Self { under, keys }
    }
}

impl Wire for TlsWire {
    fn dial<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Socket>>> {
        Box::pin(async move {
            let socket = self.under.dial(address).await?;
            let connector = TlsConnector::from(self.keys.client());
            // Nobody looks at this name: it is not sent, and what the certificate must say is known after the hello.
            let name = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let shaking = async move { connector.connect(name, socket).await.map(TlsStream::from) };
            Ok(Box::new(TlsSocket::shaking(shaking)) as Box<dyn Socket>)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let door = self.under.listen(address).await?;
            Ok(Box::new(TlsDoor { door, keys: self.keys.clone() }) as Box<dyn Listener>)
        })
    }

    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.under.lookup(host, port)
    }
}

struct TlsDoor {
    door: Box<dyn Listener>,
    keys: TlsKeys,
}

impl Listener for TlsDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>> {
        Box::pin(async move {
            let (socket, from) = self.door.accept().await?;
            let acceptor = TlsAcceptor::from(self.keys.server());
            let shaking = async move { acceptor.accept(socket).await.map(TlsStream::from) };
            Ok((Box::new(TlsSocket::shaking(shaking)) as Box<dyn Socket>, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.door.local_addr()
    }
}

type Stream = TlsStream<Box<dyn Socket>>;

/// A socket whose handshake runs when it is first used.
enum TlsSocket {
    Shaking(BoxFuture<'static, io::Result<Stream>>),
    Ready(Box<Stream>),
    Failed,
}

impl TlsSocket {
    fn shaking(handshake: impl Future<Output = io::Result<Stream>> + Send + 'static) -> Self {
        Self::Shaking(Box::pin(handshake))
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Stream>>> {
        if let Self::Shaking(handshake) = self {
            match ready!(handshake.as_mut().poll(cx)) {
                Ok(stream) => *self = Self::Ready(Box::new(stream)),
                Err(error) => {
                    *self = Self::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        match self {
            Self::Ready(stream) => Poll::Ready(Ok(Pin::new(stream.as_mut()))),
            Self::Shaking(_) | Self::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_shutdown(cx)
    }
}

/// The certificate that the other side has shown; `None` where the wire has none to show.
pub(crate) fn certificate_of(socket: &dyn Socket) -> Option<&CertificateDer<'static>> {
    let socket: &dyn Any = socket;
    match socket.downcast_ref()? {
        TlsSocket::Ready(stream) => stream.get_ref().1.peer_certificates()?.first(),
        TlsSocket::Shaking(_) | TlsSocket::Failed => None,
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
