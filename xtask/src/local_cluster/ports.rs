//! Ports that stay ours from the first start of a node to its last.
//!
//! A port that the system picks (by binding port 0) lies in the range from which it also picks the near end of every
//! outgoing connection: after a node is killed, a client's connection may sit on the node's port when it comes back.
//! So test clusters take ports below that range, in blocks, and hold a lock file per block for as long as the cluster
//! lives, so that tests in other processes take other blocks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

/// First port of the first block.
const PORT_MIN: u16 = 12_000;
/// Where the last block ends. Linux picks ports for outgoing connections from 32768 on.
const PORT_MAX: u16 = 32_000;
/// Ports per block: two per node, and some that a stranger may have.
const BLOCK_PORTS: u16 = 40;
/// How far above its base a search for a free port goes.
const SEARCH_PORTS_MAX: u16 = 200;

/// Ports on loopback that no other cluster of this machine's user takes while this value lives.
#[derive(Debug)]
pub struct PortBlock {
    _lock: File,
    next: u16,
    end: u16,
}

impl PortBlock {
    /// Takes the first block that nobody holds.
    pub fn take() -> io::Result<Self> {
        let directory = lock_directory();
        fs::create_dir_all(&directory)?;
        for start in (PORT_MIN..PORT_MAX).step_by(usize::from(BLOCK_PORTS)) {
            let lock =
                OpenOptions::new().create(true).write(true).truncate(false).open(directory.join(start.to_string()))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Self { _lock: lock, next: start, end: start + BLOCK_PORTS });
            }
        }
        Err(io::Error::other("every block of test ports is in use"))
    }

    /// The next port of the block that is free now.
    pub fn port(&mut self) -> io::Result<u16> {
        while self.next < self.end {
            let port = self.next;
            self.next += 1;
            if is_free(port) {
                return Ok(port);
            }
        }
        Err(io::Error::other("this block of test ports is used up"))
    }
}

/// The first `count` free ports from `base` upwards.
pub fn search(base: u16, count: usize) -> io::Result<Vec<u16>> {
    let ports: Vec<u16> =
        (base..base.saturating_add(SEARCH_PORTS_MAX)).filter(|port| is_free(*port)).take(count).collect();
    if ports.len() == count {
        return Ok(ports);
    }
    Err(io::Error::other(format!("fewer than {count} ports are free from {base} to {}", base + SEARCH_PORTS_MAX)))
}

/// Whether a node could listen there, on loopback or on every address.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

fn lock_directory() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("ha-test-ports-{user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_share_no_port() {
        let (mut one, mut two) = (PortBlock::take().unwrap(), PortBlock::take().unwrap());
        let of_one: Vec<u16> = (0..4).map(|_| one.port().unwrap()).collect();
        let of_two: Vec<u16> = (0..4).map(|_| two.port().unwrap()).collect();
        assert!(of_one.iter().all(|port| !of_two.contains(port)));
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let mut block = PortBlock::take().unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, block.next)).unwrap();
        let taken_port = block.next;
        assert_ne!(block.port().unwrap(), taken_port);
    }

    #[test]
    fn a_search_goes_upwards() {
        let mut block = PortBlock::take().unwrap();
        // The first that can be held: a process that is just being started may still hold what was looked at.
        let hold = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        let taken = std::iter::from_fn(|| block.port().ok()).find_map(hold).unwrap();
        let base = taken.local_addr().unwrap().port();
        let found = search(base, 2).unwrap();
        assert!(found.len() == 2 && found.iter().all(|port| *port > base));
    }
}
