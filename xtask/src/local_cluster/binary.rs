//! Builds the program `ha`, and tells how far it is.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use serde::Deserialize;

/// Names a program that is already built: `cargo xtask test` builds once and sets it for all test processes.
pub const BINARY_VARIABLE: &str = "LOCAL_CLUSTER_BINARY";

/// Which package's program to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// The package.
    pub package: &'static str,
    /// Its program.
    pub name: &'static str,
}

/// The program `ha`.
pub const HA: Program = Program { package: "ha-cli", name: "ha" };

/// The packages that have programs for clusters. They are chosen together whichever program is built, so that each
/// dependency has one set of features, and is built once for all of them.
const PACKAGES: [&str; 2] = ["ha-cli", "ha-bench-node"];

/// How far a build is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildProgress {
    /// Packages that are done.
    pub done: usize,
    /// Packages in all; 0 when unknown.
    pub total: usize,
    /// The one that was done last.
    pub package: String,
    /// Whether anything was compiled, not only found up to date.
    pub compiled: bool,
}

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Cargo could not be run.
    #[error("cannot run cargo: {0}")]
    Cargo(#[from] io::Error),
    /// The code does not compile.
    #[error("building {program} failed:\n{output}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What cargo said.
        output: String,
    },
    /// A binary was named that is not there.
    #[error("{BINARY_VARIABLE} names {}, which does not exist", .path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
}

/// The folder of the workspace.
pub fn project_root() -> PathBuf {
    // Cargo sets the variable for `cargo run` and `cargo test`; the compiled-in one serves a program run by hand.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.ancestors().find(|folder| folder.join("Cargo.lock").exists()).map_or(manifest.clone(), Path::to_path_buf)
}

/// The program for tests: the one that [`BINARY_VARIABLE`] names, or else built once per test process.
pub fn for_tests() -> Result<PathBuf, BuildError> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(named) = std::env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(named);
        return if path.exists() { Ok(path) } else { Err(BuildError::Missing { path }) };
    }
    if let Some(path) = BUILT.get() {
        return Ok(path.clone());
    }
    let path = build(HA, false, |_| {})?;
    Ok(BUILT.get_or_init(|| path).clone())
}

/// Builds, and returns where the program is.
pub fn build(program: Program, release: bool, mut progress: impl FnMut(&BuildProgress)) -> Result<PathBuf, BuildError> {
    let root = project_root();
    let total = count_packages(&root, program);
    let mut cargo = cargo(&root);
    cargo.args(["build", "--bin", program.name, "--message-format=json-render-diagnostics"]);
    cargo.args(chosen_with(program).iter().flat_map(|package| ["--package", package]));
    if release {
        cargo.arg("--release");
    }
    let mut child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take();
    // Read on a thread of its own: a full pipe would stop cargo.
    let output = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.map(|mut pipe| pipe.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut executable = None;
    let mut seen = BTreeSet::new();
    let mut compiled = false;
    for line in BufReader::new(child.stdout.take().ok_or_else(|| io::Error::other("no output"))?).lines() {
        let Ok(message) = serde_json::from_str::<Message>(&line?) else { continue };
        if message.reason != "compiler-artifact" {
            continue;
        }
        compiled |= !message.fresh;
        if message.target.name == program.name && message.executable.is_some() {
            executable = message.executable;
        }
        if seen.insert(message.package_id) {
            progress(&BuildProgress { done: seen.len(), total, package: message.target.name, compiled });
        }
    }
    let status = child.wait()?;
    let output = output.join().unwrap_or_default();
    match executable.filter(|_| status.success()) {
        Some(path) => Ok(path),
        None => Err(BuildError::Failed { program: program.name, output }),
    }
}

/// The packages that are chosen when a program is built.
fn chosen_with(program: Program) -> Vec<&'static str> {
    if PACKAGES.contains(&program.package) { PACKAGES.to_vec() } else { vec![program.package] }
}

/// One line of cargo's JSON output, as far as it is needed.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    fresh: bool,
    #[serde(default)]
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Target {
    name: String,
}

/// Packages that the program is made of; 0 when cargo does not tell, since this only feeds a progress bar.
fn count_packages(root: &Path, program: Program) -> usize {
    let mut tree = cargo(root);
    tree.args(["tree", "--package", program.package, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let Ok(output) = tree.stderr(Stdio::null()).output() else { return 0 };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect::<BTreeSet<_>>()
        .len()
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_of_a_program_is_among_those_that_are_chosen() {
        for package in ["ha-cli", "ha-bench-node", "ha-tests"] {
            assert!(chosen_with(Program { package, name: "" }).contains(&package), "{package}");
        }
    }
}
