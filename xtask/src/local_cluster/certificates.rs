//! Certificates for the nodes of a local cluster, made as a person makes them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with an authority and certificates of nodes.
#[derive(Clone, Debug)]
pub struct Certificates {
    program: PathBuf,
    folder: PathBuf,
}

impl Certificates {
    /// `ha certs create`, for these nodes and this many days.
    pub fn create(program: &Path, folder: &Path, nodes: &[&str], days: u32) -> io::Result<Self> {
        let certificates = Self::at(program, folder);
        certificates.run(nodes, days)?;
        Ok(certificates)
    }

    /// Those that were made earlier.
    pub fn at(program: &Path, folder: &Path) -> Self {
        Self { program: program.to_owned(), folder: folder.to_owned() }
    }

    fn run(&self, nodes: &[&str], days: u32) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["certs", "create", "--nodes", &nodes.join(","), "--days", &days.to_string()]);
        let output = command.arg("--dir").arg(&self.folder).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The options of a node that shows its certificate.
    pub fn options(&self, node: &str) -> [(String, String); 3] {
        let files = [("CERT", format!("{node}.crt")), ("KEY", format!("{node}.key")), ("CA", "ca.crt".to_owned())];
        files.map(|(option, file)| (format!("CLUSTER_TLS_{option}"), self.path(&file).display().to_string()))
    }
}
