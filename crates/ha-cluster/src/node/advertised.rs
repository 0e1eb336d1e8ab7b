//! Where other nodes dial this one, when nobody said.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use futures::future::join_all;
use ha_net::Address;
use ha_net::wire::Wire;

use crate::discovery::{self, Input};
use crate::{Config, Seed};

/// Reserved for documentation, so that the way there is the default route.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The address that this machine uses to reach its seeds, or anything at all when none of them is known. Names among
/// them are looked up when there are only names. Returns within the time that a lookup may take.
pub(super) async fn worked_out(config: &Config, wire: &dyn Wire) -> Address {
    let listen = config.listen;
    if !listen.ip().is_unspecified() {
        return listen.into();
    }
    let seeds = seeds(config, wire).await;
    let target = target(&seeds, listen.ip());
    let ip = source_to(target.unwrap_or(ANYWHERE)).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    if ip.is_loopback() && !config.seeds.is_empty() && !target.is_some_and(|seed| seed.is_loopback()) {
        tracing::warn!(
            "other nodes are told to dial {ip}, which is this machine alone: no seed has an address yet, or there is no way \
             to it. Set CLUSTER_ADVERTISE_ADDRESS"
        );
    }
    SocketAddr::new(ip, listen.port()).into()
}

/// The addresses of the seeds.
async fn seeds(config: &Config, wire: &dyn Wire) -> Vec<IpAddr> {
    let written = config.seeds.iter().filter_map(|seed| match seed {
        Seed::Address(address) => address.host().parse().ok(),
        Seed::Dns { .. } => None,
    });
    let written: Vec<IpAddr> = written.collect();
    if !written.is_empty() {
        return written;
    }
    let found = join_all(config.seeds.iter().map(|seed| discovery::lookup(wire, seed.clone()))).await;
    let addresses = found.into_iter().filter_map(|input| match input {
        Input::Resolved { result, .. } => result.ok(),
        _ => None,
    });
    addresses.flatten().map(|address| address.ip()).collect()
}

/// The seed towards which to look. A name may stand for this machine itself, which then often is a loopback address; and
/// whoever listens on IPv4 alone is not to be dialled on IPv6.
fn target(seeds: &[IpAddr], listen: IpAddr) -> Option<IpAddr> {
    let fits = || seeds.iter().filter(|seed| seed.is_ipv4() || listen.is_ipv6());
    fits().find(|seed| !seed.is_loopback()).or_else(|| fits().next()).copied()
}

/// The address from which packets to another leave. Connecting a datagram socket sends nothing; it only chooses a route.
fn source_to(target: IpAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect((target, 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::{BoxFuture, pending, ready};
    use ha_net::wire::{Listener, Socket};

    use super::*;

    /// A network in which each name stands for these addresses.
    struct Names(Vec<SocketAddr>);

    impl Wire for Names {
        fn dial<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Socket>>> {
            pending().boxed()
        }

        fn listen(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
            pending().boxed()
        }

        fn lookup<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            ready(Ok(self.0.clone())).boxed()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_seed_is_looked_towards_that_is_another_machine_and_speaks_what_this_one_listens_to() {
        let seeds = ["127.0.1.1", "fd00::7", "10.0.0.7"].map(ip);
        assert_eq!(target(&seeds, ip("0.0.0.0")), Some(ip("10.0.0.7")));
        assert_eq!(target(&seeds, ip("::")), Some(ip("fd00::7")));
        assert_eq!((target(&seeds[..1], ip("0.0.0.0")), target(&seeds[1..2], ip("0.0.0.0"))), (Some(seeds[0]), None));
    }

    /// Without the name, the default route would decide.
    #[tokio::test]
    async fn names_are_looked_up_before_an_address_is_told_to_others() {
        let wire = Names(vec![SocketAddr::new(ip("127.0.0.9"), 1)]);
        let name = Seed::Address("node-1:7946".parse().unwrap());
        let config = Config { listen: "0.0.0.0:7946".parse().unwrap(), seeds: vec![name], ..Config::default() };
        assert_eq!(worked_out(&config, &wire).await.to_string(), "127.0.0.1:7946");
        let own = Config { listen: "10.1.2.3:7946".parse().unwrap(), ..config };
        assert_eq!(worked_out(&own, &wire).await.to_string(), "10.1.2.3:7946");
    }
}
