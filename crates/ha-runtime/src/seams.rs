//! The machine that a node runs on.

use std::sync::Arc;

use ha_cluster::Seams;
use ha_cluster::clock::BootClock;
use ha_cluster::disk::RealDisk;
use ha_net::wire::TcpWire;

/// The real network, disk and clock.
pub(crate) fn real() -> Seams {
    Seams { wire: Arc::new(TcpWire), disk: Arc::new(RealDisk), clock: Arc::new(BootClock) }
}
