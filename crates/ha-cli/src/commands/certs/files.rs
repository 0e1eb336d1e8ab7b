//! The folder of certificates: each file is whole or not there, and keys are for their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Who may read a file.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// Everybody.
    Public = 0o644,
    /// Its owner.
    Secret = 0o600,
}

pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder, for its owner only, unless it is there.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed("make", path, &error))?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    pub(super) fn read(&self, name: &str) -> Result<String, Failure> {
        let path = self.0.join(name);
        fs::read_to_string(&path).map_err(|error| failed("read", &path, &error))
    }

    /// Writes a file beside its place, and moves it there.
    pub(super) fn write(&self, name: &str, text: &str, mode: Mode) -> Result<(), Failure> {
        let (path, draft) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let write = || -> io::Result<()> {
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode as u32).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error| failed("write", &path, &error))
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format_args!("cannot {what} {}: {error}", path.display()))
}
