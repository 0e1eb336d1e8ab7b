//! The command that runs while the lock is held, under a guard.

use std::ffi::OsString;
use std::time::Duration;

use http::{Method, StatusCode};

use super::keep::Lease;
use crate::client::Client;
use crate::failure::{Failure, say};
use crate::guard::{Cause, Ended, Exit, Guarded, boot_now};
use crate::signals::Signals;

/// The longest sleep: the clock of leases may go on while that of sleeping stands still.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a renewal that was not answered, when there is nothing yet to run.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How long to try to begin with a whole lease.
const FRESHEN_TIME_MAX: Duration = Duration::from_secs(5);

/// How long giving back may take: the lease ends by itself.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(2);

/// A lock that is held.
pub(super) struct Held {
    pub(super) client: Client,
    pub(super) name: String,
    /// Of this grant.
    pub(super) path: String,
    pub(super) lease: Lease,
}

impl Held {
    /// Makes sure that there is time to begin with: the node kept the lease while this waited, but only an answered
    /// call says from when on. False when that cannot be made sure of.
    pub(super) async fn freshened(&mut self) -> bool {
        if boot_now() < self.lease.renew_at() {
            return true;
        }
        let (before, give_up) = (self.lease.valid_until(), boot_now() + self.lease.ttl().min(FRESHEN_TIME_MAX));
        loop {
            let left = give_up.saturating_sub(boot_now());
            if left.is_zero() || !self.renew(left.min(self.lease.retry_after())).await {
                return false;
            }
            if self.lease.valid_until() > before {
                return true;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Renews it while its answer is of use; false when it is not held any more.
    async fn renew_in_time(&mut self) -> bool {
        self.renew(self.lease.patience(boot_now())).await
    }

    async fn renew(&mut self, patience: Duration) -> bool {
        let asked = boot_now();
        let path = format!("{}/renew", self.path);
        match self.client.change_within(patience, Method::POST, &path, None, None).await {
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return false,
            Ok(answer) if answer.status().is_success() => self.lease.renewed(asked),
            _ => self.lease.failed(boot_now()),
        }
        true
    }

    /// Gives it back, or says why it is not given back.
    pub(super) async fn release(&self) {
        let answer = self.client.change_within(RELEASE_TIME_MAX, Method::DELETE, &self.path, None, None).await;
        let reason = match answer {
            // What is not held need not be given back.
            Ok(answer) if answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND => return,
            Ok(answer) => answer.refusal(),
            Err(failure) => failure,
        };
        let (name, ttl) = (&self.name, self.lease.ttl().as_secs_f64());
        say(format_args!("the lock {name} was not given back, and ends by its TTL of {ttl} seconds: {reason}"));
    }
}

/// Runs the command, and returns how it ended, as a shell would.
///
/// The guard knows until when the lock is held for certain: it ends the command before that, also when this process is
/// killed or frozen.
pub(super) async fn run(
    mut held: Held,
    command: &[OsString],
    environment: [(&str, String); 3],
) -> Result<i32, Failure> {
    let mut signals = Signals::new()?;
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    let guarded = match Guarded::start(command, &environment, held.lease.grace()) {
        Ok(guarded) => guarded,
        Err(error) => {
            held.release().await;
            return Err(Failure::failed(format_args!("cannot guard the command: {error}")));
        }
    };
    let mut lost = false;
    loop {
        guarded.extend(held.lease.valid_until());
        let due = held.lease.renew_at().saturating_sub(boot_now());
        let wait = if lost { LOOK_INTERVAL } else { due.min(LOOK_INTERVAL) };
        tokio::select! {
            exit = guarded.exited() => {
                // Renewals without an answer end at the deadline.
                lost |= exit.cause == Cause::Deadline;
                if !lost {
                    held.release().await;
                }
                return told(exit, lost, &held.name, command);
            }
            _ = signals.next() => guarded.stop(),
            () = tokio::time::sleep(wait), if !wait.is_zero() => {}
            renewed = held.renew_in_time(), if wait.is_zero() => {
                if !renewed {
                    lost = true;
                    guarded.stop();
                }
            }
        }
    }
}

fn told(exit: Exit, lost: bool, name: &str, command: &[OsString]) -> Result<i32, Failure> {
    if lost {
        return Err(Failure::failed(format_args!("the lock {name} was lost, and the command was stopped")));
    }
    match exit.ended {
        Some(Ended::Code(code)) => Ok(code),
        Some(Ended::Signal(signal)) => Ok(128 + signal),
        None => {
            let program = command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            Err(Failure::failed(format_args!("the guard of {program} has ended, and {program} with it if it ran")))
        }
    }
}
