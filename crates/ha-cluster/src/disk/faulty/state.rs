//! What the disk in memory holds, and what becomes of it in a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

/// The unit that a real disk writes whole or not at all.
const BLOCK_BYTES: usize = 512;

/// Kinds of operations that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Opening, creating, locking.
    Open,
    /// Reading, listing.
    Read,
    /// Writing, changing the length.
    Write,
    /// Syncing a file. What was unsynced is then lost for good, though still readable until the crash: the kernel
    /// reports a failed sync once and marks the pages clean.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Syncing a directory.
    SyncDir,
    /// Advice that something need not stay in memory, which cannot fail.
    Forget,
    /// Advice that something will be needed, which cannot fail.
    Prefetch,
}

/// What is left of the unsynced changes after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// All of them, and they are still unsynced: the process died, the machine did not.
    All,
    /// None.
    Nothing,
    /// All, but of the last unsynced write of each file only the first so many blocks of 512 bytes.
    FirstBlocks(usize),
    /// All, but of the last unsynced write of each file only the first so many bytes.
    FirstBytes(usize),
    /// Any blocks of any writes, in any order, and the first so many of the changes to directories, drawn from a seed.
    Scattered(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Default)]
struct Inode {
    /// What readers see.
    content: Vec<u8>,
    /// What survives in any case.
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Unlink(path) => drop(names.remove(path)),
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }

    fn is_in(&self, directory: &Path) -> bool {
        let (Self::Link(path, _) | Self::Unlink(path) | Self::Rename(_, path)) = self;
        path.parent() == Some(directory)
    }
}

struct Fault {
    operation: Operation,
    at: u64,
    kind: io::ErrorKind,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) life: u64,
    pub(super) capacity: Option<u64>,
    pub(super) locks: BTreeSet<PathBuf>,
    inodes: BTreeMap<u64, Inode>,
    inode_next: u64,
    names: BTreeMap<PathBuf, u64>,
    names_durable: BTreeMap<PathBuf, u64>,
    names_unsynced: Vec<NameChange>,
    directories: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    /// After so many operations more, this life ends.
    pub(super) power_cut: Option<(u64, Survival)>,
    counts: BTreeMap<Operation, u64>,
}

impl State {
    pub(super) fn fork(&self) -> Self {
        Self {
            life: self.life,
            capacity: self.capacity,
            inodes: self.inodes.clone(),
            inode_next: self.inode_next,
            names: self.names.clone(),
            names_durable: self.names_durable.clone(),
            names_unsynced: self.names_unsynced.clone(),
            directories: self.directories.clone(),
            ..Self::default()
        }
    }

    pub(super) fn check_life(&self, life: u64) -> io::Result<()> {
        if life == self.life { Ok(()) } else { Err(io::Error::other("the machine of this handle has crashed")) }
    }

