//! The real network.

use std::io;
use std::net::{IpAddr, SocketAddr};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::{Listener, Socket, Wire};
use crate::Address;
use crate::limits::{LOOKUPS_MAX, NEXT_ADDRESS_WAIT};

/// Connections that the kernel keeps ready to be accepted, where it is set to allow so many.
const BACKLOG: u32 = 4096;

/// One for the process, as the resolver is.
static LOOKUPS: Semaphore = Semaphore::const_new(LOOKUPS_MAX);

/// TCP of tokio. Names are looked up on tokio's blocking threads, so that a slow resolver delays nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpWire;

impl Wire for TcpWire {
    fn dial<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Socket>>> {
        Box::pin(async move {
            let places = look_up(address.host(), address.port()).await?;
            let stream = connect_first(places).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Socket>)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A node that was killed must be able to listen again while its old connections linger in the kernel.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(Box::new(TcpDoor(socket.listen(BACKLOG)?)) as Box<dyn Listener>)
        })
    }

    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(look_up(host, port))
    }
}

struct TcpDoor(TcpListener);

impl Listener for TcpDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            // It fails only when the connection is gone already, which reading will tell.
            let _ = stream.set_nodelay(true);
            Ok((Box::new(stream) as Box<dyn Socket>, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let name = host.to_owned();
    // In a task of its own: whoever gives up does not free the thread that waits for the resolver.
    let looking = tokio::spawn(async move {
        let found = tokio::net::lookup_host((name, port)).await.map(Iterator::collect);
        drop(permit);
        found
    });
    let found: Vec<SocketAddr> = looking.await.map_err(io::Error::other)??;
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("no address is known for {host}")));
    }
    Ok(found)
}

/// Connects to whichever place answers first. They are tried in order, the next one as soon as the last one has failed
/// or has been silent for a while (as RFC 8305 does), so that one dead address among several costs little.
async fn connect_first(places: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = places.into_iter();
    let mut trying = FuturesUnordered::new();
    let mut failure = None;
    trying.extend(waiting.next().map(TcpStream::connect));
    loop {
        tokio::select! {
            biased;
            ended = trying.next() => match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    // A refusal is believed only when no address fails in another way: it says that nobody listens.
                    if failure.as_ref().is_none_or(|known: &io::Error| known.kind() == io::ErrorKind::ConnectionRefused) {
                        failure = Some(error);
                    }
                    trying.extend(waiting.next().map(TcpStream::connect));
                }
                None => return Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into())),
            },
            () = sleep(NEXT_ADDRESS_WAIT), if waiting.len() > 0 => {
                trying.extend(waiting.next().map(TcpStream::connect));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let setup = super::super::conformance::Setup {
            dialling: std::sync::Arc::new(TcpWire),
            listening: std::sync::Arc::new(TcpWire),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            host: "127.0.0.1".to_owned(),
        };
        super::super::conformance::check(&setup).await;
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = door.local_addr().unwrap();
        let closed = {
            let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        assert_eq!(connect_first(vec![closed, open]).await.unwrap().peer_addr().unwrap(), open);
        assert_eq!(connect_first(vec![closed, closed]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect_first(vec![]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn names_and_numbers_are_looked_up() {
        assert_eq!(look_up("::1", 7).await.unwrap(), ["[::1]:7".parse().unwrap()]);
        assert!(look_up("localhost", 7).await.unwrap().iter().all(|found| found.ip().is_loopback()));
    }
}
