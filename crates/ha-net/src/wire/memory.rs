//! A network in memory, with named hosts and faults on demand: for tests of everything above the wire.
//!
//! It behaves as TCP does: bytes arrive in order, a full buffer stops the writer, a cut wire is silence and loses
//! nothing, and only a reset or a close ends a connection.

mod cable;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};

use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc};

use super::{Listener, Socket, Wire};
use crate::Address;
use crate::sync::lock;
use cable::{Cable, MemorySocket};

/// Connections that a host keeps ready to be accepted on one port.
const BACKLOG: usize = 1024;
/// The first port that is given to a socket which asked for none.
const FIRST_FREE_PORT: u16 = 49152;

/// All hosts and what connects them. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    world: Arc<World>,
}

#[derive(Default)]
struct World {
    map: Mutex<Map>,
    /// A cut wire was healed, or a listener came up.
    changed: Notify,
}

#[derive(Default)]
struct Map {
    hosts: BTreeMap<String, Host>,
    cables: Vec<Weak<Cable>>,
    cuts: BTreeSet<(String, String)>,
    /// Numbers listeners, so that a late drop of an old one leaves a new one alone.
    listeners: u64,
}

struct Host {
    ip: IpAddr,
    doors: BTreeMap<u16, Door>,
    next_port: u16,
}

struct Door {
    number: u64,
    bell: mpsc::Sender<(MemorySocket, SocketAddr)>,
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.min(b).to_owned(), a.max(b).to_owned())
}

impl MemoryNetwork {
    /// A network without hosts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The wire of one host, which is made when it is new. It can be dialled by its name, and by the address that a
    /// lookup of that gives.
    pub fn host(&self, name: &str) -> MemoryWire {
        let mut map = lock(&self.world.map);
        let number = map.hosts.len() as u32 + 1;
        map.hosts.entry(name.to_owned()).or_insert_with(|| Host {
            ip: Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number).into(),
            doors: BTreeMap::new(),
            next_port: FIRST_FREE_PORT,
        });
        MemoryWire { world: Arc::clone(&self.world), host: name.to_owned() }
    }

    /// Cuts the wire between two hosts: nothing arrives and nothing is refused, in both directions.
    pub fn cut(&self, a: &str, b: &str) {
        let mut map = lock(&self.world.map);
        map.cuts.insert(pair(a, b));
        for cable in map.between(a, b) {
            cable.set_cut(true);
        }
    }

    /// Heals the wire between two hosts. What was written meanwhile arrives.
    pub fn heal(&self, a: &str, b: &str) {
        let mut map = lock(&self.world.map);
        map.cuts.remove(&pair(a, b));
        for cable in map.between(a, b) {
            cable.set_cut(false);
        }
        drop(map);
        self.world.changed.notify_waiters();
    }

    /// Resets every connection between two hosts.
    pub fn reset(&self, a: &str, b: &str) {
        for cable in lock(&self.world.map).between(a, b) {
            cable.reset();
        }
    }

    /// Does what the kernel does when all processes of a host are killed: its connections are reset, and nobody
    /// listens there until somebody does again.
    pub fn crash(&self, host: &str) {
        let mut map = lock(&self.world.map);
        if let Some(host) = map.hosts.get_mut(host) {
            host.doors.clear();
        }
        for cable in map.cables() {
            if cable.touches(host) {
                cable.reset();
            }
        }
    }
}

impl Map {
    fn cables(&mut self) -> Vec<Arc<Cable>> {
        self.cables.retain(|cable| cable.strong_count() > 0);
        self.cables.iter().filter_map(Weak::upgrade).collect()
    }

    fn between(&mut self, a: &str, b: &str) -> Vec<Arc<Cable>> {
        self.cables().into_iter().filter(|cable| cable.connects(a, b)).collect()
    }

    /// The name of the host that is meant, seen from another one.
    fn find(&self, from: &str, text: &str) -> io::Result<String> {
        if self.hosts.contains_key(text) {
            return Ok(text.to_owned());
        }
        let ip: Option<IpAddr> = text.parse().ok();
        if text == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
            return Ok(from.to_owned());
        }
        let found = self.hosts.iter().find(|(_, host)| ip == Some(host.ip)).map(|(name, _)| name.clone());
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no host is called {text}")))
    }
}

/// The network as one of its hosts sees it.
#[derive(Clone)]
pub struct MemoryWire {
    world: Arc<World>,
    host: String,
}

impl MemoryWire {
    /// None while the wire is cut.
    fn try_dial(&self, address: &Address) -> io::Result<Option<MemorySocket>> {
        let mut map = lock(&self.world.map);
        let to = map.find(&self.host, address.host())?;
        if map.cuts.contains(&pair(&self.host, &to)) {
            return Ok(None);
        }
        let local = map.hosts.get_mut(&self.host).map(|host| SocketAddr::new(host.ip, host.free_port()));
        let door = map.hosts.get(&to).and_then(|host| host.doors.get(&address.port()));
        let (near, far) = Cable::between(&self.host, &to);
        // A full backlog turns away as a closed port does.
        let rung = door.zip(local).is_some_and(|(door, local)| door.bell.try_send((far, local)).is_ok());
        if !rung {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens on {address}")));
        }
        map.cables.push(near.cable());
        Ok(Some(near))
    }
}

