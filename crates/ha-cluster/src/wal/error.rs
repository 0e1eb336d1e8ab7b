//! Why a log does not open.

use std::io;
use std::path::PathBuf;

/// Why a log does not open. Nothing in it was changed, unless [`OpenError::Io`] or [`OpenError::Full`] came after the
/// whole log had been found good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Something that was durable is damaged or gone. The node may have acknowledged it, so it must not vote or lead
    /// with what is left.
    #[error(
        "the log is damaged: {reason}, in {} at byte {offset}. Nothing was changed. If the other nodes hold a \
         majority, move this node's data directory aside and start it again under a new id, to join anew; else put an \
         intact copy of the file back", .file.display()
    )]
    Corrupt {
        /// The damaged or missing file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A newer version of this program wrote it.
    #[error(
        "{} was written by a newer version of this program ({what}): install that version again, or move the data \
         directory aside and start the node under a new id, to join anew", .file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// What is not known here.
        what: String,
    },
    /// No space is left for what must be written at each start.
    #[error("the disk is full: free some space for {}, then start again", .directory.display())]
    Full {
        /// Where the log is.
        directory: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot open the log in {}: {source}. Repair the cause, then start again", .directory.display())]
    Io {
        /// Where the log is.
        directory: PathBuf,
        /// What it said.
        source: io::Error,
    },
}
