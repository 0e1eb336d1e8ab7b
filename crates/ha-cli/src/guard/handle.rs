//! The guard, seen from `ha`.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::boot::{BootTimer, boot_now};
use super::descendants::{signal_family, sweep_pause};
pub(crate) use super::plan::Cause;
use super::plan::Limits;
use super::process::THIS_PROGRAM;
pub(crate) use super::wire::Ended;
use super::wire::{Lines, Order, Report};

/// How much longer than its grace a command may take to be gone before this process steps in for its guard.
const FORCE_AFTER: Duration = Duration::from_millis(250);

/// How a guarded command ended: nothing of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// How the command itself ended; `None` when it never ran, or nobody saw its end.
    pub(crate) ended: Option<Ended>,
    /// Why.
    pub(crate) cause: Cause,
}

/// A command under guard. Dropping it ends the command, as the end of this process does.
#[derive(Debug)]
pub(crate) struct Guarded {
    orders: watch::Sender<Orders>,
    state: watch::Receiver<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Orders {
    until: Option<Duration>,
    stop: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// The process id of the command, once it runs.
    pid: Option<i32>,
    exit: Option<Exit>,
}

impl Guarded {
    /// Starts the guard of a command. The command itself starts with the first [`Self::extend`] that leaves it some
    /// time. `stop_grace` is how long it may take to end when it is asked to. Must be called on a tokio runtime.
    pub(crate) fn start(
        command: &[OsString],
        environment: &[(String, String)],
        stop_grace: Duration,
    ) -> io::Result<Self> {
        Self::start_as(Path::new(THIS_PROGRAM), command, environment, stop_grace)
    }

    /// As [`Self::start`], with the program `ha` at another place.
    pub(crate) fn start_as(
        program: &Path,
        command: &[OsString],
        environment: &[(String, String)],
        stop_grace: Duration,
    ) -> io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut guard = Command::new(program);
        guard.arg0("ha").args(["guard", "--stop-grace-ms", &stop_grace.as_millis().to_string()]);
        guard.args(ha_runtime::huge_pages::are_held_back().then_some("--huge-pages")).arg("--").args(command);
        guard.envs(environment.iter().map(|(name, value)| (name, value)));
        let child = guard.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        let gone = || io::Error::other("the guard ended at once");
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or_else(gone)?;
        let (orders, heard) = watch::channel(Orders::default());
        let (told, state) = watch::channel(State::default());
        let watch = Watch {
            guard: child,
            pid,
            stream: UnixStream::from_std(ours)?,
            timer: BootTimer::new()?,
            stop_grace,
            lease_ends_at: None,
            grace_ends_at: None,
            forces_again_at: None,
            sweeps: 0,
            orders: heard,
            outgoing: Vec::new(),
            sent: Orders::default(),
            known: Orders::default(),
            lines: Lines::default(),
            state: told,
        };
        tokio::spawn(watch.run());
        Ok(Self { orders, state })
    }

    /// The lease lasts until then, on the boot clock: the command must be gone by then. An earlier time than before
    /// changes nothing; see [`Self::stop`].
    pub(crate) fn extend(&self, until: Duration) {
        self.orders.send_if_modified(|orders| {
            let later = orders.until.is_none_or(|before| before < until);
            if later {
                orders.until = Some(until);
            }
            later
        });
    }

    /// The command shall end: SIGTERM now, SIGKILL after the grace, or before the lease ends.
    pub(crate) fn stop(&self) {
        self.orders.send_if_modified(|orders| !std::mem::replace(&mut orders.stop, true));
    }

    /// Waits until the command runs, and returns its process id; `None` when it ended without ever running. Cancel-safe.
    pub(crate) async fn started(&self) -> Option<i32> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| state.pid.is_some() || state.exit.is_some()).await;
        known.ok().and_then(|state| state.pid)
    }

    /// Waits until nothing of the command is left. Cancel-safe.
    pub(crate) async fn exited(&self) -> Exit {
        let lost = Exit { ended: None, cause: Cause::GuardLost };
        let mut state = self.state.clone();
        match state.wait_for(|state| state.exit.is_some()).await {
            Ok(state) => state.exit.unwrap_or(lost),
            Err(_) => lost,
        }
    }
}

/// Passes orders on, takes reports in, and steps in for a guard that does not obey.
struct Watch {
    guard: Child,
    pid: Pid,
    stream: UnixStream,
    timer: BootTimer,
    stop_grace: Duration,
    /// When this process ends the command itself: shortly before the lease ends,
    lease_ends_at: Option<Duration>,
    /// a while after the command should have been gone,
    grace_ends_at: Option<Duration>,
    /// and again and again once it has begun.
    forces_again_at: Option<Duration>,
    /// How often it did.
    sweeps: u32,
    orders: watch::Receiver<Orders>,
    /// What this process acts on.
    known: Orders,
    /// What was said to the guard, and what of it still goes out; newer orders wait, and only the newest count.
    sent: Orders,
    outgoing: Vec<u8>,
    lines: Lines,
    state: watch::Sender<State>,
}

