//! The last step from the guard to the command: what a process must do itself before it becomes another program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The exit codes of a shell.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// Becomes the command, and dies with its guard. Returns only when that fails, with an exit code.
pub(crate) fn exec(guard: i32, command: &[OsString]) -> u8 {
    let Some((program, arguments)) = command.split_first() else { return NOT_RUNNABLE };
    // The kernel keeps this promise through the change of program.
    let promised = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // A guard that died before the promise would never be noticed.
    if !promised || getppid() != Pid::from_raw(guard) {
        return NOT_RUNNABLE;
    }
    let error = Command::new(program).args(arguments).exec();
    // A standard error that cannot be written to leaves only the exit code.
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr().lock(),
        format_args!("ha: cannot run {}: {error}\n", program.display()),
    );
    if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE }
}
