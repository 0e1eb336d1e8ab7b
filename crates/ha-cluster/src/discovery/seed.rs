//! Seeds as text.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ha_net::{Address, AddressError};

use crate::Seed;

/// What marks a name that is to be looked up for all its addresses.
const DNS: &str = "dns:";
/// Longest name in the domain name system, in bytes.
const NAME_BYTES_MAX: usize = 253;

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        let text = text.trim();
        let name = text.strip_prefix(DNS);
        match name.filter(|rest| rest.parse::<u16>().is_err()) {
            Some(rest) => dns(text, rest),
            // A host that is called "dns" is an address like any other.
            None => {
                let address: Address = text.parse()?;
                if address.port() == 0 {
                    return Err(SeedError::Port { text: text.to_owned() });
                }
                Ok(Self::Address(address))
            }
        }
    }
}

fn dns(text: &str, rest: &str) -> Result<Seed, SeedError> {
    let (name, port) = rest.rsplit_once(':').ok_or_else(|| SeedError::Dns { text: text.to_owned() })?;
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(SeedError::NotAName { name: name.to_owned(), port: port.to_owned() });
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(fits) {
        return Err(SeedError::Name { name: name.to_owned() });
    }
    match port.parse() {
        Ok(port) if port > 0 => Ok(Seed::Dns { name: name.to_owned(), port }),
        _ => Err(SeedError::Port { text: text.to_owned() }),
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Dns { name, port } => write!(f, "{DNS}{name}:{port}"),
        }
    }
}

/// Why a text is not a seed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// Neither an address nor a name to look up.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A name to look up, without a port.
    #[error("{text:?}: write dns:NAME:PORT")]
    Dns {
        /// The whole text.
        text: String,
    },
    /// A name that cannot be one.
    #[error("{name:?} is not a name that can be looked up")]
    Name {
        /// What stood there.
        name: String,
    },
    /// An address where a name should be.
    #[error("{name} is an address, not a name: write {name}:{port} without dns:")]
    NotAName {
        /// What stood there.
        name: String,
        /// And its port.
        port: String,
    },
    /// A port that nobody can be reached at.
    #[error("{text:?}: the port of a seed is a number from 1 to 65535")]
    Port {
        /// The whole text.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_return_as_text() {
        for text in ["a:7946", "10.0.0.1:1", "[::1]:7946", "dns:nodes.example:7946", "dns:7946"] {
            let seed: Seed = text.parse().unwrap();
            assert_eq!(seed.to_string(), text);
        }
        assert_eq!("dns:a_b.c:1".parse(), Ok(Seed::Dns { name: "a_b.c".to_owned(), port: 1 }));
        assert_eq!(" dns:1 ".parse(), Ok(Seed::Address(Address::new("dns", 1).unwrap())));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, sentence) in [
            ("", r#""" is not host:port with a port from 0 to 65535"#),
            ("a", r#""a" is not host:port with a port from 0 to 65535"#),
            ("a:0", r#""a:0": the port of a seed is a number from 1 to 65535"#),
            ("::1:7946", r#""::1:7946": write an IPv6 address as [address]:port"#),
            ("dns:a", r#""dns:a": write dns:NAME:PORT"#),
            ("dns:a:", r#""dns:a:": the port of a seed is a number from 1 to 65535"#),
            ("dns:a:70000", r#""dns:a:70000": the port of a seed is a number from 1 to 65535"#),
            ("dns::7946", r#""" is not a name that can be looked up"#),
            ("dns:a b:7946", r#""a b" is not a name that can be looked up"#),
            ("dns:10.0.0.1:7946", "10.0.0.1 is an address, not a name: write 10.0.0.1:7946 without dns:"),
            ("dns:[::1]:7946", "[::1] is an address, not a name: write [::1]:7946 without dns:"),
        ] {
            let error = text.parse::<Seed>().unwrap_err();
            assert_eq!(error.to_string(), sentence);
        }
    }
}
