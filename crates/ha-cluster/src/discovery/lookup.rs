//! Looking a name up, with a deadline.

use std::net::SocketAddr;
use std::time::Duration;

use ha_net::wire::Wire;

use super::Input;
use crate::Seed;

/// Longest that a lookup may take.
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

/// Looks up the addresses behind a seed, and says what to tell [`super::Discovery`]. Returns within [`LOOKUP_DEADLINE`];
/// run it beside everything else. Cancel-safe.
pub async fn lookup(wire: &dyn Wire, seed: Seed) -> Input {
    let result = match &seed {
        Seed::Address(address) => wire_lookup(wire, address.host(), address.port()).await,
        Seed::Dns { name, port } => wire_lookup(wire, name, *port).await,
    };
    Input::Resolved { seed, result }
}

async fn wire_lookup(wire: &dyn Wire, name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match tokio::time::timeout(LOOKUP_DEADLINE, wire.lookup(name, port)).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOKUP_DEADLINE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures::future::{BoxFuture, pending, ready};
    use ha_net::Address;
    use ha_net::wire::{Listener, Socket};

    use super::*;

    /// A network in which every lookup ends in the same way, or, with `None`, never.
    struct Names(Option<Result<SocketAddr, io::ErrorKind>>);

    impl Wire for Names {
        fn dial<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Socket>>> {
            Box::pin(pending())
        }

        fn listen(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
            Box::pin(pending())
        }

        fn lookup<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            match self.0 {
                Some(Ok(address)) => Box::pin(ready(Ok(vec![address]))),
                Some(Err(kind)) => Box::pin(ready(Err(kind.into()))),
                None => Box::pin(pending()),
            }
        }
    }

    async fn ask(names: Names) -> Result<Vec<SocketAddr>, String> {
        let seed: Seed = "dns:n:1".parse().unwrap();
        match lookup(&names, seed.clone()).await {
            Input::Resolved { seed: of, result } if of == seed => result,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_ends_in_any_case() {
        let address = SocketAddr::from(([10, 0, 0, 1], 1));
        assert_eq!(ask(Names(Some(Ok(address)))).await, Ok(vec![address]));
        assert!(ask(Names(Some(Err(io::ErrorKind::NotFound)))).await.is_err());
        let start = tokio::time::Instant::now();
        assert_eq!(ask(Names(None)).await, Err("no answer within 5 s".to_owned()));
        assert_eq!(start.elapsed(), LOOKUP_DEADLINE);
    }
}
