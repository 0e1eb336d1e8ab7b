//! What stands between a node's network and whoever can reach its port: TLS, where the options ask for it, and the
//! secret that nodes share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{Seams, Secret};
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

/// How often the file of the secret is looked at.
const SECRET_READ_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps a node's secret as its file says, for as long as the node uses it: while one secret follows another the file
/// holds both. What cannot be used is told once, and changes nothing. Must be called on a tokio runtime.
pub(crate) fn follow_secret(config: &ha_config::Config, secret: Option<&Secret>) {
    if let (Some(path), Some(secret)) = (&config.cluster.secret_file, secret) {
        tokio::spawn(follow(path.clone(), secret.clone()));
    }
}

async fn follow(path: PathBuf, secret: Secret) {
    let mut last = None;
    while secret.is_shared() {
        let read = read(path.clone()).await;
        if read.is_some() && read != last {
            let is_first = last.is_none();
            match &read {
                Some(Ok(secrets)) => {
                    secret.replace(secrets.iter().map(ha_config::Secret::expose));
                    if !is_first {
                        tracing::info!(secrets = secrets.len(), "the secrets in CLUSTER_SECRET_FILE are in use");
                    }
                }
                Some(Err(reason)) => {
                    let file = path.display();
                    tracing::warn!(%file, "the old secret stays in use: the file (CLUSTER_SECRET_FILE) {reason}");
                }
                None => {}
            }
            last = read;
        }
        tokio::time::sleep(SECRET_READ_INTERVAL).await;
    }
}

/// Reads on a thread that may block; `None` when this process is ending.
async fn read(path: PathBuf) -> Option<Result<Vec<ha_config::Secret>, String>> {
    let reading = tokio::task::spawn_blocking(move || ha_config::read_secrets(Path::new(&path)));
    reading.await.ok()
}
