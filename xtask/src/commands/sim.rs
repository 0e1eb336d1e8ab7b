//! `sim`: plays scenes on a simulated network and disk, one process per seed, and says how to repeat what failed.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use xtask::local_cluster::binary::{Program, project_root};

use super::Outcome;
use crate::ui::{self, Table, Tone, build};

/// The program that plays one scene with one seed.
const SIMULATOR: Program = Program { package: "ha-tests", name: "ha-sim" };

/// What to play.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this scene; may be repeated. All of them when absent
    #[arg(long)]
    scene: Vec<String>,
    /// The seed, or the first of several
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds to play, counting up
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Print what happens at each step
    #[arg(long)]
    trace: bool,
    /// Print what the nodes log, too; `RUST_LOG` says what of it
    #[arg(long)]
    log: bool,
    /// Name the scenes, and play none
    #[arg(long)]
    list: bool,
    /// Build with optimizations: worth it for many seeds
    #[arg(long)]
    release: bool,
}

/// One scene with one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    scene: String,
    seed: u64,
}

/// Plays them, as many at once as there are cores.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    super::check::warn_about_rustflags();
    let simulator = build(SIMULATOR, arguments.release)?;
    if arguments.list {
        print!("{}", list(&simulator)?);
        return Ok(ExitCode::SUCCESS);
    }
    let scenes = match arguments.scene.as_slice() {
        [] => list(&simulator)?.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect(),
        named => named.to_vec(),
    };
    let last = arguments.seed.saturating_add(arguments.seeds);
    let runs = (arguments.seed..last).flat_map(|seed| scenes.iter().map(move |scene| (scene.clone(), seed)));
    let runs: VecDeque<Run> = runs.map(|(scene, seed)| Run { scene, seed }).collect();
    let results = play(&simulator, runs, arguments)?;

    let mut table = Table::new(&["SCENE", "SEEDS", "FAILED", "LONGEST"]);
    let mut failed = 0;
    for scene in &scenes {
        let of_scene: Vec<_> = results.iter().filter(|(run, ..)| run.scene == *scene).collect();
        let broken = of_scene.iter().filter(|(_, passed, _)| !passed).count();
        let longest = of_scene.iter().map(|(.., took)| *took).max().unwrap_or_default();
        failed += broken;
        let tone = (broken > 0).then_some(Tone::Bad);
        table.row(vec![
            (None, scene.clone()),
            (None, of_scene.len().to_string()),
            (tone, broken.to_string()),
            (None, ui::seconds(longest)),
        ]);
    }
    println!();
    table.print();
    println!("\n{} passed, {failed} failed", results.len() - failed);
    Ok(if failed == 0 && !results.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(simulator: &Path) -> Result<String, Box<dyn std::error::Error>> {
    Ok(String::from_utf8(Command::new(simulator).arg("--list").output()?.stdout)?)
}

type Results = Vec<(Run, bool, Duration)>;

fn play(simulator: &Path, runs: VecDeque<Run>, arguments: &Arguments) -> Result<Results, Box<dyn std::error::Error>> {
    let (queue, results) = (Mutex::new(runs), Mutex::new(Vec::new()));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let work = || -> std::io::Result<()> {
            while let Some(run) = take(&queue) {
                let began = Instant::now();
                let output = command(simulator, &run, arguments).output()?;
                // Printed under the lock, so that two runs do not mix.
                let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                show(&run, &output);
                results.push((run, output.status.success(), began.elapsed()));
            }
            Ok(())
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => Err(std::io::Error::other("a worker ended early")),
        })
    })?;
    Ok(results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn take(queue: &Mutex<VecDeque<Run>>) -> Option<Run> {
    queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
}

fn command(simulator: &Path, run: &Run, arguments: &Arguments) -> Command {
    let mut command = Command::new(simulator);
    command.args(["--scene", &run.scene, "--seed", &run.seed.to_string()]).current_dir::<PathBuf>(project_root());
    for (flag, wanted) in [("--trace", arguments.trace), ("--log", arguments.log)] {
        if wanted {
            command.arg(flag);
        }
    }
    command
}

fn show(run: &Run, output: &Output) {
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        // A simulation that panicked, or was killed, says nothing of itself.
        ui::error(&format!("{} with seed {}: {}", run.scene, run.seed, output.status));
        println!("{}", replay(run));
    }
}

fn replay(run: &Run) -> String {
    format!("replay: cargo xtask sim --scene {} --seed {} --trace", run.scene, run.seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_one_command_that_repeats_it() {
        let run = Run { scene: "T01".to_owned(), seed: 7 };
        assert_eq!(replay(&run), "replay: cargo xtask sim --scene T01 --seed 7 --trace");
    }
}
