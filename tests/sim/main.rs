//! `ha-sim`: plays one scene with one seed.
//!
//! One run per process: what draws random numbers from the operating system, and what reads its clock, is given seeded
//! ones here, and that can be done only once. The library without this program leaves both alone.

use std::process::ExitCode;
use std::time::Duration;

use ha_tests::sim::{Mutant, Settings, Trace, scenes};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

const USAGE: &str = "usage: ha-sim --scene NAME [--seed N] [--trace] [--log] [--minutes N] [--mutant NAME] | --list";

/// Real time within which simulated time must move. A step takes well under a millisecond.
const STUCK_AFTER: Duration = Duration::from_secs(60);

struct Arguments {
    scene: String,
    settings: Settings,
    trace: bool,
    log: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        scenes::ALL.iter().for_each(|scene| println!("{:<10} {}", scene.name, scene.summary));
        return ExitCode::SUCCESS;
    }
    let arguments = match parse(&words) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Some(scene) = scenes::ALL.iter().find(|scene| scene.name.eq_ignore_ascii_case(&arguments.scene)) else {
        eprintln!("there is no scene named {}: see ha-sim --list", arguments.scene);
        return ExitCode::from(2);
    };
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(arguments.settings.seed));
    if arguments.log {
        log();
    }
    let seed = arguments.settings.seed;
    let trace = Trace::new(arguments.trace);
    watch(scene.name, seed, trace.clone());
    let report = ha_tests::sim::play(scene, arguments.settings, trace);
    let seconds = report.simulated.as_secs_f64();
    println!("{} seed {seed}: {seconds:.1} s simulated, {}, {}", scene.name, report.load, report.fingerprint);
    let Some(failure) = report.failure else { return ExitCode::SUCCESS };
    if !arguments.trace {
        report.last_lines.iter().for_each(|line| println!("{line}"));
    }
    println!("FAILED {} seed {seed}: {failure}", scene.name);
    ExitCode::FAILURE
}

fn parse(words: &[String]) -> Result<Arguments, String> {
    let mut arguments = Arguments { scene: String::new(), settings: Settings::default(), trace: false, log: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--scene" => arguments.scene = value()?.clone(),
            "--seed" => {
                let text = value()?;
                arguments.settings.seed = text.parse().map_err(|_| format!("{text} is not a seed"))?;
            }
            "--minutes" => {
                let text = value()?;
                let minutes: u64 = text.parse().map_err(|_| format!("{text} is no number of minutes"))?;
                arguments.settings.chaos = Some(Duration::from_secs(60 * minutes));
            }
            "--mutant" => {
                let text = value()?;
                arguments.settings.mutant = Some(Mutant::parse(text).ok_or_else(|| format!("{text} is no mutant"))?);
            }
            "--trace" => arguments.trace = true,
            "--log" => arguments.log = true,
            other => return Err(format!("{other} is not understood")),
        }
    }
    if arguments.scene.is_empty() { Err("which scene?".to_owned()) } else { Ok(arguments) }
}

/// Ends the process when simulated time stands still: some task runs for ever without waiting for anything. The only
/// thread besides that of the simulation; it touches nothing of it.
fn watch(scene: &'static str, seed: u64, trace: Trace) {
    std::thread::spawn(move || {
        let mut before = None;
        loop {
            #[allow(clippy::disallowed_methods, reason = "real time is what is measured")]
            std::thread::sleep(STUCK_AFTER);
            let now = trace.now_unless_busy();
            if now.is_some() && now == before {
                trace.last_lines().iter().for_each(|line| println!("{line}"));
                println!(
                    "FAILED {scene} seed {seed}: a task runs for ever, and simulated time stands still at {now:?}"
                );
                std::process::exit(1);
            }
            before = now.or(before);
        }
    });
}

/// Shows what the crates log, on standard error, at simulated time. `RUST_LOG` says what.
fn log() {
    struct SimulatedTime;
    impl tracing_subscriber::fmt::time::FormatTime for SimulatedTime {
        fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
            write!(w, "{:9.3}", turmoil::sim_elapsed().unwrap_or(Duration::ZERO).as_secs_f64())
        }
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_timer(SimulatedTime)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}
