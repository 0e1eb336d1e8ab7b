//! The command that runs while the lock is held.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use http::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use super::keep::{self, Lease};
use crate::client::Client;
use crate::failure::Failure;
use crate::signals::Signals;

/// The longest sleep: the clock of leases may go on while that of sleeping stands still.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A lock that is held.
pub(super) struct Held {
    pub(super) client: Client,
    /// Of this grant.
    pub(super) path: String,
    pub(super) lease: Lease,
}

impl Held {
    /// Renews it; false when it is not held any more.
    async fn renew(&mut self) -> bool {
        let asked = keep::now();
        let left = self.lease.warn_at().saturating_sub(asked);
        let path = format!("{}/renew", self.path);
        let renewal = self.client.change(Method::POST, &path, None, None);
        match tokio::time::timeout(left, renewal).await {
            Ok(Ok(answer)) if answer.status() == StatusCode::NOT_FOUND => return false,
            Ok(Ok(answer)) if answer.status().is_success() => self.lease.renewed(asked),
            _ => self.lease.failed(keep::now()),
        }
        true
    }

    async fn release(&self) {
        // If this fails, the lease ends by itself.
        let _ = self.client.change(Method::DELETE, &self.path, None, None).await;
    }
}

/// Runs the command, and returns how it ended, as a shell would.
pub(super) async fn run(
    mut held: Held,
    name: &str,
    command: &[OsString],
    environment: [(&str, String); 3],
) -> Result<i32, Failure> {
    let mut signals = Signals::new()?;
    let Some((program, arguments)) = command.split_first() else { return Err(Failure::usage("no command")) };
    // A group of its own, so that what it starts can be ended with it.
    let child = Command::new(program).args(arguments).envs(environment).process_group(0).kill_on_drop(true).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            held.release().await;
            return Err(Failure::failed(format_args!("cannot run {}: {error}", program.to_string_lossy())));
        }
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // When the command must have ended, once the lock is lost or about to be.
    let mut end_by: Option<Duration> = None;
    loop {
        let now = keep::now();
        if end_by.is_none() && now >= held.lease.warn_at() {
            end_by = Some(held.lease.valid_until());
            signal(group, Signal::TERM);
        }
        let next = match end_by {
            Some(end_by) if now >= end_by => {
                signal(group, Signal::KILL);
                now + LOOK_INTERVAL
            }
            Some(end_by) => end_by,
            None => held.lease.renew_at().min(held.lease.warn_at()),
        };
        tokio::select! {
            ended = child.wait() => {
                // What it has started and left behind ends with it.
                signal(group, Signal::KILL);
                if end_by.is_some() {
                    return Err(Failure::failed(format_args!("the lock {name} was lost, and the command was stopped")));
                }
                held.release().await;
                return Ok(code(ended?));
            }
            (signal_name, _) = signals.next() => {
                signal(group, if signal_name == "SIGINT" { Signal::INT } else { Signal::TERM });
            }
            () = tokio::time::sleep(next.saturating_sub(now).min(LOOK_INTERVAL)), if next > now => {}
            renewed = held.renew(), if next <= now && end_by.is_none() => {
                if !renewed {
                    end_by = Some(held.lease.valid_until().min(now + held.lease.grace()));
                    signal(group, Signal::TERM);
                }
            }
        }
    }
}

/// Signals the command and all that it has started.
fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // What has ended already cannot be signalled.
        let _ = kill_process_group(group, signal);
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}
