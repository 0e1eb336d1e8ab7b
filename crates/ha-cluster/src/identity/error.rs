//! Why a node cannot be who it should be.

use std::io;
use std::path::{Path, PathBuf};

use ha_net::NodeId;

use crate::disk::LockError;

/// Why a data directory cannot be taken. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The directory, or something in it, may not be written.
    #[error(
        "the data directory {} is not writable: {source}. Give the user that runs this program write access, or choose \
         another directory", .directory.display()
    )]
    NotWritable {
        /// The directory.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A running process has it.
    #[error(
        "the data directory {} is in use by {}: stop that one first, or choose another directory",
        .directory.display(), match .pid { Some(pid) => format!("process {pid}"), None => "another process".to_owned() }
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// The process, when it could be told.
        pid: Option<u32>,
    },
    /// It belongs to another node.
    #[error(
        "the data directory {} belongs to node {found}, but this node is configured to be {expected}: correct the \
         node id, or choose another directory", .directory.display()
    )]
    OtherNode {
        /// The directory.
        directory: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Whose it should be.
        expected: NodeId,
    },
    /// It belongs to a node of another cluster.
    #[error(
        "the data directory {} belongs to a node of cluster {found:?}, but this node is configured for {expected:?}: \
         correct the cluster name, or choose another directory", .directory.display()
    )]
    OtherCluster {
        /// The directory.
        directory: PathBuf,
        /// The cluster it belongs to.
        found: String,
        /// The cluster it should belong to.
        expected: String,
    },
    /// A newer version of this program wrote it.
    #[error("{} has format {format}, which is newer than this program knows: install the newer version again", .file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The file cannot be trusted.
    #[error(
        "{} is damaged: {reason}. Put an intact copy back; or, if the other nodes hold a majority, move the data \
         directory aside and start the node under a new id, to join anew", .file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It holds files of a node, but not who that was.
    #[error(
        "the data directory {} holds {} but no identity file: put the file back; or, if the other nodes hold a \
         majority, move the directory aside and start the node under a new id, to join anew",
        .directory.display(), .name.display()
    )]
    Gone {
        /// The directory.
        directory: PathBuf,
        /// What is there.
        name: PathBuf,
    },
    /// It holds files that are not a node's.
    #[error(
        "the data directory {} is not empty and does not belong to a node: it holds {}. Choose an empty directory",
        .directory.display(), .name.display()
    )]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// What is there.
        name: PathBuf,
    },
    /// The name cannot be kept.
    #[error("{name:?} cannot be a cluster name: it must not be empty, nor have control characters")]
    ClusterName {
        /// The name.
        name: String,
    },
    /// No space is left.
    #[error("the disk is full: free some space for {}, then start again", .directory.display())]
    Full {
        /// The directory.
        directory: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot use the data directory {}: {source}. Repair the cause, then start again", .directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl IdentityError {
    pub(super) fn from_io(directory: &Path, source: io::Error) -> Self {
        let directory = directory.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { directory, source }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { directory },
            _ => Self::Io { directory, source },
        }
    }

    pub(super) fn from_lock(directory: &Path, error: LockError) -> Self {
        match error {
            LockError::Held { pid } => Self::Locked { directory: directory.to_owned(), pid },
            LockError::Io(source) => Self::from_io(directory, source),
        }
    }
}

/// Why a small state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// The name cannot be a file's.
    #[error("{name:?} cannot be the name of a slot")]
    Name {
        /// The name.
        name: String,
    },
    /// More than fits.
    #[error("a slot holds at most {} bytes, not {bytes}", super::SLOT_BYTES_MAX)]
    TooLong {
        /// How many it was.
        bytes: usize,
    },
    /// The file cannot be trusted: what this node once promised is not known, so it must not promise anything new.
    #[error("{} is damaged: put an intact copy back, or let the node join anew under a new id", .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
    },
    /// A newer version of this program wrote it.
    #[error("{} has format {format}, which is newer than this program knows: install the newer version again", .file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The operating system refused. After a write it is not known which of both contents is there.
    #[error(transparent)]
    Io(#[from] io::Error),
}
