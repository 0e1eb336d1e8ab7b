//! The decoders: each room names its own.

/// Something that takes bytes of others.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Valid inputs, or nearly, to begin with.
    pub seeds: Vec<Vec<u8>>,
    /// Takes one input.
    pub take: fn(&[u8]),
}

/// A certificate and a key that nobody uses.
const CERTIFICATE: &[u8] = include_bytes!("../seeds/node.crt");
const KEY: &[u8] = include_bytes!("../seeds/node.key");

/// All of them.
pub fn targets() -> Vec<Target> {
    let certificates: ha_net::fuzzing::Target = ("certificates", certificates(), ha_net::fuzzing::certificates);
    let all = ha_net::fuzzing::targets()
        .into_iter()
        .chain([certificates])
        .chain(ha_cluster::fuzzing::targets())
        .chain(ha_state::fuzzing::targets())
        .chain(ha_replication::fuzzing::targets())
        .chain(ha_failover::fuzzing::targets())
        .chain(ha_config::fuzzing::targets())
        .chain(ha_http::fuzzing::targets());
    all.map(|(name, seeds, take)| Target { name, seeds, take }).collect()
}

/// The one of that name.
pub fn find(name: &str) -> Option<Target> {
    targets().into_iter().find(|target| target.name == name)
}

fn certificates() -> Vec<Vec<u8>> {
    let der = ha_net::fuzzing::der(CERTIFICATE);
    vec![CERTIFICATE.to_vec(), KEY.to_vec(), [CERTIFICATE, KEY].concat(), der]
}
