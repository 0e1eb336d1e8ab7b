//! The machine that a node runs on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use ha_cluster::clock::BootClock;
use ha_cluster::disk::RealDisk;
use ha_cluster::{Address, Seams};
use ha_net::wire::{Listener, Socket, Wire};
use tokio::net::{TcpListener, TcpStream};

/// The real network, disk and clock.
pub(crate) fn real() -> Seams {
    Seams { wire: Arc::new(Tcp), disk: Arc::new(RealDisk), clock: Arc::new(BootClock) }
}

struct Tcp;

impl Wire for Tcp {
    fn dial<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Socket>>> {
        Box::pin(async move {
            let stream = TcpStream::connect((address.host(), address.port())).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Socket>)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(Door(TcpListener::bind(address).await?)) as Box<dyn Listener>) })
    }

    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

struct Door(TcpListener);

impl Listener for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Box<dyn Socket>, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
