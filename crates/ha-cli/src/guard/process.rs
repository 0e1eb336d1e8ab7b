//! The guard: a process with one command to watch over.
//!
//! It writes nothing to standard output or error: a pipe that nobody empties must not hold it up.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, setsid, wait};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use super::boot::{BootTimer, boot_now};
use super::descendants::{signal_family, sweep_pause};
use super::plan::{Input, Output, Plan};
use super::wire::{Ended, Lines, Order, Report};

/// The program of whoever looks there, also when its file was replaced meanwhile.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// Watches over a command; orders come on standard input, which is a socket. Returns once nothing of it is left.
pub(crate) fn guard(stop_grace: Duration, command: Vec<OsString>) -> io::Result<()> {
    // A signal for the group or the terminal of `ha` must not reach the guard.
    setsid()?;
    // Orphans among the descendants come back here, also those that daemonised.
    set_child_subreaper(Some(getpid()))?;
    let orders = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    orders.set_nonblocking(true)?;
    // One thread, and the first one: the kernel ends the command when the *thread* that started it ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let guard = Guard {
            plan: Plan::new(stop_grace),
            command,
            main: None,
            orders: Some(UnixStream::from_std(orders)?),
            lines: Lines::default(),
            timer: BootTimer::new()?,
            children: signal(SignalKind::child())?,
            told: Told::new()?,
            sweeps: 0,
        };
        guard.run().await
    })
}

struct Guard {
    plan: Plan,
    command: Vec<OsString>,
    /// The command itself, while it lives.
    main: Option<Pid>,
    /// `None` once the other end is gone.
    orders: Option<UnixStream>,
    lines: Lines,
    timer: BootTimer,
    children: SignalStream,
    told: Told,
    /// Over what must die, so far.
    sweeps: u32,
}

/// Signals by which a person or a service manager asks the guard to end its command.
struct Told {
    terminate: SignalStream,
    interrupt: SignalStream,
    hang_up: SignalStream,
}

impl Told {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// One cause of everything that follows.
enum Wake {
    Said,
    Child,
    Told,
    Time,
}

impl Guard {
    async fn run(mut self) -> io::Result<()> {
        loop {
            let wake = self.next().await?;
            match wake {
                Wake::Said => self.hear()?,
                Wake::Told => self.step(Input::Stop)?,
                Wake::Time => self.step(Input::Look)?,
                Wake::Child => {}
            }
            if self.bury()? {
                return Ok(());
            }
        }
    }

    async fn next(&mut self) -> io::Result<Wake> {
        let kills = self.plan.kills();
        let at = self.plan.deadline();
        let orders = &self.orders;
        let listen = async {
            match orders {
                Some(stream) => stream.readable().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            readable = listen => readable.map(|()| Wake::Said),
            _ = self.children.recv() => Ok(Wake::Child),
            () = self.told.next() => Ok(Wake::Told),
            fired = self.timer.wait_until(at) => fired.map(|()| Wake::Time),
            () = tokio::time::sleep(sweep_pause(self.sweeps)), if kills => Ok(Wake::Child),
        }
    }

    /// Takes in all that was said at once: after a freeze of the guard alone, old deadlines stand before the one that
    /// holds.
    fn hear(&mut self) -> io::Result<()> {
        let (mut until, mut stop, mut orphaned) = (None, false, false);
        while let Some(stream) = &self.orders {
            let mut said = [0; 1024];
            match stream.try_read(&mut said) {
                Ok(count @ 1..) => self.lines.push(&said[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Whatever ends the stream, nobody renews the lease any more.
                Ok(0) | Err(_) => {
                    self.orders = None;
                    orphaned = true;
                }
            }
            while let Some(line) = self.lines.next() {
                match Order::read(&line) {
                    Some(Order::Extend(later)) => until = until.max(Some(later)),
                    Some(Order::Stop) => stop = true,
                    None => {}
                }
            }
        }
        if let Some(until) = until {
            self.step(Input::Extend(until))?;
        }
        if stop {
            self.step(Input::Stop)?;
        }
        if orphaned {
            self.step(Input::Orphaned)?;
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> io::Result<()> {
        match self.plan.step(boot_now(), input) {
            Some(Output::Start) => self.start(),
            Some(Output::Terminate) => {
                self.ask();
                Ok(())
            }
            // It is carried out until nothing is left, by every turn of the loop.
            Some(Output::Kill) | None => Ok(()),
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let mut step = Command::new(THIS_PROGRAM);
        step.arg0("ha").args(["guard", "--exec", &std::process::id().to_string(), "--"]).args(&self.command);
        let child = step.stdin(Stdio::null()).spawn()?;
        let pid = child.id().cast_signed();
        self.main = Pid::from_raw(pid);
        self.report(Report::Started(pid));
        Ok(())
    }

    /// Asks to end: the command itself, and once that is gone, what it left behind. A command that was stopped must run
    /// to hear it; it still may, for its lease is not over.
    fn ask(&self) {
        match self.main {
            Some(main) => {
                for signal in [Signal::TERM, Signal::CONT] {
                    // It is not buried yet, so the number is its own.
                    let _ = kill_process(main, signal);
                }
            }
            None => _ = signal_family(getpid(), &[Signal::TERM, Signal::CONT]),
        }
    }

    /// Takes in who has ended, and kills where that is due; true once nothing is left and all is said.
    fn bury(&mut self) -> io::Result<bool> {
        loop {
            if self.plan.kills() {
                signal_family(getpid(), &[Signal::KILL]);
                self.sweeps = self.sweeps.saturating_add(1);
            }
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == self.main => {
                    self.main = None;
                    let signal = status.terminating_signal().map(Ended::Signal);
                    let ended = signal.unwrap_or(Ended::Code(status.exit_status().unwrap_or_default()));
                    self.report(Report::Ended(ended));
                    self.step(Input::Ended)?;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                // No children: no descendants either, for every orphan among them is a child of the guard.
                Err(_) => {
                    let Some(cause) = self.plan.cause() else { return Ok(false) };
                    self.report(Report::Gone(cause));
                    return Ok(true);
                }
            }
        }
    }

    fn report(&self, report: Report) {
        if let Some(stream) = &self.orders {
            // A few short lines fit into any socket; nobody listens where they do not.
            let _ = stream.try_write(report.to_string().as_bytes());
        }
    }
}
