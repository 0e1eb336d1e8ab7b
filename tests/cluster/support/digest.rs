//! A picture of a folder, to see whether anything in it was touched.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Each file below a folder: its length and a hash of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Digest(BTreeMap<PathBuf, (usize, u64)>);

impl Digest {
    /// Takes the picture, without the lock of a data directory: it holds the number of the process that took it last.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next)? {
                let path = entry?.path();
                if path.file_name().is_some_and(|name| name == "LOCK") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = fs::read(&path)?;
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                files.insert(path, (bytes.len(), hasher.finish()));
            }
        }
        Ok(Self(files))
    }

    /// Whether there is anything to protect.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
