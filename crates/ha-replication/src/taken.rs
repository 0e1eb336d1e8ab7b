//! Why the node that takes writes did not acknowledge one that was passed on to it, as it is told.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ha_cluster::NodeId;
use serde::{Deserialize, Serialize};

use crate::{ReplicateError, StoreError, Version};

/// As [`ReplicateError`], for another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NotTaken {
    /// It certainly was not written.
    No { reason: String },
    /// Nor was this: the disk is full.
    Full { directory: PathBuf },
    /// It is there, and too few disks have it.
    Unconfirmed { version: Version, by: BTreeSet<NodeId>, needed: usize, reason: String },
    /// It may have been written.
    Unknown { reason: String },
}

impl From<ReplicateError> for NotTaken {
    fn from(error: ReplicateError) -> Self {
        match error {
            ReplicateError::Storage(StoreError::Full { directory }) => Self::Full { directory },
            ReplicateError::Unconfirmed { version, acknowledged_by: by, needed, reason } => {
                Self::Unconfirmed { version, by, needed, reason }
            }
            ReplicateError::Unknown { reason } => Self::Unknown { reason },
            ReplicateError::NotReplicated { reason } => Self::No { reason },
            other => Self::No { reason: other.to_string() },
        }
    }
}

impl From<NotTaken> for ReplicateError {
    fn from(told: NotTaken) -> Self {
        match told {
            NotTaken::No { reason } => Self::NotReplicated { reason },
            NotTaken::Full { directory } => StoreError::Full { directory }.into(),
            NotTaken::Unconfirmed { version, by: acknowledged_by, needed, reason } => {
                Self::Unconfirmed { version, acknowledged_by, needed, reason }
            }
            NotTaken::Unknown { reason } => Self::Unknown { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_write_is_the_same_on_the_node_that_passed_it_on() {
        let reason = "why".to_owned();
        let version = Version { time: 7, tie: Version::STAMPED };
        for error in [
            ReplicateError::NotReplicated { reason: reason.clone() },
            ReplicateError::Unknown { reason: reason.clone() },
            ReplicateError::Unconfirmed { version, acknowledged_by: BTreeSet::new(), needed: 1, reason },
            StoreError::Full { directory: "/data".into() }.into(),
        ] {
            assert_eq!(ReplicateError::from(NotTaken::from(error.clone())), error);
        }
        let other = ReplicateError::from(NotTaken::from(ReplicateError::from(StoreError::Closed)));
        assert!(matches!(other, ReplicateError::NotReplicated { .. }), "it was not written: {other}");
    }
}