    pub(super) fn count(&mut self, operation: Operation) -> io::Result<()> {
        match &mut self.power_cut {
            Some((0, survival)) => {
                let survival = *survival;
                self.crash(survival);
                return self.check_life(self.life - 1);
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        let count = self.counts.entry(operation).or_default();
        *count += 1;
        let at = *count;
        match self.faults.iter().position(|fault| fault.operation == operation && fault.at == at) {
            Some(due) => Err(io::Error::new(self.faults.swap_remove(due).kind, "injected fault")),
            None => Ok(()),
        }
    }

    pub(super) fn add_fault(&mut self, operation: Operation, nth: u64, kind: io::ErrorKind) {
        self.faults.push(Fault { operation, at: self.operations(operation) + nth, kind });
    }

    pub(super) fn operations(&self, operation: Operation) -> u64 {
        self.counts.get(&operation).copied().unwrap_or(0)
    }

    pub(super) fn crash(&mut self, survival: Survival) {
        self.locks.clear();
        self.faults.clear();
        self.power_cut = None;
        self.life += 1;
        if survival != Survival::All {
            self.lose_power(survival);
        }
    }

    fn lose_power(&mut self, survival: Survival) {
        let mut rng = StdRng::seed_from_u64(if let Survival::Scattered(seed) = survival { seed } else { 0 });
        let names_kept = match survival {
            Survival::Nothing => 0,
            Survival::Scattered(_) => rng.random_range(0..=self.names_unsynced.len()),
            _ => self.names_unsynced.len(),
        };
        for change in self.names_unsynced.drain(..).take(names_kept) {
            change.apply(&mut self.names_durable);
        }
        self.names = self.names_durable.clone();
        for inode in self.inodes.values_mut() {
            inode.crash(survival, &mut rng);
        }
        let linked: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| linked.contains(inode));
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn content(&self, path: &Path) -> Option<&Vec<u8>> {
        Some(&self.inodes.get(self.names.get(path)?)?.content)
    }

    pub(super) fn set_content(&mut self, path: &Path, bytes: Vec<u8>) {
        let inode = self.link(path);
        self.names_durable.insert(path.to_owned(), inode);
        self.inodes.insert(inode, Inode { content: bytes.clone(), durable: bytes, unsynced: Vec::new() });
    }

    pub(super) fn erase(&mut self, path: &Path) {
        self.names.remove(path);
        self.names_durable.remove(path);
    }

    fn link(&mut self, path: &Path) -> u64 {
        if let Some(inode) = self.names.get(path) {
            return *inode;
        }
        let inode = self.inode_next;
        self.inode_next += 1;
        self.inodes.insert(inode, Inode::default());
        self.names.insert(path.to_owned(), inode);
        self.names_unsynced.push(NameChange::Link(path.to_owned(), inode));
        inode
    }

    fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.entry(inode).or_default()
    }

    fn need_directory(&self, directory: &Path) -> io::Result<()> {
        if self.directories.contains(directory) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    pub(super) fn open(&mut self, path: &Path, create: bool) -> io::Result<u64> {
        match self.names.get(path) {
            Some(inode) => Ok(*inode),
            None if create => {
                self.need_directory(path.parent().unwrap_or(path))?;
                Ok(self.link(path))
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        self.directories.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    pub(super) fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.need_directory(directory)?;
        let paths = self.names.keys().chain(&self.directories).filter(|path| path.parent() == Some(directory));
        let names: BTreeSet<_> = paths.filter_map(|path| path.file_name()).map(PathBuf::from).collect();
        Ok(names.into_iter().collect())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        change.apply(&mut self.names);
        self.names_unsynced.push(change);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        if self.names.remove(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.names_unsynced.push(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, directory: &Path) -> io::Result<()> {
        self.need_directory(directory)?;
        for change in self.names_unsynced.extract_if(.., |change| change.is_in(directory)) {
            change.apply(&mut self.names_durable);
        }
        Ok(())
    }

    fn used_bytes(&self) -> u64 {
        self.inodes.values().map(|inode| inode.content.len() as u64).sum()
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_bytes()))
    }

    fn need_space(&mut self, inode: u64, end: usize) -> io::Result<()> {
        let grows = end.saturating_sub(self.inode(inode).content.len()) as u64;
        if grows > self.free_bytes() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn write_at(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = to_usize(offset)?;
        self.need_space(inode, offset + bytes.len())?;
        self.inode(inode).change(Change::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    pub(super) fn set_len(&mut self, inode: u64, bytes: u64) -> io::Result<()> {
        let bytes = to_usize(bytes)?;
        self.need_space(inode, bytes)?;
        self.inode(inode).change(Change::Length(bytes));
        Ok(())
    }

    pub(super) fn read_at(&mut self, inode: u64, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = to_usize(offset)?;
        let content = &self.inode(inode).content;
        let bytes = content.get(offset..offset + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn sync_data(&mut self, inode: u64, outcome: io::Result<()>) -> io::Result<()> {
        let inode = self.inode(inode);
        let unsynced = std::mem::take(&mut inode.unsynced);
        outcome?;
        for change in unsynced {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }

    pub(super) fn len(&self, inode: u64) -> u64 {
        self.inodes.get(&inode).map_or(0, |inode| inode.content.len() as u64)
    }
}

fn to_usize(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Length(bytes) => content.resize(*bytes, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// Applies only what lies before a number of bytes of the write.
    fn apply_first(&self, kept: usize, content: &mut Vec<u8>) {
        if let Self::Write { offset, bytes } = self {
            Self::Write { offset: *offset, bytes: bytes[..kept.min(bytes.len())].to_vec() }.apply(content);
        }
    }

    /// The pieces of a write that lie in different blocks of the file.
    fn blocks(&self) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else { return vec![self.clone()] };
        let (mut pieces, mut start) = (Vec::new(), 0);
        while start < bytes.len() {
            let end = bytes.len().min(start + BLOCK_BYTES - (offset + start) % BLOCK_BYTES);
            pieces.push(Self::Write { offset: offset + start, bytes: bytes[start..end].to_vec() });
            start = end;
        }
        pieces
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.content);
        self.unsynced.push(change);
    }

    fn crash(&mut self, survival: Survival, rng: &mut StdRng) {
        let mut unsynced = std::mem::take(&mut self.unsynced);
        let last = match survival {
            Survival::FirstBlocks(_) | Survival::FirstBytes(_) => unsynced.pop(),
            _ => None,
        };
        for change in unsynced {
            match survival {
                Survival::Nothing => {}
                Survival::Scattered(_) => {
                    for piece in change.blocks() {
                        if rng.random() {
                            piece.apply(&mut self.durable);
                        }
                    }
                }
                _ => change.apply(&mut self.durable),
            }
        }
        match (last, survival) {
            (Some(last), Survival::FirstBlocks(blocks)) => {
                last.blocks().iter().take(blocks).for_each(|block| block.apply(&mut self.durable));
            }
            (Some(last), Survival::FirstBytes(bytes)) => last.apply_first(bytes, &mut self.durable),
            _ => {}
        }
        self.content = self.durable.clone();
    }
}
