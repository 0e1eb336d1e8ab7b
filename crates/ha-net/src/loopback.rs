//! Addresses for tests.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

/// So many addresses on loopback that nobody else listens on, and nobody's connection can sit on: the host is one of
/// this process and call, while outgoing connections begin at 127.0.0.1.
///
/// # Errors
///
/// When the system gives no port.
pub fn addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    static CALLS: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, high | 0x80, low, CALLS.fetch_add(1, Ordering::Relaxed));
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind((host, 0))).collect::<io::Result<_>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_such_an_address_does_not_begin_at_its_host() {
        let addresses = addresses(2).unwrap();
        assert_ne!(addresses[0], addresses[1]);
        let listener = TcpListener::bind(addresses[0]).unwrap();
        let near = std::net::TcpStream::connect(addresses[0]).unwrap().local_addr().unwrap();
        assert_ne!(near.ip(), listener.local_addr().unwrap().ip());
    }
}
