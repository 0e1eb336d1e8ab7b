//! What a failed handshake says about the two nodes, as sentences.

use std::io;

use tokio_rustls::rustls::{CertificateError, Error};

use crate::{Refusal, RefusalCode};

/// First bytes of a handshake and of an alert.
const RECORDS: [[u8; 2]; 2] = [[0x16, 3], [0x15, 3]];

/// Whether bytes that should have been a greeting are those of TLS.
pub(crate) fn speaks_tls(bytes: &[u8]) -> bool {
    RECORDS.iter().any(|record| bytes.starts_with(record))
}

/// The refusal that a failed handshake amounts to, and whether the other side made it; `None` when it ended for another
/// reason, such as a lost connection.
pub(crate) fn refusal_of(error: &io::Error) -> Option<(Refusal, bool)> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let by_peer = matches!(error, Error::AlertReceived(_));
    Some((Refusal { code: RefusalCode::Secret, message: sentence(error) }, by_peer))
}

pub(super) fn sentence(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the certificate (CLUSTER_TLS_CERT) is not signed by one of the authorities (CLUSTER_TLS_CA)".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate (CLUSTER_TLS_CERT) has expired; renew it: {error}")
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            format!("the certificate (CLUSTER_TLS_CERT) is not valid yet; compare the clocks: {error}")
        }
        Error::InvalidCertificate(_) => format!("the certificate (CLUSTER_TLS_CERT) cannot be used: {error}"),
        Error::NoCertificatesPresented => "the other side has shown no certificate (CLUSTER_TLS_CERT)".to_owned(),
        Error::AlertReceived(alert) => {
            format!("the other side refused this node's certificate (CLUSTER_TLS_CERT, CLUSTER_TLS_CA): {alert:?}")
        }
        Error::InvalidMessage(_) => "the other side does not speak TLS, and this node speaks nothing else; \
             set CLUSTER_TLS_CERT, CLUSTER_TLS_KEY and CLUSTER_TLS_CA on every node"
            .to_owned(),
        _ => format!("the TLS handshake failed (CLUSTER_TLS_CERT, CLUSTER_TLS_KEY, CLUSTER_TLS_CA): {error}"),
    }
}
