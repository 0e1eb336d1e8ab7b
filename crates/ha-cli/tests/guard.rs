//! Real processes under guard: whatever is killed or frozen, nothing of the command is left when its lease ends.

#![allow(clippy::unwrap_used, reason = "the stage is built outside of the tests that use it")]

#[allow(dead_code, unused_imports, reason = "the program uses the rest")]
#[path = "../src/guard/mod.rs"]
mod guard;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use guard::{Cause, Ended, Exit, Guarded, boot_now};
use rustix::process::{Pid, Signal, kill_process};

/// Nothing in these tests takes long; what does has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a lease lasts that its holder renews ten times as often.
const LEASE: Duration = Duration::from_secs(2);

/// How the holder of a lease is told that it is one.
const HOLDER: &str = "HA_TEST_HOLDER";

/// How long a holder lets its command take to end.
const GRACE: Duration = Duration::from_millis(500);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ha"))
}

/// Started by the tests below as a process of its own, it holds a lease and has a command under guard: what `ha run` does
/// with an endless majority behind it. Without its variable it proves that a command runs under a lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lease_is_all_that_a_command_needs() {
    let line = std::env::var(HOLDER).unwrap_or_else(|_| "exit 7".to_owned());
    let command = ["/bin/sh", "-c", &line].map(OsString::from);
    let guarded = Guarded::start_as(program(), &command, &[], GRACE).unwrap();
    let renew = async {
        loop {
            let until = boot_now() + LEASE;
            guarded.extend(until);
            println!("lease {}", until.as_nanos());
            tokio::time::sleep(LEASE / 10).await;
        }
    };
    let exit = tokio::select! {
        exit = guarded.exited() => exit,
        () = renew => unreachable!("it renews for ever"),
    };
    println!("exit {exit:?}");
    if std::env::var(HOLDER).is_err() {
        assert_eq!(exit, Exit { ended: Some(Ended::Code(7)), cause: Cause::Itself });
    }
}

/// A command with a child that heeds no SIGTERM, and a descendant that has daemonised: a session of its own, and its
/// parent gone. Each writes its process id. `main` is what the command itself does.
fn family(directory: &Path, main: &str) -> String {
    let pids = directory.join("pids").display().to_string();
    let stubborn = format!("trap \"\" TERM HUP; echo $$ >> {pids}; while :; do sleep 0.05; done");
    format!("sh -c '{stubborn}' & (setsid sh -c '{stubborn}' > /dev/null 2>&1 &); echo $$ >> {pids}; {main}")
}

/// Heeds no SIGTERM either.
const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.05; done";

/// Members of such a family.
const FAMILY: usize = 3;

