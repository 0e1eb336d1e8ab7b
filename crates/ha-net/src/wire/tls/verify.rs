//! Whose certificates are believed, until when, and for which names.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, SignatureScheme,
};

use crate::{Address, NodeId};

/// Longest way from a certificate to its authority: what is looked at to find when the first one on it ends.
const CHAIN_LENGTH_MAX: usize = 8;
/// Later than any certificate ends: the year 9999 and a little.
const FAR_AHEAD: Duration = Duration::from_secs(255_000_000_000);

/// The authorities of the cluster. Checks the certificate of a node that was dialled in everything but its name, which
/// nobody knows before that node has said it.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Authority {
    pub(super) fn new(roots: Arc<RootCertStore>, provider: &CryptoProvider) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms }
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }

    /// Whether a certificate, with those between it and an authority, is good at that time.
    pub(crate) fn check_chain(&self, chain: &[CertificateDer<'_>], at: UnixTime) -> Result<(), Error> {
        let (certificate, between) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.check(certificate, between, at)
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, between, at, self.algorithms.all)
    }
}

/// An authority of these roots.
#[cfg(feature = "testing")]
pub(crate) fn authority(roots: RootCertStore, provider: &CryptoProvider) -> Authority {
    Authority::new(Arc::new(roots), provider)
}

/// When the first certificate on the way to the authority ends, in time since 1970: asked of the same check that peers
/// make.
pub(super) fn ends_at(authority: &Authority, chain: &[CertificateDer<'_>]) -> Result<Duration, Error> {
    let mut at = FAR_AHEAD;
    for _ in 0..CHAIN_LENGTH_MAX {
        match authority.check_chain(chain, UnixTime::since_unix_epoch(at)) {
            Ok(()) => return Ok(at),
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                at = Duration::from_secs(not_after.as_secs());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

/// Whether a certificate is that of a node: among its names is the node's id as a DNS name, or the IP address at which it
/// is. A host name of the address counts only where the id cannot be a DNS name: who is named `node-3` could otherwise
/// call itself anything, at the address `node-3`.
pub(crate) fn names(certificate: &CertificateDer<'_>, node: &NodeId, address: &Address) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    let is_named = |name: &str| ServerName::try_from(name).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
    let host = address.host();
    is_named(node.as_str()) || ((host.parse::<IpAddr>().is_ok() || !can_be_named(node)) && is_named(host))
}

/// Whether a certificate can name a node of this id: as a DNS name it must not end with a hyphen, or be a number.
pub fn can_be_named(node: &NodeId) -> bool {
    matches!(ServerName::try_from(node.as_str()), Ok(ServerName::DnsName(_)))
}

impl ServerCertVerifier for Authority {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate, between, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
