//! `sim`: plays scenes of the simulation: one run to look at, or many seeds to search.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use xtask::local_cluster::binary::{Program, project_root};

use super::Outcome;
use crate::ui::{self, Step, Tone};

const SIMULATOR: Program = Program { package: "ha-tests", name: "ha-sim" };

/// What to play.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The scene, such as T01 or chaos-5; may be repeated. All scenes when left out
    #[arg(long)]
    scene: Vec<String>,
    /// Play this one seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Play so many seeds of each scene, and report only what fails
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Runs at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Break the product on purpose: no-sync, forgotten-vote, applied-twice, wild-clocks
    #[arg(long)]
    mutant: Option<String>,
    /// How long chaos lasts, in scenes that let that be told
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,
    /// Print every line of a run
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Print what the crates log at simulated time; RUST_LOG says what
    #[arg(long, requires = "seed")]
    log: bool,
    /// List the scenes
    #[arg(long)]
    list: bool,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    super::check::warn_about_rustflags();
    let simulator = ui::build(SIMULATOR, false)?;
    if arguments.list {
        return Ok(exit_code(Command::new(simulator).arg("--list").status()?.success()));
    }
    let scenes = if arguments.scene.is_empty() { all_scenes(&simulator)? } else { arguments.scene.clone() };
    println!("at commit {}", commit());
    match arguments.seed {
        Some(seed) => one_seed(&simulator, arguments, &scenes, seed),
        None => many_seeds(&simulator, arguments, &scenes),
    }
}

fn exit_code(success: bool) -> ExitCode {
    if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all_scenes(simulator: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let output = Command::new(simulator).arg("--list").output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(project_root()).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// One run of the simulator.
fn command(simulator: &Path, arguments: &Arguments, scene: &str, seed: u64) -> Command {
    let mut command = Command::new(simulator);
    command.args(["--scene", scene, "--seed", &seed.to_string()]);
    if let Some(mutant) = &arguments.mutant {
        command.args(["--mutant", mutant]);
    }
    if let Some(minutes) = arguments.minutes {
        command.args(["--minutes", &minutes.to_string()]);
    }
    command
}

fn one_seed(simulator: &Path, arguments: &Arguments, scenes: &[String], seed: u64) -> Outcome {
    let mut good = true;
    for scene in scenes {
        let mut command = command(simulator, arguments, scene, seed);
        command.args(arguments.trace.then_some("--trace")).args(arguments.log.then_some("--log"));
        good &= command.status()?.success();
    }
    Ok(exit_code(good))
}

fn many_seeds(simulator: &Path, arguments: &Arguments, scenes: &[String]) -> Outcome {
    let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let queue: VecDeque<(String, u64)> =
        seeds.flat_map(|seed| scenes.iter().map(move |scene| (scene.clone(), seed))).collect();
    let total = queue.len();
    let queue = Mutex::new(queue);
    let (sender, ended) = mpsc::channel();
    let mut step = Step::begin("playing");
    let (mut done, mut failed) = (0, 0);
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let Some((scene, seed)) = next() {
                    let output = command(simulator, arguments, &scene, seed).output();
                    if sender.send((scene, seed, output)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (scene, seed, output) in ended {
            done += 1;
            step.update(done, total, &format!("{scene} seed {seed}"));
            let output = output?;
            if output.status.success() {
                continue;
            }
            failed += 1;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            println!("{}", ui::paint(Tone::Bad, text.lines().last().unwrap_or("FAILED without a word")));
            let mutant = arguments.mutant.as_deref().map(|mutant| format!(" --mutant {mutant}")).unwrap_or_default();
            println!("  cargo xtask sim --scene {scene} --seed {seed}{mutant} --trace");
        }
        Ok::<_, std::io::Error>(())
    })?;
    step.end("done");
    println!("{done} runs, {failed} failed");
    Ok(exit_code(failed == 0))
}
