//! Feeds every decoder of the house with inputs that nobody wrote: valid ones, changed at random.
//!
//! A run is a function of its seed. An input must not make its target panic, hold more memory than its own length
//! explains, or take long. `cargo xtask fuzz` runs it for as long as one likes, `cargo xtask test` briefly.

mod mutate;
mod targets;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use peak_alloc::PeakAlloc;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::time::{ClockId, clock_gettime};

pub use targets::{Target, find, targets};

/// Counts what is allocated.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Longest input, in bytes.
pub const INPUT_BYTES_MAX: usize = 16 * 1024;
/// What an input may make its target hold beside what its length explains, in bytes: tables, runtimes, buffers.
const MEMORY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What each byte of an input may make its target hold, in bytes.
const MEMORY_PER_BYTE_MAX: usize = 512;
/// No input may take more of a processor, in whatever build.
const TIME_MAX: Duration = Duration::from_secs(2);

/// What was wrong with one input.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What it did.
    pub what: String,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Inputs.
    pub executions: u64,
    /// The most that one of them made its target hold, in bytes.
    pub memory_bytes: usize,
    /// The longest that one of them took.
    pub time: Duration,
}

/// Feeds a target with so many inputs.
pub fn run(target: &Target, executions: u64, seed: u64) -> Result<Report, Finding> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut report = Report::default();
    for input in &target.seeds {
        report.add(execute(target, input)?);
    }
    while report.executions < executions {
        let input = mutate::input(&mut random, &target.seeds);
        report.add(execute(target, &input)?);
        // Some go in twice in a row, since a target may keep something between two of them.
        if random.random_ratio(1, 64) {
            report.add(execute(target, &input)?);
        }
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, (memory_bytes, time): (usize, Duration)) {
        self.executions += 1;
        self.memory_bytes = self.memory_bytes.max(memory_bytes);
        self.time = self.time.max(time);
    }
}

/// Feeds a target with one input; returns what it held and how long it took.
pub fn execute(target: &Target, input: &[u8]) -> Result<(usize, Duration), Finding> {
    let finding = |what: String| Finding { input: input.to_vec(), what };
    MEMORY.reset_peak_usage();
    let (before, began) = (MEMORY.current_usage(), now());
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.take)(input)));
    let took = now().saturating_sub(began);
    let held = MEMORY.peak_usage().saturating_sub(before);
    if let Err(panic) = outcome {
        return Err(finding(format!("it panicked: {}", words(&*panic))));
    }
    if held > MEMORY_BYTES_MAX + MEMORY_PER_BYTE_MAX * input.len() {
        return Err(finding(format!("it held {held} bytes for an input of {}", input.len())));
    }
    if took > TIME_MAX {
        return Err(finding(format!("it took {took:?}")));
    }
    Ok((held, took))
}

/// What this thread has used of a processor: how busy the machine is else does not count.
fn now() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or_default(), u32::try_from(used.tv_nsec).unwrap_or_default())
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
