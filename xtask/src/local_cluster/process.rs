//! One life of one process, so that a signal never reaches a stranger.
//!
//! A process number alone is not a name: it is given again once its process is gone. The number, the instant its
//! process started and the boot of the machine together are one. A signal goes through a pidfd, which is opened first
//! and checked against that name second, so the number cannot change hands in between.

use std::fmt;
use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Names one life of one process on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine booted.
    pub start_ticks: u64,
    /// Which boot of the machine.
    pub boot_id: String,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It runs, or could.
    Running,
    /// It was stopped by SIGSTOP.
    Paused,
    /// It has ended; its number may belong to another process by now.
    Gone,
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Gone => "gone",
        })
    }
}

/// Why a signal was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The process has ended. Its number was left alone, whoever has it now.
    #[error("process {pid} has ended")]
    Gone {
        /// Its number.
        pid: i32,
    },
    /// The system refused.
    #[error("cannot signal process {pid}: {source}")]
    System {
        /// Its number.
        pid: i32,
        /// Why.
        source: io::Error,
    },
}

impl ProcessId {
    /// Names the process that has this number now. The caller must know that it is the one meant: its own child that
    /// it has not waited for.
    pub fn of(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        Ok(Self { pid, start_ticks: Stat::read(pid)?.start_ticks, boot_id: boot_id()? })
    }

    /// What it is doing now.
    pub fn state(&self) -> ProcessState {
        if boot_id().ok().as_ref() != Some(&self.boot_id) {
            return ProcessState::Gone;
        }
        match Stat::read(self.pid) {
            Ok(stat) if stat.start_ticks != self.start_ticks => ProcessState::Gone,
            Ok(Stat { letter: 'Z' | 'X' | 'x', .. }) | Err(_) => ProcessState::Gone,
            Ok(Stat { letter: 'T' | 't', .. }) => ProcessState::Paused,
            Ok(_) => ProcessState::Running,
        }
    }

    /// Sends a signal to this life of this process and to no other.
    pub fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        let gone = SignalError::Gone { pid: self.pid };
        let Some(pid) = Pid::from_raw(self.pid) else { return Err(gone) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Err(gone),
            Err(error) => return Err(SignalError::System { pid: self.pid, source: error.into() }),
        };
        if self.state() == ProcessState::Gone {
            return Err(gone);
        }
        match pidfd_send_signal(&handle, signal) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::SRCH) => Err(gone),
            Err(error) => Err(SignalError::System { pid: self.pid, source: error.into() }),
        }
    }
}

/// The fields of `/proc/PID/stat` that are needed here.
struct Stat {
    letter: char,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::other(format!("cannot read /proc/{pid}/stat")))
    }

    /// The second field is the program's name in parentheses, and may itself hold spaces and parentheses: fields are
    /// counted from the last one. After it, the state is the first and the start time the twentieth.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let letter = fields.next()?.chars().next()?;
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self { letter, start_ticks })
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that ends when its standard input does, so that nothing is left behind when a test fails.
    fn cat() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn the_state_follows_signals() {
        let mut child = cat();
        let process = ProcessId::of(child.id()).unwrap();
        assert_eq!(process.state(), ProcessState::Running);
        process.signal(Signal::STOP).unwrap();
        // A stop is delivered when the process is next scheduled.
        while process.state() != ProcessState::Paused {
            std::thread::yield_now();
        }
        process.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert_eq!(process.state(), ProcessState::Gone);
        assert!(matches!(process.signal(Signal::KILL), Err(SignalError::Gone { .. })));
    }

    #[test]
    fn a_number_that_changed_hands_is_left_alone() {
        let mut child = cat();
        let mut stranger = ProcessId::of(child.id()).unwrap();
        stranger.start_ticks += 1;
        assert_eq!(stranger.state(), ProcessState::Gone);
        assert!(matches!(stranger.signal(Signal::KILL), Err(SignalError::Gone { .. })));
        assert!(child.try_wait().unwrap().is_none(), "the process that has the number was hit");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_of_another_boot_is_gone() {
        let mut earlier = ProcessId::of(std::process::id()).unwrap();
        earlier.boot_id = "another".to_owned();
        assert_eq!(earlier.state(), ProcessState::Gone);
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_is_read() {
        let text = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.letter, stat.start_ticks), ('S', 777));
    }
}
