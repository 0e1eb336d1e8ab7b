//! The three files of a node: read, and checked as its peers will check them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

use super::verify::{Authority, ends_at};

/// Longest of these files, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// What both sides say they speak within TLS, so that a service of another kind is not taken for a node.
const PROTOCOL: &[u8] = b"ha-net";

/// Where a node's certificate is, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of this node, and those between it and the authority, if any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that sign the certificates of nodes. While one follows another, both stand here.
    pub authorities: PathBuf,
}

/// Why these files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is missing, too long, or not PEM.
    #[error("{option}: {path} cannot be used: {reason}", path = .path.display())]
    File {
        /// The option that names it.
        option: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Each is right by itself, and together they are not.
    #[error("CLUSTER_TLS_CERT, CLUSTER_TLS_KEY, CLUSTER_TLS_CA: {reason}")]
    Together {
        /// What is wrong.
        reason: String,
    },
}

/// What stands in the files, ready for use.
pub(super) struct Loaded {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    /// From then on no peer accepts this node's certificate, in time since 1970.
    pub(super) ends_at: Duration,
}

/// When the files were written last, and how long they are: what changes when they are renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<(SystemTime, u64)>; 3]);

impl TlsFiles {
    pub(super) fn stamp(&self) -> Stamp {
        let of = |path: &Path| path.metadata().ok().and_then(|found| Some((found.modified().ok()?, found.len())));
        Stamp([of(&self.certificate), of(&self.key), of(&self.authorities)])
    }

    /// Reads and checks. Blocks.
    pub(super) fn load(&self, now: UnixTime) -> Result<Loaded, TlsError> {
        let chain = certificates("CLUSTER_TLS_CERT", &self.certificate)?;
        let trusted = certificates("CLUSTER_TLS_CA", &self.authorities)?;
        let key = read("CLUSTER_TLS_KEY", &self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| wrong_file("CLUSTER_TLS_KEY", &self.key, &format!("no private key in PEM: {error}")))?;
        let mut roots = RootCertStore::empty();
        for authority in trusted {
            roots
                .add(authority)
                .map_err(|error| wrong_file("CLUSTER_TLS_CA", &self.authorities, &error.to_string()))?;
        }
        let together = |reason: String| TlsError::Together { reason };
        let provider = Arc::new(ring::default_provider());
        let authority = Authority::new(Arc::new(roots), &provider);
        let ends_at =
            authority.check_chain(&chain, now).and_then(|()| ends_at(&authority, &chain)).map_err(|error| {
                together(format!("this node's own certificate would be refused: {}", super::verdict::sentence(&error)))
            })?;
        let configs = configs(&provider, &authority, chain, key);
        let (server, client) = configs.map_err(|error| together(error.to_string()))?;
        Ok(Loaded { server: Arc::new(server), client: Arc::new(client), ends_at })
    }
}

fn configs(
    provider: &Arc<CryptoProvider>,
    authority: &Authority,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(ServerConfig, ClientConfig), Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), Arc::clone(provider))
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())?;
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    let mut client = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(authority.clone()))
        .with_client_auth_cert(chain, key)?;
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok((server, client))
}

fn wrong_file(option: &'static str, path: &Path, reason: &str) -> TlsError {
    TlsError::File { option, path: path.to_owned(), reason: reason.to_owned() }
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| wrong_file(option, path, &error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong_file(option, path, &format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(option, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong_file(option, path, "there is no certificate in PEM in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong_file(option, path, &error.to_string())),
    }
}
