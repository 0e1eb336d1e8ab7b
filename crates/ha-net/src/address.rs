//! Where a node listens, as text that can be dialled.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A host (name, IPv4 or IPv6) and a TCP port, written `host:port` or `[v6]:port`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// An address from its two parts; brackets around an IPv6 host are taken off.
    pub fn new(host: impl Into<String>, port: u16) -> Result<Self, AddressError> {
        let host = host.into();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(&host).to_owned();
        if host.is_empty() || host.len() > 255 || host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/')
        {
            return Err(AddressError::Host { host });
        }
        Ok(Self { host, port })
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let missing = || AddressError::Port { text: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(missing)?;
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(AddressError::Brackets { text: text.to_owned() });
        }
        Self::new(host, port.parse().map_err(|_| missing())?)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The host is empty or cannot be one.
    #[error("{host:?} is not a host name or IP address")]
    Host {
        /// What stood there.
        host: String,
    },
    /// No `:port`, or one that is not 0 to 65535.
    #[error("{text:?} is not host:port with a port from 0 to 65535")]
    Port {
        /// The whole text.
        text: String,
    },
    /// An IPv6 host without brackets.
    #[error("{text:?}: write an IPv6 address as [address]:port")]
    Brackets {
        /// The whole text.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_names_and_brackets() {
        for text in ["node-1:7946", "10.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:7"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:7".parse::<Address>().unwrap(), Address::new("::1", 7).unwrap());
        assert_eq!(Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9))).to_string(), "127.0.0.1:9");
    }

    #[test]
    fn what_cannot_be_dialled_is_an_error() {
        for text in ["", "host", "host:", "host:65536", "host:-1", ":7", "[]:7", "a b:7", "a/b:7"] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
        assert!(matches!("::1:7".parse::<Address>(), Err(AddressError::Brackets { .. })));
        assert!(Address::new("x".repeat(256), 7).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_that_comes_back_or_an_error(text in ".{0,40}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }
    }
}
