//! What `.cluster/` under the project's root remembers of the cluster that `cargo xtask cluster-up` started, so that
//! the other commands, in other terminals, find its nodes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::node::Node;
use super::process::{ProcessId, ProcessState};
use super::spec::NodeSpec;

/// Counts up when the file changes its shape.
const STATE_VERSION: u32 = 1;
/// The file.
const NAME: &str = "state.json";

/// The remembered cluster, locked against other commands while this value lives.
#[derive(Debug)]
pub struct StateFile {
    directory: PathBuf,
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    nodes: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    spec: NodeSpec,
    process: Option<ProcessId>,
}

/// Why the remembered cluster cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The folder cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what this version wrote.
    #[error("{} was written by another version ({reason}); its nodes, if any run, must be stopped by hand", .path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StateFile {
    /// Locks the remembered cluster below a project's root. Waits while another command holds it: commands hold it for
    /// moments only.
    pub fn lock(root: &Path) -> Result<Self, StateError> {
        let directory = root.join(".cluster");
        let path = directory.join("lock");
        let io = |source| StateError::Io { path: path.clone(), source };
        fs::create_dir_all(&directory).map_err(io)?;
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(io)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|errno| io(errno.into()))?;
        Ok(Self { directory, _lock: lock })
    }

    /// The folder that holds the nodes' folders.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The nodes as they are remembered at this moment, without a lock: for a look, not for a change.
    pub fn peek(root: &Path) -> Result<Vec<Node>, StateError> {
        read(root.join(".cluster").join(NAME))
    }

    /// The remembered nodes; empty when there are none.
    pub fn load(&self) -> Result<Vec<Node>, StateError> {
        read(self.path())
    }

    /// Remembers these nodes instead of what was there.
    pub fn store(&self, nodes: &[Node]) -> Result<(), StateError> {
        let entry = |node: &Node| Entry { spec: node.spec.clone(), process: node.process().cloned() };
        let state = State { version: STATE_VERSION, nodes: nodes.iter().map(entry).collect() };
        let text = serde_json::to_string_pretty(&state).unwrap_or_default();
        let (path, new) = (self.path(), self.directory.join("state.json.new"));
        let io = |source| StateError::Io { path: path.clone(), source };
        fs::write(&new, text).map_err(io)?;
        fs::rename(&new, &path).map_err(io)
    }

    /// Forgets the cluster; its folders stay, to be read.
    pub fn clear(&self) -> Result<(), StateError> {
        let path = self.path();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::Io { path, source }),
            _ => Ok(()),
        }
    }

    /// The remembered nodes whose processes are still there.
    pub fn alive(&self) -> Result<Vec<Node>, StateError> {
        Ok(self.load()?.into_iter().filter(|node| node.state() != ProcessState::Gone).collect())
    }

    fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }
}

/// A replaced file is replaced as a whole, so a reader never sees half of one.
fn read(path: PathBuf) -> Result<Vec<Node>, StateError> {
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StateError::Io { path, source }),
    };
    match serde_json::from_str::<State>(&text) {
        Ok(state) if state.version == STATE_VERSION => {
            Ok(state.nodes.into_iter().map(|entry| Node::attached(entry.spec, entry.process)).collect())
        }
        Ok(state) => Err(StateError::Foreign { path, reason: format!("version {}", state.version) }),
        Err(error) => Err(StateError::Foreign { path, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_cluster::Settings;

    #[test]
    fn nodes_are_remembered_and_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let file = StateFile::lock(root.path()).unwrap();
        assert!(file.load().unwrap().is_empty());
        let specs = Settings::new(1).specs(file.directory(), Path::new("ha"), &[(1, 2)]);
        let process = ProcessId::of(std::process::id()).unwrap();
        file.store(&[Node::attached(specs[0].clone(), Some(process.clone()))]).unwrap();
        let loaded = file.alive().unwrap();
        assert_eq!((&loaded[0].spec, loaded[0].process()), (&specs[0], Some(&process)));
        file.clear().unwrap();
        assert!(file.load().unwrap().is_empty());
    }

    #[test]
    fn a_file_of_another_version_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = StateFile::lock(root.path()).unwrap();
        fs::write(file.path(), r#"{"version": 0, "nodes": []}"#).unwrap();
        assert!(matches!(file.load(), Err(StateError::Foreign { .. })));
        fs::write(file.path(), "{").unwrap();
        assert!(matches!(file.load(), Err(StateError::Foreign { .. })));
    }
}
