//! Turmoil's network behind the `Wire` seam.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use ha_net::Address;
use ha_net::wire::{Listener, Socket, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use turmoil::net::{TcpListener, TcpStream};

use super::network::Path;
use super::{Name, Network};

/// How long a dial waits before it knocks again at a host that does not answer: the first retransmission of a SYN.
const KNOCK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a refusal takes.
const ROUND_TRIP: Duration = Duration::from_millis(2);

/// The wire of one simulated host.
#[derive(Clone)]
pub struct SimWire {
    host: Name,
    network: Network,
}

impl SimWire {
    /// The wire of this host.
    pub fn new(host: Name, network: Network) -> Self {
        Self { host, network }
    }

    async fn connect(&self, to: Name, port: u16) -> io::Result<TcpStream> {
        loop {
            match self.network.path(self.host, to) {
                Path::Open => match TcpStream::connect((to.to_string(), port)).await {
                    // A link that was cut under the dial looks like a refusal to turmoil.
                    Err(_) if self.network.path(self.host, to) == Path::Silent => {}
                    result => return result,
                },
                Path::Refused => {
                    tokio::time::sleep(ROUND_TRIP).await;
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                Path::Silent => {}
            }
            tokio::time::sleep(KNOCK_INTERVAL).await;
        }
    }
}

impl Wire for SimWire {
    fn dial<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Socket>>> {
        Box::pin(async move {
            let hosts = hosts(&self.network, address.host());
            let mut result = Err(no_such_host(address.host()));
            for to in hosts {
                let recording = self.network.begin_recording(self.host, to);
                match self.connect(to, address.port()).await {
                    Ok(stream) => return Ok(Box::new(SimSocket::new(stream, self.network.clone(), recording)) as _),
                    Err(error) => result = Err(error),
                }
            }
            result
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let network = self.network.clone();
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(SimListener { listener, network }) as Box<dyn Listener>)
        })
    }

    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let hosts = hosts(&self.network, host);
            if hosts.is_empty() {
                return Err(no_such_host(host));
            }
            Ok(hosts.into_iter().map(|host| SocketAddr::new(turmoil::lookup(host.to_string()), port)).collect())
        })
    }
}

/// The hosts behind a name or an address.
fn hosts(network: &Network, host: &str) -> Vec<Name> {
    match host.parse() {
        Ok(ip) => turmoil::reverse_lookup(ip).and_then(|name| Name::parse(&name)).into_iter().collect(),
        Err(_) => network.resolve(host),
    }
}

fn no_such_host(host: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no host named {host}"))
}

struct SimListener {
    listener: TcpListener,
    network: Network,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.listener.accept().await?;
            Ok((Box::new(SimSocket::new(stream, self.network.clone(), None)) as Box<dyn Socket>, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A turmoil stream on which lost packets come late, and everything behind them too.
struct SimSocket {
    stream: TcpStream,
    network: Network,
    recording: Option<usize>,
    /// Runs while a packet that was lost waits to be sent again.
    late: Option<Pin<Box<Sleep>>>,
}

impl SimSocket {
    fn new(stream: TcpStream, network: Network, recording: Option<usize>) -> Self {
        Self { stream, network, recording, late: None }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(late) = &mut self.late {
            ready!(late.as_mut().poll(cx));
            self.late = None;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for SimSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SimSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_late(cx));
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if let Some(recording) = self.recording {
            self.network.add_recorded(recording, &bytes[..written]);
        }
        // This packet is on its way; whether the next one waits behind a lost one is decided now.
        self.late = self.network.retransmission().map(|wait| Box::pin(tokio::time::sleep(wait)));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_late(cx));
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
