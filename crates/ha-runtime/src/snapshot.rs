//! The whole control state of a cluster, saved and brought back.

use ha_cluster::{Archive, ClusterId, RestoreError, SaveError};

use crate::Ha;

/// What whoever restores knows and wants all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreAnyway {
    /// The state was saved from another cluster.
    pub foreign: bool,
    /// This cluster holds keys or locks, which will be gone.
    pub overwrite: bool,
}

/// Why nothing was restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreRefused {
    /// It is the state of another cluster.
    #[error(
        "the state was saved from cluster {saved}, and this is {own}: say that a foreign one is wanted (`--foreign`)"
    )]
    Foreign {
        /// The other one.
        saved: ClusterId,
        /// This one.
        own: ClusterId,
    },
    /// There is something that would be lost.
    #[error(
        "this cluster runs and holds {what}, which would be gone: say that they may be overwritten (`--overwrite`)"
    )]
    HoldsState {
        /// How many keys and locks, for people.
        what: String,
    },
    /// This node belongs to no cluster yet.
    #[error("this node belongs to no cluster yet: wait until it has formed")]
    Unformed,
    /// It was tried.
    #[error(transparent)]
    Failed(RestoreError),
}

impl Ha {
    /// Saves the state of keys, locks, roles and ordered records, as it is at some moment after this call began. Writes
    /// go on meanwhile.
    pub async fn save_snapshot(&self) -> Result<Archive, SaveError> {
        self.cluster().seat().save().await
    }

    /// Replaces that state on every node of the cluster by a saved one. Tokens and revisions go on above all that was
    /// ever given in either cluster; watches end, and begin anew from what is there.
    pub async fn restore_snapshot(&self, archive: &Archive, anyway: RestoreAnyway) -> Result<(), RestoreRefused> {
        let own = self.cluster().view().cluster_id.ok_or(RestoreRefused::Unformed)?;
        let saved = archive.cluster_id();
        if saved != own && !anyway.foreign {
            return Err(RestoreRefused::Foreign { saved, own });
        }
        self.cluster().seat().restore(archive.clone(), anyway.overwrite).await.map_err(|error| match error {
            RestoreError::Holds { what } => RestoreRefused::HoldsState { what },
            error => RestoreRefused::Failed(error),
        })?;
        tracing::warn!(saved_from = %saved, epoch = %archive.epoch(), "a saved state replaced that of this cluster");
        Ok(())
    }
}
