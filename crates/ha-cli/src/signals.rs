//! What ends a running node from outside.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM. From its making on, neither ends the process by itself.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one, and returns its name and the exit code of a process that it ends. Cancel-safe.
    pub(crate) async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", 128 + libc_number(SignalKind::interrupt())),
            _ = self.terminate.recv() => ("SIGTERM", 128 + libc_number(SignalKind::terminate())),
        }
    }
}

fn libc_number(kind: SignalKind) -> i32 {
    kind.as_raw_value()
}
