//! What happened in a run, as lines: what a person reads, and what two runs of one seed are compared by.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines kept for the report of a failure.
const KEPT_LINES: usize = 200;

/// The lines of one run. Cheap to clone; clones write to the same lines.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    now: Duration,
    print: bool,
    count: u64,
    hash: Hash,
    last: VecDeque<String>,
}

impl Trace {
    /// A trace that also prints each line at once when asked to.
    pub fn new(print: bool) -> Self {
        let trace = Self::default();
        trace.lines().print = print;
        trace
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Simulated time since the start of the run.
    pub fn now(&self) -> Duration {
        self.lines().now
    }

    /// As [`Self::now`], for somebody on another thread who must not wait; `None` while it is being written to.
    pub fn now_unless_busy(&self) -> Option<Duration> {
        self.0.try_lock().ok().map(|lines| lines.now)
    }

    /// Moves the time that stands before each line.
    pub(super) fn set_now(&self, now: Duration) {
        self.lines().now = now;
    }

    /// Adds a line.
    pub fn line(&self, who: impl Display, what: impl Display) {
        let mut lines = self.lines();
        let seconds = lines.now.as_secs_f64();
        let line = format!("{seconds:>9.3} {who:<8} {what}");
        lines.hash.add(line.as_bytes());
        lines.count += 1;
        if lines.print {
            println!("{line}");
        }
        if lines.last.len() == KEPT_LINES {
            lines.last.pop_front();
        }
        lines.last.push_back(line);
    }

    /// How many lines there were, and what they hash to.
    pub fn fingerprint(&self) -> String {
        let lines = self.lines();
        format!("{} lines, hash {:016x}", lines.count, lines.hash.0)
    }

    /// The last lines, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.lines().last.iter().cloned().collect()
    }
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits: short, and the same for ever.
pub struct Hash(pub u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// Adds bytes, and an end mark so that neighbours cannot be confused.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
