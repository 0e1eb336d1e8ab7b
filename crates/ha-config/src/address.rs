//! Where nodes are: hosts, ports, and names behind which there are many.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Longest host name, as DNS has it.
const HOST_BYTES_MAX: usize = 253;

/// What other nodes dial: a host, and a port where it is not the one this node listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name, IPv4 or IPv6 address; an IPv6 address without brackets.
    pub host: String,
    /// The TCP port, 1 to 65535; `CLUSTER_PORT` when `None`.
    pub port: Option<u16>,
}

/// A place to look for other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    /// One node: `host:port`.
    Address {
        /// Name, IPv4 or IPv6 address; an IPv6 address without brackets.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// Every address behind a name, each with this port: `dns:NAME:PORT`.
    Dns {
        /// The name to look up.
        name: String,
        /// The port of each.
        port: u16,
    },
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(text)?;
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
            return Err(AddressError::Unspecified);
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (None, _) => f.write_str(&self.host),
        }
    }
}

impl FromStr for Seed {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (name, is_dns) = match text.strip_prefix("dns:") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (host, port) = split(name)?;
        let port = port.ok_or(AddressError::Port)?;
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
            return Err(AddressError::Unspecified);
        }
        Ok(if is_dns { Self::Dns { name: host, port } } else { Self::Address { host, port } })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Address { host, port } => write!(f, "{host}:{port}"),
            Self::Dns { name, port } if name.contains(':') => write!(f, "dns:[{name}]:{port}"),
            Self::Dns { name, port } => write!(f, "dns:{name}:{port}"),
        }
    }
}

/// Takes `host`, `host:port`, `v6`, `[v6]` or `[v6]:port` apart.
fn split(text: &str) -> Result<(String, Option<u16>), AddressError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(AddressError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| AddressError::Host)?;
            match after {
                "" => (host, None),
                _ => (host, Some(after.strip_prefix(':').ok_or(AddressError::Port)?)),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(allowed) {
        return Err(AddressError::Host);
    }
    match port.map(str::parse) {
        None => Ok((host.to_owned(), None)),
        Some(Ok(port)) if port > 0 => Ok((host.to_owned(), Some(port))),
        Some(_) => Err(AddressError::Port),
    }
}

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// No host that can be dialled.
    Host,
    /// No port, or one out of range.
    Port,
    /// `0.0.0.0` or `::`.
    Unspecified,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "has no host name or IP address",
            Self::Port => "has no port from 1 to 65535",
            Self::Unspecified => "is an address to listen on: no other node can dial it",
        })
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_endpoints() {
        for text in ["node-1", "node-1:7946", "10.0.0.1", "10.0.0.1:7946", "fd00::1", "[fd00::1]:7946"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("[fd00::1]".parse::<Endpoint>().unwrap().to_string(), "fd00::1");
    }

    #[test]
    fn reads_and_prints_seeds() {
        for text in ["node-1:7946", "[fd00::1]:7946", "dns:ha.default.svc:7946"] {
            assert_eq!(text.parse::<Seed>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_cannot_be_dialled() {
        for (text, error) in [
            ("", AddressError::Host),
            (":7946", AddressError::Host),
            ("a b:7946", AddressError::Host),
            ("http://a:7946", AddressError::Port),
            ("[::1:7946", AddressError::Host),
            ("[node]:7946", AddressError::Host),
            ("node:", AddressError::Port),
            ("node:0", AddressError::Port),
            ("node:65536", AddressError::Port),
            ("node:1:2", AddressError::Port),
            ("0.0.0.0:7946", AddressError::Unspecified),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
        assert_eq!("node".parse::<Seed>(), Err(AddressError::Port));
        assert_eq!("dns:node".parse::<Seed>(), Err(AddressError::Port));
        assert_eq!("fd00::1".parse::<Seed>(), Err(AddressError::Port));
    }
}
