//! `check`: formatting, lints, house rules and, where it is installed, the supply chain. Writes nothing.

use std::process::{Command, ExitCode};

use tokio::time::Instant;
use xtask::local_cluster::binary::project_root;

use super::Outcome;
use crate::ui::{self, Table, Tone};

/// Runs it: all checks, whatever fails, and then a table.
pub(crate) fn run() -> Outcome {
    warn_about_rustflags();
    let mut table = Table::new(&["CHECK", "RESULT", "TIME"]);
    let mut failed = false;
    let mut row = |name: &str, run: &mut dyn FnMut() -> Result<(), String>| {
        let began = Instant::now();
        println!("{}", ui::paint(Tone::Strong, name));
        let result = run();
        let (tone, text) = match &result {
            Ok(()) => (Tone::Good, "passed"),
            Err(reason) => {
                ui::error(reason);
                (Tone::Bad, "failed")
            }
        };
        failed |= result.is_err();
        table.row(vec![(None, name.to_owned()), (Some(tone), text.to_owned()), (None, ui::seconds(began.elapsed()))]);
    };
    row("format", &mut || cargo(&["fmt", "--all", "--check"], "run `cargo fmt --all`"));
    row("lints", &mut || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        cargo(&arguments, "clippy has something to say")
    });
    row("house rules", &mut || tidy());
    if has("deny") {
        row("supply chain", &mut || cargo(&["deny", "check"], "cargo-deny has something to say"));
    } else if has("audit") {
        ui::warning("cargo-deny is not installed: licences and sources were not checked");
        row("advisories", &mut || cargo(&["audit"], "cargo-audit has something to say"));
    } else {
        ui::warning("neither cargo-deny nor cargo-audit is installed: the supply chain was NOT CHECKED");
    }
    println!();
    table.print();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The variable replaces the flags of `.cargo/config.toml` silently, and the simulation needs those.
pub(crate) fn warn_about_rustflags() {
    if std::env::var("RUSTFLAGS").is_ok_and(|flags| !flags.contains("tokio_unstable")) {
        ui::warning(
            "RUSTFLAGS is set and hides the flags of .cargo/config.toml; unset it, or the simulation will not build",
        );
    }
}

fn tidy() -> Result<(), String> {
    let broken = xtask::tidy::check(&project_root()).map_err(|error| error.to_string())?;
    if broken.is_empty() { Ok(()) } else { Err(format!("house rules are broken:\n{}", broken.join("\n"))) }
}

fn has(tool: &str) -> bool {
    Command::new("cargo").args([tool, "--version"]).output().is_ok_and(|output| output.status.success())
}

fn cargo(arguments: &[&str], advice: &str) -> Result<(), String> {
    let status = Command::new("cargo").args(arguments).current_dir(project_root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(advice.to_owned()),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}
