//! The certificate that is in use, and its successors.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::files::{Loaded, Stamp, TlsError, TlsFiles};
use crate::sync::lock;

/// How often the files are looked at: a renewed certificate is in use this long after its last file was written.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// From then on before its end, a certificate is warned about.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How often.
const EXPIRY_WARNING_INTERVAL: Duration = Duration::from_secs(12 * 60 * 60);

/// A node's certificate, with its key and the authorities that it believes. Files that are renewed come into use by
/// themselves, for the connections made from then on. Cheap to clone.
#[derive(Clone)]
pub struct TlsKeys(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    loaded: Mutex<Arc<Loaded>>,
}

impl fmt::Debug for TlsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsKeys").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl TlsKeys {
    /// Reads the files, and looks after them until the last clone is dropped. Must be called on a tokio runtime.
    pub async fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let unread = || TlsError::Together { reason: "this process is ending".to_owned() };
        let (stamp, loaded) = read(&files, None).await.ok_or_else(unread)?;
        let keys = Self(Arc::new(Inner { files, loaded: Mutex::new(Arc::new(loaded?)) }));
        tokio::spawn(look_after(Arc::downgrade(&keys.0), stamp));
        Ok(keys)
    }

    /// How long this node's certificate is good for still; zero when it has ended.
    pub fn time_left(&self) -> Duration {
        self.loaded().ends_at.saturating_sub(now())
    }

    /// When it ends, in seconds since 1970.
    pub fn ends_at_seconds(&self) -> u64 {
        self.loaded().ends_at.as_secs()
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded().server)
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.loaded().client)
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&lock(&self.0.loaded))
    }
}

fn now() -> Duration {
    Duration::from_secs(UnixTime::now().as_secs())
}

/// Reads the files on a thread that may block, unless they are as they were last. The stamp is taken first: what is
/// written meanwhile is read next time.
async fn read(files: &TlsFiles, last: Option<Stamp>) -> Option<(Stamp, Result<Loaded, TlsError>)> {
    let files = files.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let stamp = files.stamp();
        (last.as_ref() != Some(&stamp)).then(|| (stamp, files.load(UnixTime::now())))
    });
    reading.await.ok().flatten()
}

async fn look_after(keys: Weak<Inner>, mut stamp: Stamp) {
    let mut warned: Option<Instant> = None;
    while let Some(inner) = keys.upgrade() {
        let keys = TlsKeys(inner);
        if warned.is_none_or(|at| at.elapsed() >= EXPIRY_WARNING_INTERVAL) && keys.time_left() <= EXPIRY_WARNING {
            warned = Some(Instant::now());
            let days = keys.time_left().as_secs() / (24 * 60 * 60);
            let file = keys.0.files.certificate.display();
            tracing::warn!(%file, days, "the certificate of this node ends soon: renew it (CLUSTER_TLS_CERT)");
        }
        if let Some(changed) = keys.renew(&stamp).await {
            (stamp, warned) = (changed, None);
        }
        drop(keys);
        sleep(RELOAD_INTERVAL).await;
    }
}

impl TlsKeys {
    /// Takes what stands in the files now, if they have changed and fit together. A renewal writes them one after the
    /// other: until the last one is there, what was in use stays in use.
    async fn renew(&self, last: &Stamp) -> Option<Stamp> {
        let (stamp, loaded) = read(&self.0.files, Some(last.clone())).await?;
        match loaded {
            Ok(loaded) => {
                *lock(&self.0.loaded) = Arc::new(loaded);
                tracing::info!(ends_at_seconds = self.ends_at_seconds(), "the renewed certificate is in use");
            }
            Err(error) => tracing::warn!(%error, "the certificate has changed and cannot be used: the old one stays"),
        }
        Some(stamp)
    }
}
