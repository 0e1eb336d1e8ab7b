//! Somebody listens.

use tokio::net::TcpStream;

use crate::check::{Boxed, Check};
use crate::{RegisterError, Verdict};

/// Passes when a TCP connection can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpCheck {
    address: String,
}

impl TcpCheck {
    /// Connects to `HOST:PORT`.
    pub fn new(address: &str) -> Result<Self, RegisterError> {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(port)) if port > 0 => Ok(Self { address: address.to_owned() }),
            _ => Err(RegisterError::Target { target: address.to_owned(), expected: "HOST:PORT" }),
        }
    }
}

impl Check for TcpCheck {
    fn check(&self) -> Boxed<Verdict> {
        let address = self.address.clone();
        Box::pin(async move {
            match TcpStream::connect(&address).await {
                Ok(_) => Verdict::HEALTHY,
                Err(error) => Verdict::Failed(format!("cannot connect to {address}: {error}")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_listener_is_found_and_missed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let check = TcpCheck::new(&address).unwrap();
        assert_eq!(check.check().await, Verdict::HEALTHY);
        drop(listener);
        let Verdict::Failed(reason) = check.check().await else { panic!("nobody listens") };
        assert!(reason.contains(&address) && reason.contains("refused"), "{reason}");
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for address in ["127.0.0.1", ":80", "host:0", "host:x", "host:70000", ""] {
            assert!(TcpCheck::new(address).is_err(), "{address}");
        }
        assert!(TcpCheck::new("[::1]:80").is_ok());
    }
}
