//! `ha snapshot`: the whole control state as a file.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ha_runtime::{ARCHIVE_BYTES_MAX, Archive};
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};

/// What can be done with the whole state.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save the state of a running cluster to a file.
    Save(Save),
    /// Replace the state of a running cluster by that of a file.
    Restore(Restore),
}

/// `ha snapshot save`.
#[derive(Debug, clap::Args)]
pub(crate) struct Save {
    /// A file that does not exist yet.
    file: PathBuf,

    #[command(flatten)]
    client: ClientArgs,
}

/// `ha snapshot restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// What `ha snapshot save` wrote.
    file: PathBuf,

    /// Also when it was saved from another cluster.
    #[arg(long)]
    foreign: bool,

    /// Also when the cluster holds keys or locks: they will be gone.
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    client: ClientArgs,
}

impl SnapshotCommand {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Save(args) => args.run().await,
            Self::Restore(args) => args.run().await,
        }
    }
}

impl Save {
    async fn run(self) -> Result<(), Failure> {
        if self.file.exists() {
            return Err(Failure::failed(format_args!("{} exists already", self.file.display())));
        }
        let bytes = Client::new(&self.client).download("/v1/snapshot", ARCHIVE_BYTES_MAX).await?;
        let length = bytes.len();
        // What came is compared with its checksum before it is called saved.
        let archive = Archive::decode(bytes.clone()).map_err(Failure::failed)?;
        write(&self.file, &bytes).map_err(|error| Failure::failed(format_args!("{}: {error}", self.file.display())))?;
        let (cluster, epoch) = (archive.cluster_id(), archive.epoch());
        if self.client.json {
            let file = self.file.display().to_string();
            let told = json!({"file": file, "bytes": length, "cluster_id": cluster.to_string(), "epoch": epoch});
            return print_json(&told);
        }
        print(&format!("{}: {length} bytes of cluster {cluster} at epoch {epoch}\n", self.file.display()))
    }
}

/// Under another name first, so that the file is whole or not there; readable by its owner only, as the state is.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    if let Err(error) = fs::remove_file(&draft)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // Without this its name may be gone after a crash.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(directory)?.sync_all()
}

impl Restore {
    async fn run(self) -> Result<(), Failure> {
        let unreadable = |error| Failure::failed(format_args!("{}: {error}", self.file.display()));
        let bytes = fs::read(&self.file).map_err(unreadable)?;
        let bytes = Bytes::from(bytes);
        let archive = Archive::decode(bytes.clone());
        let archive = archive.map_err(|error| Failure::failed(format_args!("{}: {error}", self.file.display())))?;
        let path = format!("/v1/snapshot?foreign={}&overwrite={}", self.foreign, self.overwrite);
        let answer = Client::new(&self.client).upload(&path, bytes).await?;
        let answer: Value = answer.success()?;
        if self.client.json {
            return print_json(&answer);
        }
        print(&format!("restored from cluster {} at epoch {}\n", archive.cluster_id(), archive.epoch()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_saved_is_for_its_owner_only() {
        let folder = std::env::temp_dir().join(format!("ha-snapshot-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("state");
        // What a save left behind that was cut short, readable by all.
        fs::write(folder.join("state.draft"), "half").unwrap();
        write(&file, b"whole").unwrap();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, fs::read(&file).unwrap()), (0o600, b"whole".to_vec()));
        fs::remove_dir_all(&folder).unwrap();
    }
}
