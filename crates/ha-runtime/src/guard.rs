//! What stands between a node's network and whoever can reach its port: TLS, where the options ask for it.

use std::sync::Arc;

use ha_cluster::Seams;
use ha_net::wire::tls::{TlsError, TlsFiles, TlsKeys, TlsWire};

/// The network that the options ask for, over the given one; and the node's certificate, if it has one. Must be called
/// on a tokio runtime.
pub async fn guarded(config: &ha_config::Config, seams: Seams) -> Result<(Seams, Option<TlsKeys>), TlsError> {
    let cluster = &config.cluster;
    // The options are refused unless all three are there, or none.
    let (Some(certificate), Some(key), Some(authorities)) = (&cluster.tls_cert, &cluster.tls_key, &cluster.tls_ca)
    else {
        return Ok((seams, None));
    };
    let files = TlsFiles { certificate: certificate.clone(), key: key.clone(), authorities: authorities.clone() };
    let keys = TlsKeys::load(files).await?;
    let wire = Arc::new(TlsWire::new(Arc::clone(&seams.wire), keys.clone()));
    Ok((Seams { wire, ..seams }, Some(keys)))
}
