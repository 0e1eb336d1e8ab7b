//! `test`: everything that proves the house, and one line at the end that says how it went.

mod tally;

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use tokio::time::Instant;
use xtask::local_cluster::Lab;
use xtask::local_cluster::binary::{BINARY_VARIABLE, HA, project_root};

use self::tally::{Group, Tally};
use super::Outcome;
use super::check::warn_about_rustflags;
use crate::ui::{self, Table, Tone};

/// What to leave out.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the tests of the crates themselves: no simulation, no real processes
    #[arg(long)]
    quick: bool,
}

/// Runs it. All tests run, whatever fails.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    warn_about_rustflags();
    let began = Instant::now();
    // One choice of packages for every run of cargo: another one would choose other features and build all again.
    let packages: &[&str] = if arguments.quick { &["--workspace", "--exclude", "ha-tests"] } else { &["--workspace"] };
    // The program is built as a user builds it, and once, not by each test process.
    let program = if arguments.quick { None } else { Some(ui::build(HA, false)?) };
    let lacking = if arguments.quick { None } else { Lab::lacking() };

    let mut broken = Vec::new();
    let built = cargo(packages, program.as_deref()).arg("--no-run").status()?;
    let build_time = began.elapsed();
    let mut tally = Tally::default();
    if built.success() {
        let mut runs = vec![cargo(packages, program.as_deref())];
        if !arguments.quick && lacking.is_none() {
            let mut network = cargo(packages, program.as_deref());
            network.args(["--test", "network"]);
            runs.push(network);
        }
        for mut run in runs {
            broken.extend(follow(run.arg("--no-fail-fast"), &mut tally)?);
        }
    } else {
        broken.push("the tests do not build".to_owned());
    }
    broken.extend(tally.died.iter().map(|binary| format!("a test binary died: {binary}")));

    println!();
    let mut table = Table::new(&["TESTS", "PASSED", "FAILED", "TIME"]);
    table.row(vec![
        (None, "(building)".to_owned()),
        (None, String::new()),
        (None, String::new()),
        (None, ui::seconds(build_time)),
    ]);
    let (mut passed, mut failed) = (0, 0);
    for group in Group::ALL {
        let count = tally.count(group);
        passed += count.passed;
        failed += count.failed;
        if count.passed + count.failed == 0 {
            continue;
        }
        let tone = (count.failed > 0).then_some(Tone::Bad);
        table.row(vec![
            (None, group.name().to_owned()),
            (None, count.passed.to_string()),
            (tone, count.failed.to_string()),
            (None, ui::seconds(count.took)),
        ]);
    }
    table.print();
    if let Some(reason) = lacking {
        ui::warning(&format!("NOT TESTED: {}, because {reason}", Group::Network.name()));
    }
    // Cargo also fails when a test does; what failed besides counts as one failure each.
    if failed > 0 {
        broken.retain(|reason| reason != CARGO_FAILED);
    }
    broken.iter().for_each(|reason| ui::error(reason));
    failed += broken.len();
    println!("\n{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const CARGO_FAILED: &str = "cargo test failed";

/// Runs cargo, shows what matters, and counts. Both of its outputs come through one pipe, so that they keep their order.
fn follow(command: &mut Command, tally: &mut Tally) -> io::Result<Option<String>> {
    let (reader, writer) = io::pipe()?;
    let mut child = command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The command holds the writing end too; without letting go of it the pipe would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if tally.line(&line) {
            println!("{line}");
        }
    }
    tally.end();
    Ok((!child.wait()?.success()).then(|| CARGO_FAILED.to_owned()))
}

fn cargo(packages: &[&str], program: Option<&Path>) -> Command {
    let mut command = Command::new("cargo");
    command.arg("test").args(packages).current_dir(project_root());
    if let Some(program) = program {
        command.env(BINARY_VARIABLE, program);
    }
    command
}
