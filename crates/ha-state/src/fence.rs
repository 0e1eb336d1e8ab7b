//! Fences: what is guarded by a lock turns away who lost it without noticing.
//!
//! A lock with a lease alone cannot: a holder that is frozen between its last look at the clock and its write wakes up
//! late and writes. So the resource itself remembers the highest token that it has seen, and refuses lower ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::error::ChangeError;
use crate::txn::{Answer, Compare, Is, Operation, Txn};
use crate::{FencingToken, Key, KeyError, Revision, State};

/// Somebody later has used the resource: this token is of a holder that lost its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token {token} is stale: {highest} was here")]
pub struct Stale {
    /// The refused one.
    pub token: FencingToken,
    /// The highest so far.
    pub highest: FencingToken,
}

/// A fence in memory, for a resource that lives in one process.
///
/// ```
/// use ha_state::{Fence, FencingToken};
///
/// let fence = Fence::new();
/// assert!(fence.admit(FencingToken(7)).is_ok());
/// assert!(fence.admit(FencingToken(7)).is_ok(), "the same holder again");
/// assert!(fence.admit(FencingToken(9)).is_ok());
/// assert!(fence.admit(FencingToken(7)).is_err(), "it lost its lock to the holder of 9");
/// ```
#[derive(Debug, Default)]
pub struct Fence {
    highest: AtomicU64,
}

impl Fence {
    /// A fence that has seen nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a token pass, unless a higher one did before.
    pub fn admit(&self, token: FencingToken) -> Result<(), Stale> {
        let highest = FencingToken(self.highest.fetch_max(token.0, Ordering::AcqRel));
        if token < highest { Err(Stale { token, highest }) } else { Ok(()) }
    }
}

/// A file that only the latest holder writes, whichever processes of this machine try. Each call blocks for as long as
/// the disk and other writers take.
///
/// Beside the file `NAME` there is `NAME.fence` with the highest token. A write replaces the file as a whole: whoever
/// reads it sees the old content or the new.
#[derive(Clone, Debug)]
pub struct FencedFile {
    path: PathBuf,
}

/// Why a fenced file was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FencedFileError {
    /// The lock was lost.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// What is in the fence is no token.
    #[error("{} holds no token: remove it only when nobody writes", .file.display())]
    NoToken {
        /// The fence.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FencedFile {
    /// The file of this path, there or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the content, unless a higher token was here. Durable when this returns.
    pub fn write(&self, token: FencingToken, content: &[u8]) -> Result<(), FencedFileError> {
        let beside = |end: &str| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let (fence, draft) = (beside(".fence"), beside(".draft"));
        // Held until this returns: between the look at the token and the end of the write nobody comes.
        let mut held = self.admit(token, &fence)?;
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |source| FencedFileError::Io { file, source }
        };
        replace(&self.path, &draft, content).map_err(failed(&self.path))?;
        held.flush().map_err(failed(&fence))
    }

    fn admit(&self, token: FencingToken, fence: &Path) -> Result<File, FencedFileError> {
        let failed = |source| FencedFileError::Io { file: fence.to_owned(), source };
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(fence);
        let mut file = open.map_err(failed)?;
        file.lock().map_err(failed)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let highest = match text.trim() {
            "" => FencingToken(0),
            text => {
                let no_token = |_| FencedFileError::NoToken { file: fence.to_owned() };
                text.parse().map(FencingToken).map_err(no_token)?
            }
        };
        if token < highest {
            return Err(Stale { token, highest }.into());
        }
        if token > highest {
            let write = |file: &mut File| {
                // Of one length, so that no crash leaves a part of the old number behind the new.
                file.rewind()?;
                writeln!(file, "{:020}", token.0)?;
                file.sync_all()
            };
            write(&mut file).map_err(failed)?;
        }
        Ok(file)
    }
}

fn replace(path: &Path, draft: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Keys of this cluster that only the latest holder changes: the fence is a key itself, and each change passes it in
/// one transaction.
#[derive(Clone)]
pub struct FencedKeys {
    state: State,
    fence: Key,
}

/// Why fenced keys were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FencedKeysError {
    /// The lock was lost.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// They could not be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl State {
    /// Keys that are guarded by a fence, which is kept under the key `fence`.
    pub fn fenced(&self, fence: &str) -> Result<FencedKeys, KeyError> {
        Ok(FencedKeys { state: self.clone(), fence: Key::new(fence)? })
    }
}

impl FencedKeys {
    /// Sets a key, unless a higher token was here.
    pub async fn put(
        &self,
        token: FencingToken,
        key: &str,
        value: impl Into<Bytes>,
    ) -> Result<Revision, FencedKeysError> {
        let key = Key::new(key).map_err(ChangeError::from)?;
        self.change(token, vec![Operation::Put { key, value: value.into(), lease: None }]).await
    }

    /// Does several things at one revision, unless a higher token was here.
    pub async fn change(&self, token: FencingToken, operations: Vec<Operation>) -> Result<Revision, FencedKeysError> {
        // Eight bytes, highest first, are ordered as the numbers are.
        let mark = Bytes::copy_from_slice(&token.0.to_be_bytes());
        let fence = &self.fence;
        let mut txn = Txn::new()
            .when(Compare::Value(fence.clone(), Is::Greater, mark.clone()))
            .then(Operation::Get { key: fence.clone() })
            .or_else(Operation::Put { key: fence.clone(), value: mark, lease: None });
        txn.or_else.extend(operations);
        let done = self.state.txn(txn).await?;
        if !done.succeeded {
            return Ok(done.revision);
        }
        let highest = match done.answers.first() {
            Some(Answer::Got(Some(found))) => {
                found.value.first_chunk::<8>().map_or(0, |mark| u64::from_be_bytes(*mark))
            }
            _ => 0,
        };
        Err(Stale { token, highest: FencingToken(highest) }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_holder_that_wakes_up_late_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = FencedFile::new(folder.path().join("state"));
        let (paused, next) = (FencingToken(7), FencingToken(12));
        file.write(paused, b"one").unwrap();
        file.write(paused, b"two").unwrap();
        // The holder of 7 is frozen here for longer than its lease, and somebody else is given the lock.
        file.write(next, b"three").unwrap();
        let late = file.write(paused, b"four");
        let stale = Stale { token: paused, highest: next };
        assert!(matches!(late, Err(FencedFileError::Stale(told)) if told == stale), "{late:?}");
        assert_eq!(fs::read(file.path()).unwrap(), b"three");
        // So it is in the next process, too.
        let again = FencedFile::new(file.path());
        assert!(again.write(paused, b"five").is_err());
        again.write(next, b"six").unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), b"six");
    }

    #[test]
    fn a_fence_that_holds_something_else_lets_nobody_pass() {
        let folder = tempfile::tempdir().unwrap();
        let file = FencedFile::new(folder.path().join("state"));
        fs::write(folder.path().join("state.fence"), "no number").unwrap();
        assert!(matches!(file.write(FencingToken(1), b"one"), Err(FencedFileError::NoToken { .. })));
    }

    #[test]
    fn writers_come_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = FencedFile::new(folder.path().join("state"));
        std::thread::scope(|scope| {
            for token in 1..=8_u64 {
                let file = file.clone();
                scope.spawn(move || {
                    let content = vec![token as u8; 10_000];
                    let _ = file.write(FencingToken(token), &content);
                });
            }
        });
        let content = fs::read(file.path()).unwrap();
        assert_eq!(content, [8; 10_000], "the highest token has the last word");
    }
}