/// Their process ids, once all are there; the command itself is one of them.
fn members(directory: &Path) -> Vec<Pid> {
    let pids = directory.join("pids");
    let mut members = Vec::new();
    wait_for("a family", || {
        let text = std::fs::read_to_string(&pids).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        members = whole.lines().map(|line| Pid::from_raw(line.parse().unwrap()).unwrap()).collect();
        members.len() == FAMILY
    });
    members
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = boot_now();
    while !is_so() {
        assert!(boot_now() < began + PATIENCE, "waited in vain for {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Whether a process runs no more: it is gone, or only waits to be buried.
fn is_dead(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

fn wait_for_the_end_of(members: &[Pid]) {
    wait_for("the end of the family", || members.iter().all(|pid| is_dead(*pid)));
}

/// The guard of a command: the parent of its process.
fn guard_of(directory: &Path, members: &[Pid]) -> Pid {
    // The command wrote its own id, and only its parent is a guard.
    let text = std::fs::read_to_string(directory.join("pids")).unwrap();
    let parents = members.iter().filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        Pid::from_raw(stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?)
    });
    let is_guard = |pid: &Pid| {
        let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        line.starts_with("ha\0guard\0")
    };
    parents.into_iter().find(is_guard).unwrap_or_else(|| panic!("no guard of {text}"))
}

/// A process that holds a lease.
struct Holder {
    child: Child,
    lines: Receiver<String>,
    directory: tempfile::TempDir,
    members: Vec<Pid>,
}

impl Holder {
    fn start(main: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_lease_is_all_that_a_command_needs", "--nocapture"]);
        command.env(HOLDER, family(directory.path(), main)).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = follow(child.stdout.take().unwrap());
        let members = members(directory.path());
        Self { child, lines, directory, members }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The command itself.
    fn main(&self) -> Pid {
        let guard = guard_of(self.directory.path(), &self.members);
        let is_child = |pid: &&Pid| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
            let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().to_owned();
            let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap();
            parent == guard.as_raw_nonzero().to_string() && line.contains("setsid")
        };
        *self.members.iter().find(is_child).unwrap()
    }

    /// The end of the last lease that it was granted, once it grants itself none any more.
    fn last_lease(&self) -> Duration {
        let leases = self.lines.try_iter().filter_map(|line| line.strip_prefix("lease ")?.trim().parse().ok());
        Duration::from_nanos(leases.last().expect("a lease"))
    }

    fn exit(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the end of the command");
            if let Some(exit) = line.strip_prefix("exit ") {
                return exit.trim().to_owned();
            }
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended already. A process that is frozen is killed all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in &self.members {
            let _ = kill_process(*pid, Signal::KILL);
        }
    }
}

fn follow(out: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Freezes a process, and waits until it stands still: its threads stop one by one.
fn freeze(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    let tasks = PathBuf::from(format!("/proc/{}/task", pid.as_raw_nonzero()));
    wait_for("a standstill", || {
        std::fs::read_dir(&tasks).unwrap().flatten().all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    });
}

#[test]
fn when_the_holder_is_killed_everything_ends_before_its_lease() {
    for main in [STUBBORN, "while :; do sleep 0.05; done"] {
        let mut holder = Holder::start(main);
        holder.child.kill().unwrap();
        holder.child.wait().unwrap();
        let lease = holder.last_lease();
        wait_for_the_end_of(&holder.members);
        assert!(boot_now() < lease, "{:?} after the lease", boot_now() - lease);
    }
}

#[test]
fn when_the_holder_is_frozen_everything_ends_before_its_lease() {
    let holder = Holder::start(STUBBORN);
    freeze(holder.pid());
    let lease = holder.last_lease();
    wait_for_the_end_of(&holder.members);
    assert!(boot_now() < lease, "{:?} after the lease", boot_now() - lease);
    kill_process(holder.pid(), Signal::CONT).unwrap();
    let exit = holder.exit();
    assert!(exit.contains("Signal(9)") && exit.contains("Deadline"), "{exit}");
}

#[test]
fn a_frozen_command_ends_with_its_lease_too() {
    let mut holder = Holder::start("while :; do sleep 0.05; done");
    for pid in &holder.members {
        freeze(*pid);
    }
    holder.child.kill().unwrap();
    let lease = holder.last_lease();
    wait_for_the_end_of(&holder.members);
    assert!(boot_now() < lease, "{:?} after the lease", boot_now() - lease);
}

#[test]
fn when_both_are_frozen_everything_ends_before_the_lease() {
    let holder = Holder::start(STUBBORN);
    for pid in &holder.members {
        freeze(*pid);
    }
    freeze(holder.pid());
    let lease = holder.last_lease();
    wait_for_the_end_of(&holder.members);
    assert!(boot_now() < lease, "{:?} after the lease", boot_now() - lease);
}

#[test]
fn a_guard_that_was_frozen_while_the_lease_was_held_ends_nothing() {
    let holder = Holder::start(STUBBORN);
    let guard = guard_of(holder.directory.path(), &holder.members);
    // The holder steps in only at the end of a lease, which it goes on renewing.
    freeze(guard);
    thread::park_timeout(LEASE * 2);
    kill_process(guard, Signal::CONT).unwrap();
    thread::park_timeout(LEASE / 2);
    assert!(holder.members.iter().all(|pid| !is_dead(*pid)));
}

#[test]
fn when_the_guard_is_killed_the_holder_ends_everything() {
    let holder = Holder::start(STUBBORN);
    let guard = guard_of(holder.directory.path(), &holder.members);
    let main = holder.main();
    kill_process(guard, Signal::KILL).unwrap();
    let exit = holder.exit();
    assert!(exit.contains("GuardLost"), "{exit}");
    // The kernel ends the command itself, the holder what is left in the session of the guard. The daemon that has a
    // session of its own is the one that gets away, as the guide says.
    let away = holder.members.iter().filter(|pid| !is_dead(**pid)).count();
    assert!(is_dead(main) && away <= 1, "{away} got away");
}

/// A command of this process, under a lease that is long enough.
fn guarded(line: &str) -> Guarded {
    let command = ["/bin/sh", "-c", line].map(OsString::from);
    let environment = [("HA_ROLE".to_owned(), "primary".to_owned())];
    let guarded = Guarded::start_as(program(), &command, &environment, GRACE).unwrap();
    guarded.extend(boot_now() + PATIENCE);
    guarded
}

async fn exit(guarded: &Guarded) -> Exit {
    tokio::time::timeout(PATIENCE, guarded.exited()).await.expect("an end in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn exit_codes_and_signals_are_reported() {
    for (line, ended) in [
        ("exit 0", Ended::Code(0)),
        ("[ \"$HA_ROLE\" = primary ] && exit 3", Ended::Code(3)),
        ("kill -KILL $$", Ended::Signal(9)),
        ("kill -USR1 $$", Ended::Signal(10)),
    ] {
        let expected = Exit { ended: Some(ended), cause: Cause::Itself };
        assert_eq!(exit(&guarded(line)).await, expected, "{line}");
    }
}

/// What a node holds back for itself is not the business of its command.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_command_has_huge_pages_though_its_node_is_small() {
    rustix::thread::disable_transparent_huge_pages(true).unwrap();
    ha_runtime::huge_pages::hold_back();
    assert!(ha_runtime::huge_pages::are_held_back());
    let guarded = guarded("grep -q 'THP_enabled:.*1' /proc/self/status");
    assert_eq!(exit(&guarded).await, Exit { ended: Some(Ended::Code(0)), cause: Cause::Itself });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_command_that_cannot_be_run_is_reported_as_a_shell_would() {
    for (program_name, code) in [("/no/such/program", 127), ("/", 126)] {
        let guarded = Guarded::start_as(program(), &[program_name.into()], &[], GRACE).unwrap();
        guarded.extend(boot_now() + PATIENCE);
        assert_eq!(exit(&guarded).await, Exit { ended: Some(Ended::Code(code)), cause: Cause::Itself });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_command_that_is_stopped_may_end_in_its_own_way() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let main = format!("trap 'exit 5' TERM; touch {}; while :; do sleep 0.05; done", ready.display());
    let guarded = guarded(&main);
    assert!(guarded.started().await.is_some());
    wait_for("a trap", || ready.exists());
    guarded.stop();
    assert_eq!(exit(&guarded).await, Exit { ended: Some(Ended::Code(5)), cause: Cause::Stopped });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_command_that_will_not_stop_is_killed_with_all_its_descendants() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = guarded(&family(directory.path(), STUBBORN));
    let members = members(directory.path());
    let began = boot_now();
    guarded.stop();
    assert_eq!(exit(&guarded).await, Exit { ended: Some(Ended::Signal(9)), cause: Cause::Stopped });
    assert!(boot_now() >= began + GRACE);
    assert!(members.iter().all(|pid| is_dead(*pid)), "the report comes last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_command_leaves_behind_ends_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("go");
    let main = format!("while [ ! -e {} ]; do sleep 0.01; done; exit 4", ready.display());
    let guarded = guarded(&family(directory.path(), &main));
    let members = members(directory.path());
    std::fs::File::create(&ready).unwrap();
    assert_eq!(exit(&guarded).await, Exit { ended: Some(Ended::Code(4)), cause: Cause::Itself });
    assert!(members.iter().all(|pid| is_dead(*pid)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_frozen_command_can_be_stopped_and_so_can_one_whose_guard_is_frozen() {
    for freezes_the_guard in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let guarded = guarded(&family(directory.path(), STUBBORN));
        let members = members(directory.path());
        if freezes_the_guard {
            freeze(guard_of(directory.path(), &members));
        }
        for pid in &members {
            freeze(*pid);
        }
        guarded.stop();
        let exit = exit(&guarded).await;
        assert_eq!(exit, Exit { ended: Some(Ended::Signal(9)), cause: Cause::Stopped });
        assert!(members.iter().all(|pid| is_dead(*pid)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_lease_nothing_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("ran");
    let command = ["/bin/sh", "-c", &format!("touch {}", mark.display())].map(OsString::from);
    let guarded = Guarded::start_as(program(), &command, &[], GRACE).unwrap();
    guarded.extend(boot_now().saturating_sub(Duration::from_secs(1)));
    guarded.extend(boot_now());
    guarded.stop();
    assert_eq!(exit(&guarded).await, Exit { ended: None, cause: Cause::Stopped });
    assert!(guarded.started().await.is_none() && !mark.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn dropping_it_ends_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = guarded(&family(directory.path(), STUBBORN));
    let members = members(directory.path());
    drop(guarded);
    tokio::task::spawn_blocking(move || wait_for_the_end_of(&members)).await.unwrap();
}

#[test]
fn what_a_command_says_passes_through() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_lease_is_all_that_a_command_needs", "--nocapture"]);
    command.env(HOLDER, "echo to out; echo to err >&2").current_dir(directory.path());
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(out.lines().any(|line| line == "to out"), "{out}");
    assert!(err.lines().any(|line| line == "to err"), "{err}");
    std::io::stdout().flush().unwrap();
}

#[test]
fn a_guard_that_a_person_starts_says_so() {
    let output = Command::new(program()).args(["guard", "--", "true"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("only `ha run` starts a guard"));
}
