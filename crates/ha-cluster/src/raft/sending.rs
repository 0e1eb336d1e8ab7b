//! Sends the newest snapshot to a node that is too far behind for the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ha_net::{AskError, Net, NodeId};
use openraft::errors::{NetworkError, StreamingError, Unreachable};

use super::codec::{SnapshotHead, get, put};
use super::network::{believed, term_of};
use super::server::SNAPSHOT_BYTES_MAX;
use super::types::{Body, Snapshot, Types, Vote};
use crate::service;
use crate::snapshot::SnapshotError;

/// Bytes per frame of a snapshot.
const CHUNK_BYTES: usize = 256 * 1024;
/// How much is read at once.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// How long the receiver of a snapshot may take to install it, once it has every byte.
const INSTALL_PATIENCE: Duration = Duration::from_secs(300);
/// How long nothing is tried after there was nothing that could be sent.
const UNSENT_PAUSE: Duration = Duration::from_secs(10);
/// How long nothing is tried after one that did not arrive: openraft tries again at once, and each try reads all of it.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Why there is nothing that could be sent.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("no snapshot is sent: a witness leads, which has no state")]
    Witness,
    #[error(
        "no snapshot is sent: it has {bytes} bytes, and a node takes {SNAPSHOT_BYTES_MAX} at most. Nodes that join, or \
         were away for long, cannot catch up before less is kept"
    )]
    TooLarge { bytes: u64 },
    #[error("no snapshot is sent: {0}")]
    Unreadable(#[from] SnapshotError),
}

/// Sends snapshots. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sender {
    net: Net,
    witness: bool,
    /// The last line about why nothing was sent: it would be the same again and again.
    said: Arc<Mutex<String>>,
}

impl Sender {
    pub(super) fn new(net: Net, witness: bool) -> Self {
        Self { net, witness, said: Arc::default() }
    }

    /// Sends one, and waits until it is installed; the vote of the node that has it then.
    pub(super) async fn send(
        &self,
        target: &NodeId,
        vote: &Vote,
        snapshot: &Snapshot,
    ) -> Result<Vote, StreamingError<Types>> {
        let sent = self.send_once(target, vote, snapshot).await;
        if sent.is_err() {
            tokio::time::sleep(FAILED_PAUSE).await;
        }
        sent
    }

    async fn send_once(
        &self,
        target: &NodeId,
        vote: &Vote,
        snapshot: &Snapshot,
    ) -> Result<Vote, StreamingError<Types>> {
        let (bytes, crc32c) = match self.measure(&snapshot.snapshot).await {
            Ok(measured) => measured,
            Err(unsent) => {
                self.say(unsent.to_string());
                tokio::time::sleep(UNSENT_PAUSE).await;
                return Err(StreamingError::Unreachable(Unreachable::new(&unsent)));
            }
        };
        let lost = |_| StreamingError::Network(NetworkError::new(&ha_net::StreamEnded));
        let unreachable = |e: AskError| StreamingError::Unreachable(Unreachable::new(&e));
        let mut frames =
            self.net.open(target, service::SNAPSHOT_LANE, service::RAFT_SNAPSHOT).await.map_err(unreachable)?;
        let head = SnapshotHead { vote: vote.into(), meta: (&snapshot.meta).into(), bytes, crc32c };
        frames.sender.send(put(&head)).await.map_err(lost)?;
        let mut sent = 0;
        while sent < bytes {
            let piece = piece(&snapshot.snapshot, sent).await;
            let mut piece = piece.map_err(|e| StreamingError::Network(NetworkError::new(&e)))?;
            sent += piece.len() as u64;
            while !piece.is_empty() {
                let chunk = piece.split_to(piece.len().min(CHUNK_BYTES));
                frames.sender.send(chunk).await.map_err(lost)?;
            }
        }
        let answer = tokio::time::timeout(INSTALL_PATIENCE, frames.receiver.recv()).await.ok().flatten();
        let answer = answer.ok_or(ha_net::StreamEnded).map_err(lost)?;
        let answer = get(&answer).map_err(|e| StreamingError::Network(NetworkError::new(&e)))?;
        believed(answer, term_of(vote)).map_err(|e| StreamingError::Network(NetworkError::new(&e)))
    }

    /// How many bytes a body has, and their CRC32C, if it may be sent.
    async fn measure(&self, body: &Body) -> Result<(u64, u32), Unsent> {
        if self.witness {
            return Err(Unsent::Witness);
        }
        match body {
            Body::Whole(body) => Ok((body.len() as u64, crc32c::crc32c(body))),
            Body::Kept(kept) if kept.body_bytes() > SNAPSHOT_BYTES_MAX => {
                Err(Unsent::TooLarge { bytes: kept.body_bytes() })
            }
            Body::Kept(kept) => Ok((kept.body_bytes(), kept.check().await?)),
        }
    }

    fn say(&self, line: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != line {
            tracing::warn!("{line}");
            *said = line;
        }
    }
}

/// A piece of a body from here on.
async fn piece(body: &Body, from: u64) -> Result<Bytes, SnapshotError> {
    match body {
        Body::Whole(body) => Ok(body.slice(usize::try_from(from).map_or(body.len(), |from| from.min(body.len()))..)),
        Body::Kept(kept) => kept.read(from, READ_BYTES).await,
    }
}
