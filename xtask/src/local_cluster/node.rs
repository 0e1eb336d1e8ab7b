//! One node as a real process.

use std::fs::{self, OpenOptions};
use std::io;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::http::Client;
use super::process::{ProcessId, ProcessState, SignalError};
use super::spec::NodeSpec;

/// How often the end of a process is looked for.
const EXIT_POLL: Duration = Duration::from_millis(5);
/// How much of a log an error quotes.
const LOG_TAIL_LINES: usize = 12;

/// One node as a process that this program may start, signal and wait for.
#[derive(Debug)]
pub struct Node {
    /// What it is started with; a change counts from the next start.
    pub spec: NodeSpec,
    process: Option<ProcessId>,
    /// Present when this program started it: only a parent learns the exit status.
    child: Option<Child>,
    /// Whether a Ctrl-C in the terminal passes it by.
    shielded: bool,
    /// Whether this program talks to it over its standard input and output.
    talking: bool,
}

/// Why a node was not started, or did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// It runs already.
    #[error("{node_id} runs already, as process {pid}")]
    Running {
        /// Its id.
        node_id: String,
        /// Its process.
        pid: i32,
    },
    /// The program could not be started, or its folder not be made.
    #[error("cannot start {node_id}: {doing}: {source}")]
    Start {
        /// Its id.
        node_id: String,
        /// What failed.
        doing: String,
        /// Why.
        source: io::Error,
    },
    /// It has no process.
    #[error("{node_id} does not run")]
    NotRunning {
        /// Its id.
        node_id: String,
    },
    /// A signal did not reach it.
    #[error("{node_id}: {source}")]
    Signal {
        /// Its id.
        node_id: String,
        /// Why.
        source: SignalError,
    },
    /// It did not end in time.
    #[error("{node_id} still runs after {} ms", .after.as_millis())]
    StillRunning {
        /// Its id.
        node_id: String,
        /// How long was waited.
        after: Duration,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As a child of this program.
    Status(ExitStatus),
    /// As a child of another program, which alone knows how.
    Unseen,
}

impl Node {
    /// A node that does not run yet.
    pub fn new(spec: NodeSpec) -> Self {
        Self { spec, process: None, child: None, shielded: false, talking: false }
    }

    /// A node that another program may have started.
    pub fn attached(spec: NodeSpec, process: Option<ProcessId>) -> Self {
        Self { spec, process, child: None, shielded: true, talking: false }
    }

    /// Keeps a Ctrl-C in the terminal away from it from the next start on: whoever started it then ends it in order.
    #[must_use]
    pub fn shielded(mut self) -> Self {
        self.shielded = true;
        self
    }

    /// Takes its standard input and output for a conversation from the next start on: see [`Self::pipes`]. It ends when
    /// its input does, if it is made so. What it prints on standard error is its log.
    pub fn talk(&mut self) {
        self.talking = true;
    }

    /// Its standard input and output, once per start, when it talks.
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        let child = self.child.as_mut()?;
        Some((child.stdin.take()?, child.stdout.take()?))
    }

    /// Starts it. What it prints is added to its log.
    pub fn start(&mut self) -> Result<(), NodeError> {
        if let Some(process) = self.process.as_ref().filter(|_| self.state() != ProcessState::Gone) {
            return Err(NodeError::Running { node_id: self.spec.node_id.clone(), pid: process.pid });
        }
        self.reap();
        let failed = |doing: String| {
            let node_id = self.spec.node_id.clone();
            move |source| NodeError::Start { node_id, doing, source }
        };
        let directory = &self.spec.directory;
        fs::create_dir_all(directory).map_err(failed(format!("making {}", directory.display())))?;
        let log = self.spec.log();
        let opening = format!("opening {}", log.display());
        let out = OpenOptions::new().create(true).append(true).open(&log).map_err(failed(opening.clone()))?;
        let err = out.try_clone().map_err(failed(opening))?;
        let mut command = self.spec.command();
        if self.talking {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(err);
        } else {
            command.stdin(Stdio::null()).stdout(out).stderr(err);
        }
        if self.shielded {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        let child = command.spawn().map_err(failed(format!("running {}", self.spec.binary.display())))?;
        // Not waited for yet, so even if it has ended at once its number is still its own.
        let process = ProcessId::of(child.id()).map_err(failed("reading its start time".to_owned()));
        self.child = Some(child);
        self.process = Some(process?);
        Ok(())
    }

    /// The process, running or not; `None` when it was never started.
    pub fn process(&self) -> Option<&ProcessId> {
        self.process.as_ref()
    }

    /// What its process is doing.
    pub fn state(&self) -> ProcessState {
        self.process.as_ref().map_or(ProcessState::Gone, ProcessId::state)
    }

    /// Whether it has a process that is neither gone nor paused.
    pub fn is_running(&self) -> bool {
        self.state() == ProcessState::Running
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), NodeError> {
        let node_id = || self.spec.node_id.clone();
        let process = self.process.as_ref().ok_or_else(|| NodeError::NotRunning { node_id: node_id() })?;
        process.signal(signal).map_err(|source| match source {
            SignalError::Gone { .. } => NodeError::NotRunning { node_id: node_id() },
            source => NodeError::Signal { node_id: node_id(), source },
        })
    }

    /// Waits for its end.
    pub async fn wait_exit(&mut self, bound: Duration) -> Result<Ended, NodeError> {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(ended) = self.reap() {
                return Ok(ended);
            }
            if Instant::now() >= deadline {
                return Err(NodeError::StillRunning { node_id: self.spec.node_id.clone(), after: bound });
            }
            sleep(EXIT_POLL).await;
        }
    }

    /// How it ended, when it has; a child is waited for, so that it does not stay behind as a zombie.
    pub fn reap(&mut self) -> Option<Ended> {
        match &mut self.child {
            Some(child) => child.try_wait().ok().flatten().map(Ended::Status),
            None => (self.state() == ProcessState::Gone).then_some(Ended::Unseen),
        }
    }

    /// Asks its HTTP API.
    pub fn http(&self) -> Client {
        let token = self.spec.options.get("HTTP_TOKEN").map(String::as_str);
        Client::new(self.spec.http_address()).with_token(token)
    }

    /// Everything it printed so far.
    pub fn log_text(&self) -> String {
        fs::read(self.spec.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines that it printed.
    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Ends the process at once when this program started it; for use where waiting in order is not possible.
    pub(super) fn abandon(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A child that was not waited for keeps its number, so this reaches it or nobody. A kill that fails means
            // that it has ended, and then the wait returns at once.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
