//! An authority that signs whatever a test needs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::pki_types::UnixTime;

use super::TlsFiles;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One that signs certificates.
pub(crate) struct TestAuthority(CertifiedIssuer<'static, KeyPair>);

/// From when until when, counted from now.
#[derive(Clone, Copy)]
pub(crate) enum Validity {
    For(Duration),
    EndedBefore(Duration),
    From(Duration),
}

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ha-net-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(UnixTime::now().as_secs())
}

impl TestAuthority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key.
    pub(crate) fn sign(&self, names: &[&str], validity: Validity) -> (String, String) {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        let (from, until) = match validity {
            Validity::For(time) => (now() - DAY, now() + time),
            Validity::EndedBefore(time) => (now() - time - 9 * DAY, now() - time),
            Validity::From(time) => (now() + time, now() + time + 9 * DAY),
        };
        (params.not_before, params.not_after) = (from.into(), until.into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes the three files of a node.
    pub(crate) fn issue(&self, folder: &Folder, node: &str, names: &[&str], validity: Validity) -> TlsFiles {
        let path = |kind: &str| folder.path().join(format!("{node}.{kind}"));
        let files = TlsFiles { certificate: path("crt"), key: path("key"), authorities: path("ca") };
        let (certificate, key) = self.sign(names, validity);
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        std::fs::write(&files.authorities, self.pem()).unwrap();
        files
    }
}
