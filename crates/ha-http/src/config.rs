//! Where and for whom HTTP is spoken.

use std::net::{Ipv4Addr, SocketAddr};

use crate::limits::CONNECTIONS_MAX;
use crate::{LogControl, Metrics, Token};

/// Where and for whom HTTP is spoken.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one; see [`crate::Server::local_addr`].
    pub listen: SocketAddr,
    /// What a caller must know to change something. Without one, only a server on a loopback address allows it.
    pub token: Option<Token>,
    /// Connections that have begun to speak, at once, at least 1. For a further one, one whose request is not there in
    /// full gives way.
    pub connections_max: usize,
    /// Connections that have said nothing yet, at least 1: each takes a file and little memory. The process must be
    /// able to open so many beside [`Self::connections_max`] and what it needs itself.
    pub silent_max: usize,
    /// What `/metrics` shows beside the node's own gauges.
    pub metrics: Metrics,
    /// What `POST /v1/config/log-level` changes; without it, nothing can be changed.
    pub log: Option<LogControl>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            token: None,
            connections_max: CONNECTIONS_MAX,
            silent_max: CONNECTIONS_MAX,
            metrics: Metrics::new(),
            log: None,
        }
    }
}
