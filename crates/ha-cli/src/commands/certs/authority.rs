//! The authority that signs the certificates of one cluster's nodes.

use std::time::{Duration, SystemTime};

use ha_runtime::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustix::time::{ClockId, clock_gettime};

use super::files::{Folder, Mode};
use crate::failure::Failure;

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
const NAME: &str = "authority of an ha cluster";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an authority is good for.
const AUTHORITY_DAYS: u32 = 3650;
/// How far a node's clock may be behind the one here.
const CLOCK_MARGIN: Duration = Duration::from_secs(60 * 60);

pub(super) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// The authority whose key stands in the folder; a new one when there is none.
    pub(super) fn of(folder: &Folder) -> Result<Self, Failure> {
        let key = if folder.has(KEY) {
            if !folder.has(CERTIFICATE) {
                return Err(Failure::failed(format_args!("{KEY} is there, and {CERTIFICATE} is not: which is lost?")));
            }
            KeyPair::from_pem(&folder.read(KEY)?).map_err(|error| cannot(&format!("use {KEY}"), &error))?
        } else {
            let key = KeyPair::generate().map_err(|error| cannot("make a key", &error))?;
            let certificate = params()?.self_signed(&key).map_err(|error| cannot("sign", &error))?;
            folder.write(CERTIFICATE, &certificate.pem(), Mode::Public)?;
            folder.write(KEY, &key.serialize_pem(), Mode::Secret)?;
            key
        };
        Ok(Self(Issuer::new(params()?, key)))
    }

    /// A certificate for a node, and its key.
    pub(super) fn sign(&self, node: &NodeId, days: u32) -> Result<(String, String), Failure> {
        let mut params =
            CertificateParams::new(vec![node.to_string()]).map_err(|error| cannot("name the node", &error))?;
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A node dials and is dialled.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, days);
        let key = KeyPair::generate().map_err(|error| cannot("make a key", &error))?;
        let certificate = params.signed_by(&key, &self.0).map_err(|error| cannot("sign", &error))?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn params() -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(Vec::new()).map_err(|error| cannot("name the authority", &error))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    // It signs nodes, and no other authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, AUTHORITY_DAYS);
    Ok(params)
}

fn valid_for(params: &mut CertificateParams, days: u32) {
    let since_1970 = clock_gettime(ClockId::Realtime).tv_sec;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(since_1970).unwrap_or_default());
    params.not_before = (now - CLOCK_MARGIN).into();
    params.not_after = (now + DAY * days).into();
}

fn cannot(what: &str, error: &rcgen::Error) -> Failure {
    Failure::failed(format_args!("cannot {what}: {error}"))
}
