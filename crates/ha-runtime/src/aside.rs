//! What was set aside in earlier lives of this node, counted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;

use crate::DIVERGENT_FILE;

/// What was set aside is told of so often at once.
const ASIDES_TOLD_MAX: usize = 16;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What was set aside in one of the lives of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    /// Where it is.
    pub(crate) directory: PathBuf,
    /// Changes that the others did not have.
    pub(crate) changes: usize,
}

/// A file that was counted: while it has this length and this time, it need not be read again.
struct Counted {
    length: u64,
    modified: SystemTime,
    lines: usize,
}

/// Looks for what was set aside, and remembers what it has counted. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Asides {
    counted: Arc<Mutex<BTreeMap<PathBuf, Counted>>>,
}

impl Asides {
    /// All of it, as long as nobody removes it. Reads on a thread of its own, one for all who ask. Cancel-safe.
    pub(crate) async fn look(&self, data_dir: &Path) -> Vec<Aside> {
        let (mut counted, data_dir) = (self.counted.clone().lock_owned().await, data_dir.to_owned());
        let look = move || {
            let found = directories(&data_dir);
            counted.retain(|directory, _| found.contains(directory));
            let aside = |directory: PathBuf| Aside { changes: changes(&mut counted, &directory), directory };
            found.into_iter().map(aside).collect()
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }
}

fn directories(data_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(data_dir) else { return Vec::new() };
    let is_aside = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("aside-"));
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_aside).collect();
    found.sort();
    found.truncate(ASIDES_TOLD_MAX);
    found
}

/// How many changes stand in the file of a directory; none where there is no file, or it cannot be read.
fn changes(counted: &mut BTreeMap<PathBuf, Counted>, directory: &Path) -> usize {
    let count = |counted: &mut BTreeMap<PathBuf, Counted>| {
        let file = File::open(directory.join(DIVERGENT_FILE))?;
        let now = file.metadata()?;
        let (length, modified) = (now.len(), now.modified()?);
        let same = |counted: &&Counted| counted.length == length && counted.modified == modified;
        if let Some(before) = counted.get(directory).filter(same) {
            return Ok(before.lines);
        }
        let lines = lines(file)?;
        counted.insert(directory.to_owned(), Counted { length, modified, lines });
        std::io::Result::Ok(lines)
    };
    count(counted).unwrap_or(0)
}

fn lines(mut file: impl Read) -> std::io::Result<usize> {
    let (mut chunk, mut lines) = (vec![0; CHUNK_BYTES], 0);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(lines),
            length => lines += chunk[..length].iter().filter(|byte| **byte == b'\n').count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_counted_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("aside-3");
        std::fs::create_dir_all(directory.join("beside")).unwrap();
        let (file, asides) = (directory.join(DIVERGENT_FILE), Asides::default());
        let found = async || asides.look(folder.path()).await;
        let aside = |changes| vec![Aside { directory: directory.clone(), changes }];
        assert_eq!(found().await, aside(0), "there is no file");
        std::fs::write(&file, "1\n2\n").unwrap();
        assert_eq!(found().await, aside(2));
        // Other bytes of the same length and time are not looked at.
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&file, "none").unwrap();
        File::options().append(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(found().await, aside(2));
        std::fs::write(&file, "1\n2\n3\n").unwrap();
        assert_eq!(found().await, aside(3));
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found().await, []);
        assert!(asides.counted.lock().await.is_empty());
    }
}