/// One cause of everything that follows.
enum Wake {
    Ordered,
    Dropped,
    Readable,
    Writable,
    Force,
}

impl Watch {
    async fn run(mut self) {
        let mut ended = None;
        let cause = loop {
            let wake = match self.next().await {
                Ok(wake) => wake,
                // The socket, or the timer, does not work: what cannot be guarded must not run.
                Err(_) => break Cause::GuardLost,
            };
            match wake {
                Wake::Ordered | Wake::Writable => self.send(),
                // The end of the stream tells the guard.
                Wake::Dropped => return,
                Wake::Readable => match self.hear(&mut ended) {
                    Heard::Nothing => {}
                    Heard::Gone(cause) => break cause,
                    Heard::End => break Cause::GuardLost,
                },
                Wake::Force => self.force(),
            }
        };
        if cause == Cause::GuardLost {
            self.avenge().await;
        }
        self.state.send_modify(|state| state.exit = Some(Exit { ended, cause }));
        // The guard has nothing more to do.
        let _ = self.guard.wait().await;
    }

    async fn next(&mut self) -> io::Result<Wake> {
        let sends = !self.outgoing.is_empty();
        let due = [self.lease_ends_at, self.grace_ends_at].into_iter().flatten().min();
        let force_at = self.forces_again_at.or(due);
        tokio::select! {
            biased;
            readable = self.stream.readable() => readable.map(|()| Wake::Readable),
            ordered = self.orders.changed() => Ok(if ordered.is_ok() { Wake::Ordered } else { Wake::Dropped }),
            writable = self.stream.writable(), if sends => writable.map(|()| Wake::Writable),
            fired = self.timer.wait_until(force_at) => fired.map(|()| Wake::Force),
        }
    }

    /// Sends the newest orders as far as the socket takes them: a frozen guard must not hold this process up.
    fn send(&mut self) {
        let orders = *self.orders.borrow_and_update();
        let now = boot_now();
        if let Some(until) = orders.until.filter(|until| Some(*until) != self.known.until) {
            self.lease_ends_at = Some(Limits::new(now, until, self.stop_grace).force_at);
        }
        if orders.stop && !self.known.stop {
            self.grace_ends_at = Some(now + self.stop_grace + FORCE_AFTER);
            // A guard that was stopped must run to obey.
            let _ = kill_process(self.pid, Signal::CONT);
        }
        self.known = orders;
        if self.outgoing.is_empty() {
            let extend = orders.until.filter(|_| orders.until != self.sent.until).map(Order::Extend);
            let stop = (orders.stop && !self.sent.stop).then_some(Order::Stop);
            self.outgoing = extend.into_iter().chain(stop).map(|order| order.to_string()).collect::<String>().into();
            self.sent = orders;
        }
        while !self.outgoing.is_empty() {
            match self.stream.try_write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Broken, which the reading side notices. A broken stream can always be written to: what is left must
                // go, or this task would try for ever, and let no other one have its turn.
                Err(_) => self.outgoing.clear(),
            }
        }
    }

    fn hear(&mut self, ended: &mut Option<Ended>) -> Heard {
        let mut said = [0; 1024];
        match self.stream.try_read(&mut said) {
            Ok(0) => return Heard::End,
            Ok(count) => self.lines.push(&said[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
            Err(_) => return Heard::End,
        }
        while let Some(line) = self.lines.next() {
            match Report::read(&line) {
                Some(Report::Started(pid)) => self.state.send_modify(|state| state.pid = Some(pid)),
                Some(Report::Ended(how)) => *ended = Some(how),
                Some(Report::Gone(cause)) => return Heard::Gone(cause),
                None => {}
            }
        }
        Heard::Nothing
    }

    /// Ends the command in the place of its guard, which is woken to report it. Comes again until it has.
    fn force(&mut self) {
        signal_family(self.pid, &[Signal::KILL]);
        let _ = kill_process(self.pid, Signal::CONT);
        self.forces_again_at = Some(boot_now() + sweep_pause(self.sweeps));
        self.sweeps = self.sweeps.saturating_add(1);
    }

    /// Ends what a guard that is gone has left behind.
    async fn avenge(&mut self) {
        // A guard that is not quite gone must not start anything more.
        let _ = self.guard.start_kill();
        while signal_family(self.pid, &[Signal::KILL]) > 0 {
            tokio::time::sleep(sweep_pause(self.sweeps)).await;
            self.sweeps = self.sweeps.saturating_add(1);
        }
    }
}

enum Heard {
    Nothing,
    Gone(Cause),
    End,
}