impl Host {
    fn free_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_FREE_PORT);
        port
    }
}

impl Wire for MemoryWire {
    fn dial<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Socket>>> {
        Box::pin(async move {
            loop {
                let changed = self.world.changed.notified();
                if let Some(socket) = self.try_dial(address)? {
                    return Ok(Box::new(socket) as Box<dyn Socket>);
                }
                changed.await;
            }
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let mut map = lock(&self.world.map);
            map.listeners += 1;
            let number = map.listeners;
            let host = map.hosts.get_mut(&self.host).ok_or(io::ErrorKind::NotFound)?;
            if !(address.ip().is_unspecified() || address.ip().is_loopback() || address.ip() == host.ip) {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            let port = if address.port() == 0 { host.free_port() } else { address.port() };
            if host.doors.contains_key(&port) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (bell, rings) = mpsc::channel(BACKLOG);
            host.doors.insert(port, Door { number, bell });
            let at = SocketAddr::new(host.ip, port);
            Ok(Box::new(MemoryDoor { wire: self.clone(), at, number, rings }) as Box<dyn Listener>)
        })
    }

    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let map = lock(&self.world.map);
            let name = map.find(&self.host, host)?;
            Ok(map.hosts.get(&name).map(|host| SocketAddr::new(host.ip, port)).into_iter().collect())
        })
    }
}

struct MemoryDoor {
    wire: MemoryWire,
    at: SocketAddr,
    number: u64,
    rings: mpsc::Receiver<(MemorySocket, SocketAddr)>,
}

impl Listener for MemoryDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>> {
        Box::pin(async move {
            match self.rings.recv().await {
                Some((socket, from)) => Ok((Box::new(socket) as Box<dyn Socket>, from)),
                // The host has crashed under its listener, which will never hear of anyone again.
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }
}

impl Drop for MemoryDoor {
    fn drop(&mut self) {
        let mut map = lock(&self.wire.world.map);
        if let Some(host) = map.hosts.get_mut(&self.wire.host)
            && host.doors.get(&self.at.port()).is_some_and(|door| door.number == self.number)
        {
            host.doors.remove(&self.at.port());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7);

    async fn connected() -> (MemoryNetwork, Box<dyn Socket>, Box<dyn Socket>, Box<dyn Listener>) {
        let network = MemoryNetwork::new();
        let (a, b) = (network.host("a"), network.host("b"));
        let mut door = b.listen(ANY).await.unwrap();
        let near = a.dial(&"b:7".parse().unwrap()).await.unwrap();
        let (far, from) = door.accept().await.unwrap();
        assert_eq!(from.ip(), a.lookup("a", 1).await.unwrap()[0].ip());
        (network, near, far, door)
    }

    #[tokio::test]
    async fn conforms() {
        let network = MemoryNetwork::new();
        let (a, b) = (network.host("a"), network.host("b"));
        let setup = super::super::conformance::Setup {
            dialling: Arc::new(a),
            listening: Arc::new(b),
            listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            host: "b".to_owned(),
        };
        super::super::conformance::check(&setup).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_wire_is_silent_and_loses_nothing() {
        let (network, mut near, mut far, _door) = connected().await;
        network.cut("a", "b");
        near.write_all(b"late").await.unwrap();
        let mut buffer = [0; 4];
        assert!(timeout(Duration::from_secs(60), far.read(&mut buffer)).await.is_err());
        let place: Address = "b:7".parse().unwrap();
        let wire = network.host("a");
        assert!(timeout(Duration::from_secs(60), wire.dial(&place)).await.is_err());
        network.heal("a", "b");
        far.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"late");
        assert!(wire.dial(&place).await.is_ok());
    }

    #[tokio::test]
    async fn a_crashed_host_resets_and_refuses_until_it_listens_again() {
        let (network, mut near, mut far, door) = connected().await;
        network.crash("b");
        let mut buffer = [0; 4];
        assert_eq!(near.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(far.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let place: Address = "b:7".parse().unwrap();
        let wire = network.host("a");
        assert_eq!(wire.dial(&place).await.err().map(|e| e.kind()), Some(io::ErrorKind::ConnectionRefused));
        let _again = network.host("b").listen(ANY).await.unwrap();
        drop(door);
        assert!(wire.dial(&place).await.is_ok());
    }

    #[tokio::test]
    async fn a_reset_ends_what_is_there_only() {
        let (network, mut near, _far, _door) = connected().await;
        network.reset("b", "a");
        assert!(near.read(&mut [0; 1]).await.is_err());
        assert!(network.host("a").dial(&"b:7".parse().unwrap()).await.is_ok());
    }
}
