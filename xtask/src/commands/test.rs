//! `test`: everything that proves the house, in groups, with one line at the end that says how it went.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use xtask::local_cluster::Lab;
use xtask::local_cluster::binary::{BINARY_VARIABLE, HA, project_root};

use super::Outcome;
use super::check::warn_about_rustflags;
use crate::ui::{self, Table, Tone};

/// Tests that cut wires between processes: the only ones that a machine may not be able to run.
const NETWORK_GROUP: &str = "real processes, real packet loss";

/// What to leave out.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the tests of the crates themselves: no simulation, no real processes
    #[arg(long)]
    quick: bool,
}

/// One run of `cargo test`.
struct Group {
    name: &'static str,
    arguments: Vec<String>,
}

/// How one group went.
#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    /// Cargo failed without any test that did: something does not build, or a test process died.
    broken: bool,
    took: Duration,
}

/// Runs it. All groups run, whatever fails.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    warn_about_rustflags();
    // Built once, as a user builds it, and not once per test process.
    let program = if arguments.quick { None } else { Some(ui::build(HA, false)?) };
    let mut table = Table::new(&["GROUP", "PASSED", "FAILED", "TIME"]);
    let (mut passed, mut failed) = (0, 0);
    for group in groups(arguments.quick)? {
        println!("\n{}", ui::paint(Tone::Strong, group.name));
        let mut count = run_group(&group, program.as_ref())?;
        if count.broken {
            ui::error(&format!("{}: cargo test failed outside of any test; see above", group.name));
            count.failed += 1;
        }
        passed += count.passed;
        failed += count.failed;
        let tone = if count.failed == 0 { None } else { Some(Tone::Bad) };
        table.row(vec![
            (None, group.name.to_owned()),
            (None, count.passed.to_string()),
            (tone, count.failed.to_string()),
            (None, ui::seconds(count.took)),
        ]);
    }
    println!();
    table.print();
    if let Some(reason) = Lab::lacking().filter(|_| !arguments.quick) {
        ui::warning(&format!("NOT TESTED: {NETWORK_GROUP}, because {reason}"));
    }
    println!("\n{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn groups(quick: bool) -> Result<Vec<Group>, Box<dyn std::error::Error>> {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut groups = vec![Group {
        name: "crates (unit, property, conformance, examples, house rules)",
        arguments: strings(&["--workspace", "--exclude", "ha-tests"]),
    }];
    if quick {
        return Ok(groups);
    }
    for (name, prefix) in [("simulation", "sim"), ("real processes", "cluster"), (NETWORK_GROUP, "network")] {
        if name == NETWORK_GROUP && Lab::lacking().is_some() {
            continue;
        }
        let targets: Vec<String> = test_targets()?.into_iter().filter(|target| target.starts_with(prefix)).collect();
        if targets.is_empty() {
            continue;
        }
        let mut arguments = strings(&["--package", "ha-tests"]);
        if prefix == "sim" {
            // The invariants prove in tests of their own that they notice what they are for.
            arguments.push("--lib".to_owned());
        }
        arguments.extend(targets.into_iter().flat_map(|target| ["--test".to_owned(), target]));
        groups.push(Group { name, arguments });
    }
    Ok(groups)
}

/// The test binaries of the test package.
fn test_targets() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets =
        packages.filter(|p| p["name"] == "ha-tests").flat_map(|p| p["targets"].as_array().into_iter().flatten());
    let tests = targets.filter(|target| target["kind"][0] == "test");
    Ok(tests.filter_map(|target| target["name"].as_str().map(str::to_owned)).collect())
}

fn run_group(group: &Group, program: Option<&PathBuf>) -> Result<Count, Box<dyn std::error::Error>> {
    let began = Instant::now();
    let mut command = cargo(&["test", "--quiet", "--no-fail-fast"]);
    command.args(&group.arguments).stdout(Stdio::piped());
    if let Some(program) = program {
        command.env(BINARY_VARIABLE, program);
    }
    let mut child = command.spawn()?;
    let mut count = Count::default();
    for line in BufReader::new(child.stdout.take().ok_or("no output")?).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, failed)) = result_line(&line) {
            count.passed += passed;
            count.failed += failed;
        }
    }
    let status = child.wait()?;
    count.broken = !status.success() && count.failed == 0;
    count.took = began.elapsed();
    Ok(count)
}

/// Reads `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
fn result_line(line: &str) -> Option<(usize, usize)> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let number = |word: &str| {
        let before = rest.split(word).next()?;
        before.rsplit([' ', ';']).find(|part| !part.is_empty())?.parse().ok()
    };
    Some((number(" passed")?, number(" failed")?))
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(project_root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(result_line(line), Some((12, 3)));
        assert_eq!(result_line("running 3 tests"), None);
    }
}
