//! A command says how things are.

use std::ffi::{OsStr, OsString};
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::Verdict;
use crate::check::{Action, Boxed, Check};

/// How much of what a command says is kept; the rest is read and thrown away.
const SAID_BYTES_MAX: usize = 4096;

/// How long the output of a command that has ended is still read: something that it left behind may hold it open.
const REST_TIME_MAX: Duration = Duration::from_millis(100);

/// Passes when a command exits with 0. What it said last is the reason when it does not.
///
/// The command runs in a process group of its own. When it is stopped because it takes too long, the whole group is
/// killed; so is, after a check, what a command that has ended left behind in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandCheck {
    program: OsString,
    arguments: Vec<OsString>,
}

impl CommandCheck {
    /// Runs a program with arguments, without a shell.
    pub fn new<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        Self { program: program.as_ref().to_owned(), arguments }
    }

    /// Runs a line with `/bin/sh -c`.
    pub fn shell(line: &str) -> Self {
        Self::new("/bin/sh", ["-c", line])
    }

    /// Runs it to its end; returns how it ended, and what it said last.
    async fn run(&self, leaves_nothing: bool) -> io::Result<(ExitStatus, String)> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::start(command.process_group(0).kill_on_drop(true))?;
        let (mut out, mut err) = (Tail::default(), Tail::default());
        let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
        let status = {
            let mut reading = pin!(async { _ = tokio::join!(out.read(stdout), err.read(stderr)) });
            let mut has_read = false;
            let status = loop {
                tokio::select! {
                    status = group.child.wait() => break status?,
                    () = &mut reading, if !has_read => has_read = true,
                }
            };
            group.ended(leaves_nothing);
            if !has_read {
                // What it said is already in the pipes.
                let _ = tokio::time::timeout(REST_TIME_MAX, reading).await;
            }
            status
        };
        let said = if err.last_line().is_empty() { out.last_line() } else { err.last_line() };
        Ok((status, said))
    }
}

/// A command and everything in its process group; killed when it is dropped before it has ended.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, leader })
    }

    /// The command itself has ended. The number of its group stays taken while anybody is left in it, and is so young
    /// that no new group can have got it.
    fn ended(&mut self, leaves_nothing: bool) {
        if let Some(leader) = self.leader.take().filter(|_| leaves_nothing) {
            kill(leader);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader.take() {
            kill(leader);
        }
    }
}

fn kill(leader: Pid) {
    // An error says that nobody is left.
    let _ = kill_process_group(leader, Signal::KILL);
}

/// The last part of what is said.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    async fn read(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = [0; 1024];
        // What cannot be read has ended.
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            self.bytes.extend_from_slice(&buffer[..count]);
            let surplus = self.bytes.len().saturating_sub(SAID_BYTES_MAX);
            self.bytes.drain(..surplus);
        }
    }

    fn last_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
    }
}

/// Why a command has failed, or nothing.
fn reason(ended: io::Result<(ExitStatus, String)>) -> Result<(), String> {
    match ended {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((status, said)) if said.is_empty() => Err(status.to_string()),
        Ok((status, said)) => Err(format!("{said} ({status})")),
        Err(error) => Err(format!("it cannot be run: {error}")),
    }
}

impl Check for CommandCheck {
    fn check(&self) -> Boxed<Verdict> {
        let check = self.clone();
        Box::pin(async move { reason(check.run(true).await).into() })
    }
}

/// As an action, a command may leave behind what it has started.
impl Action for CommandCheck {
    fn run(&self) -> Boxed<Result<(), String>> {
        let action = self.clone();
        Box::pin(async move { reason(CommandCheck::run(&action, false).await) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::process::test_kill_process;

    use super::*;

    async fn check(line: &str) -> Verdict {
        CommandCheck::shell(line).check().await
    }

    #[tokio::test]
    async fn the_exit_code_decides_and_the_last_words_are_the_reason() {
        assert_eq!(check("echo fine").await, Verdict::HEALTHY);
        assert_eq!(
            check("echo out; echo first >&2; echo last words >&2; exit 3").await,
            Verdict::failed("last words (exit status: 3)")
        );
        assert_eq!(check("echo only out; exit 1").await, Verdict::failed("only out (exit status: 1)"));
        assert_eq!(check("kill -9 $$").await, Verdict::failed("signal: 9 (SIGKILL)"));
        let Verdict::Failed(reason) = CommandCheck::new("/no/such/program", [""; 0]).check().await else { panic!() };
        assert!(reason.starts_with("it cannot be run: "), "{reason}");
    }

    #[tokio::test]
    async fn a_flood_of_words_neither_blocks_nor_is_kept() {
        let verdict = check("yes | head -c 300000 >&2; echo; echo end >&2; exit 1").await;
        assert_eq!(verdict, Verdict::failed("end (exit status: 1)"));
    }

    /// The process whose id a file will hold.
    async fn written(file: &Path) -> Pid {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n').and_then(|text| Pid::from_raw(text.parse().unwrap())) {
                return pid;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a process is gone.
    async fn gone(pid: Pid) {
        let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let zombie = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "));
        while test_kill_process(pid).is_ok() && !zombie() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_command_that_is_stopped_takes_its_descendants_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let line = format!("sh -c 'trap \"\" TERM; echo $$ > {}; sleep 600; true' & wait", file.display());
        let running = tokio::spawn(async move { check(&line).await });
        let descendant = written(&file).await;
        assert!(test_kill_process(descendant).is_ok());
        running.abort();
        gone(descendant).await;
    }

    #[tokio::test]
    async fn what_a_check_leaves_behind_is_ended_and_what_an_action_starts_lives_on() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        // The descendant holds the pipes open: the end of the command counts, not theirs.
        let line = format!("sh -c 'echo $$ > {0}; exec sleep 600' & while [ ! -s {0} ]; do :; done", file.display());
        assert_eq!(check(&line).await, Verdict::HEALTHY);
        gone(written(&file).await).await;
        std::fs::remove_file(&file).unwrap();
        assert_eq!(Action::run(&CommandCheck::shell(&line)).await, Ok(()));
        let started = written(&file).await;
        assert!(test_kill_process(started).is_ok());
        rustix::process::kill_process(started, Signal::KILL).unwrap();
    }
}
