//! Who descends from whom, and how to end them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// One process, as `/proc` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
    /// In ticks since the boot: tells a process from a later one with the same number.
    started: u64,
    /// It has ended, and waits for its parent to notice.
    is_zombie: bool,
}

/// Reads one `/proc/PID/stat`; see proc_pid_stat(5). The name may hold anything, so what counts comes after its end.
fn parse(text: &str) -> Option<Process> {
    let pid = text.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split_ascii_whitespace().collect();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

fn read(pid: i32) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Every process that can be seen. One that ends meanwhile may be missing; one that begins meanwhile too.
fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(read).collect()
}

/// Those of a list that descend from a process or belong to its session, without itself.
fn family(processes: &[Process], root: i32) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found: BTreeSet<i32> = BTreeSet::from([root]);
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(child.pid) {
                waiting.push(child.pid);
            }
        }
    }
    let belongs = |process: &&Process| found.contains(&process.pid) || process.session == root;
    processes.iter().filter(belongs).filter(|process| process.pid != root && !process.is_zombie).copied().collect()
}

/// Pause between two sweeps over what does not die: short at first, then as long as it is worth to look through all
/// processes again. What hangs in the kernel may do so for long.
pub(super) fn sweep_pause(sweeps: u32) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(200);
    // About a second of short ones.
    if sweeps < 200 { SHORTEST } else { LONGEST }
}

/// Sends signals to everything that descends from a process or belongs to its session; returns how many live.
pub(super) fn signal_family(root: Pid, signals: &[Signal]) -> usize {
    let family = family(&all(), root.as_raw_nonzero().get());
    for process in &family {
        for signal in signals {
            send(*process, *signal);
        }
    }
    family.len()
}

/// Sends a signal to this process, and to no later one with its number.
fn send(process: Process, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => {
            let is_same = read(process.pid).is_some_and(|now| now.started == process.started);
            if is_same {
                // An error says that it has ended meanwhile.
                let _ = pidfd_send_signal(handle, signal);
            }
        }
        // Kernels before 5.3 have no such handles.
        Err(Errno::NOSYS) => _ = kill_process(pid, signal),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, session: i32) -> Process {
        Process { pid, parent, session, started: 0, is_zombie: false }
    }

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name() {
        let text = "42 (a) R (b c) S 7 42 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 20\n";
        assert_eq!(parse(text), Some(Process { pid: 42, parent: 7, session: 40, started: 987_654, is_zombie: false }));
        assert!(parse(&text.replace(" S ", " Z ")).unwrap().is_zombie);
        for text in ["", "42", "42 (a", "42 (a)", "42 (a) S 1"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let me = std::process::id().cast_signed();
        assert_eq!(read(me).unwrap().pid, me);
    }

    #[test]
    fn children_of_children_and_members_of_the_session_are_family() {
        let stranger = process(9, 1, 9);
        let zombie = Process { is_zombie: true, ..process(8, 5, 5) };
        let list = [
            process(1, 0, 1),
            process(5, 1, 5),
            process(6, 5, 5),
            process(7, 6, 7),
            process(10, 1, 5),
            stranger,
            zombie,
        ];
        let pids: Vec<i32> = family(&list, 5).iter().map(|process| process.pid).collect();
        assert_eq!(pids, [6, 7, 10]);
    }

    #[test]
    fn a_loop_in_what_was_read_does_not_go_on_for_ever() {
        let list = [process(5, 6, 1), process(6, 5, 1), process(5, 6, 1)];
        assert_eq!(family(&list, 5).len(), 1);
    }

    #[test]
    fn a_later_process_with_the_same_number_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id().cast_signed();
        let found = read(pid).unwrap();
        send(Process { started: found.started + 1, ..found }, Signal::KILL);
        assert!(child.try_wait().unwrap().is_none());
        send(found, Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
