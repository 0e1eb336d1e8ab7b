//! What ends a running node from outside.

use std::future::pending;
use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM, and SIGHUP where whoever started this process did not have it ignored, as `nohup` does. From its
/// making on, none of them ends the process by itself.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let hang_up = if is_ignored(SignalKind::hangup()) { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hang_up })
    }

    /// Waits for one, and returns its name and the exit code of a process that it ends. Cancel-safe.
    pub(crate) async fn next(&mut self) -> (&'static str, i32) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", 128 + libc_number(SignalKind::interrupt())),
            _ = self.terminate.recv() => ("SIGTERM", 128 + libc_number(SignalKind::terminate())),
            _ = hang_up => ("SIGHUP", 128 + libc_number(SignalKind::hangup())),
        }
    }
}

fn libc_number(kind: SignalKind) -> i32 {
    kind.as_raw_value()
}

/// Whether this process was started with a signal ignored, as the system tells it; not, when it does not.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    ignored & 1 << (libc_number(kind) - 1) != 0
}
