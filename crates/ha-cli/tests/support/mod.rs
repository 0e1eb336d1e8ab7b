//! Runs the program as a user would.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests")]

pub mod fake;
pub mod stage;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Nothing in these tests takes long; what does has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program with an environment of its own: what the machine has set must not decide.
pub fn ha(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    command
}

/// The signals by which a person or a service manager ends the program. Without SIGHUP where these tests were started so
/// that it is ignored, as by `nohup`: then the program ignores it, too.
pub fn ending_signals() -> Vec<Signal> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    let mut signals = vec![Signal::TERM, Signal::INT];
    if ignored & 1 == 0 {
        signals.push(Signal::HUP);
    }
    signals
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs it to its end.
pub fn end(mut command: Command) -> Ended {
    command.output().unwrap().into()
}

/// A port that nobody listens on while the listener is kept from being used.
pub fn taken_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A running `ha run`; killed when dropped.
pub struct Running {
    child: Child,
    /// Everything it said on standard error so far.
    pub said: String,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = follow(child.stderr.take().unwrap());
        Self { child, said: String::new(), lines }
    }

    /// Waits for a line with a text, unless it was said already, and returns the line.
    pub fn wait_for(&mut self, text: &str) -> String {
        if let Some(line) = self.said.lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("{text:?} was not said, but:\n{}", self.said);
            };
            self.said.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The URL of its banner.
    pub fn url(&mut self) -> String {
        let line = self.wait_for("http://");
        line.split_whitespace().last().unwrap().to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What the system says of its process.
    pub fn process_status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap()
    }

    /// The anonymous memory that it holds.
    pub fn memory_kib(&self) -> u64 {
        let status = self.process_status();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Closes the reading end of its standard error.
    pub fn stop_reading(&mut self) {
        let (_, nothing) = mpsc::channel();
        // The follower ends with the next line, when it finds that nobody listens.
        self.lines = nothing;
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push_str(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it still runs, and said:\n{}", self.said),
            }
        }
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let code = self.child.wait().unwrap().code();
        Ended { code, out, err: std::mem::take(&mut self.said) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nobody to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stderr);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    lines
}
