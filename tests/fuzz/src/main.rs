//! `cargo xtask fuzz`: feeds decoders for as long as one likes, and keeps what it finds.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ha_fuzz::{Finding, Target, find, run, targets};

/// Feed decoders with inputs that nobody wrote.
#[derive(Parser)]
struct Arguments {
    /// Only this one; may be repeated. Without any, all of them
    #[arg(long)]
    target: Vec<String>,
    /// Inputs of each
    #[arg(long, default_value_t = 100_000)]
    executions: u64,
    /// Which inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Name the targets, and do nothing
    #[arg(long)]
    list: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    let chosen: Vec<Target> = if arguments.target.is_empty() {
        targets()
    } else {
        let named = |name: &String| find(name).ok_or_else(|| format!("no target is called {name}: see --list"));
        arguments.target.iter().map(named).collect::<Result<_, _>>()?
    };
    if arguments.list {
        chosen.iter().for_each(|target| println!("{}", target.name));
        return Ok(ExitCode::SUCCESS);
    }
    // What a panic says is in the finding.
    std::panic::set_hook(Box::new(|_| ()));
    let mut failed = 0;
    println!("{:<20} {:>12} {:>14} {:>12}", "target", "executions", "most memory", "longest");
    for target in &chosen {
        match run(target, arguments.executions, arguments.seed) {
            Ok(report) => {
                let (memory, time) = (report.memory_bytes / 1024, report.time);
                println!("{:<20} {:>12} {memory:>10} KiB {time:>12.1?}", target.name, report.executions);
            }
            Err(finding) => {
                failed += 1;
                let path = keep(target, &finding)?;
                println!("{:<20} FOUND: {}; kept in {}", target.name, finding.what, path.display());
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes an input where the tests read it, as text that can be read and compared.
fn keep(target: &Target, finding: &Finding) -> Result<PathBuf, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
    fs::create_dir_all(&folder)?;
    let number = (1..).find(|number| !folder.join(format!("{}-{number}.hex", target.name)).exists());
    let path = folder.join(format!("{}-{}.hex", target.name, number.unwrap_or_default()));
    let hex: String = finding.input.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&path, hex + "\n")?;
    Ok(path)
}
