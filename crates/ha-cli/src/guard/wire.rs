//! What `ha` and the guard say to each other: lines of text, a few words each.

use std::fmt;
use std::time::Duration;

use super::plan::Cause;

/// Longest line; whoever says more is not understood.
const LINE_BYTES_MAX: usize = 128;

/// From `ha` to the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The lease lasts until then, on the boot clock.
    Extend(Duration),
    /// The command shall end.
    Stop,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// From the guard to `ha`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The command runs, with this process id.
    Started(i32),
    /// The command itself has ended.
    Ended(Ended),
    /// Nothing of it is left.
    Gone(Cause),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extend(until) => writeln!(f, "extend {}", until.as_nanos()),
            Self::Stop => writeln!(f, "stop"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(pid) => writeln!(f, "started {pid}"),
            Self::Ended(Ended::Code(code)) => writeln!(f, "code {code}"),
            Self::Ended(Ended::Signal(signal)) => writeln!(f, "signal {signal}"),
            Self::Gone(cause) => writeln!(f, "gone {}", word(*cause)),
        }
    }
}

const CAUSES: [Cause; 5] = [Cause::Itself, Cause::Stopped, Cause::Deadline, Cause::Orphaned, Cause::GuardLost];

fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Itself => "itself",
        Cause::Stopped => "stopped",
        Cause::Deadline => "deadline",
        Cause::Orphaned => "orphaned",
        Cause::GuardLost => "guard-lost",
    }
}

impl Order {
    pub(super) fn read(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            Some(("extend", nanoseconds)) => nanoseconds.parse().ok().map(Duration::from_nanos).map(Self::Extend),
            None if line == "stop" => Some(Self::Stop),
            _ => None,
        }
    }
}

impl Report {
    pub(super) fn read(line: &str) -> Option<Self> {
        let (name, value) = line.split_once(' ')?;
        match name {
            "started" => value.parse().ok().map(Self::Started),
            "code" => value.parse().ok().map(|code| Self::Ended(Ended::Code(code))),
            "signal" => value.parse().ok().map(|signal| Self::Ended(Ended::Signal(signal))),
            "gone" => CAUSES.into_iter().find(|cause| word(*cause) == value).map(Self::Gone),
            _ => None,
        }
    }
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn next(&mut self) -> Option<String> {
        match self.bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                Some(String::from_utf8_lossy(&line[..end]).into_owned())
            }
            None => {
                // What is no line of ours will never become one.
                if self.bytes.len() > LINE_BYTES_MAX {
                    self.bytes.clear();
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_however_it_is_cut() {
        let orders = [Order::Extend(Duration::from_nanos(1_234_567_890_123)), Order::Stop];
        let reports = [
            Report::Started(42),
            Report::Ended(Ended::Code(3)),
            Report::Ended(Ended::Signal(9)),
            Report::Gone(Cause::Deadline),
        ];
        let said: String = orders.iter().map(Order::to_string).chain(reports.iter().map(Report::to_string)).collect();
        let mut lines = Lines::default();
        let mut heard = Vec::new();
        for byte in said.bytes() {
            lines.push(&[byte]);
            heard.extend(lines.next());
        }
        assert_eq!(heard[..2].iter().map(|line| Order::read(line).unwrap()).collect::<Vec<_>>(), orders);
        assert_eq!(heard[2..].iter().map(|line| Report::read(line).unwrap()).collect::<Vec<_>>(), reports);
    }

    #[test]
    fn nonsense_is_passed_over_and_not_kept() {
        for line in ["", "extend", "extend x", "extend -1", "stop now", "gone", "gone home"] {
            assert_eq!((Order::read(line), Report::read(line)), (None, None), "{line}");
        }
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.push(&[b'x'; 100]);
            assert_eq!(lines.next(), None);
            assert!(lines.bytes.len() <= LINE_BYTES_MAX + 100);
        }
    }
}
