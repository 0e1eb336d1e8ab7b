//! Ends a command in time, also when this process cannot.
//!
//! A command that runs on the primary only must be gone, with all its descendants, before another node may start it: also
//! when `ha` is killed, and when it is frozen and wakes later. So the command has a **guard**: `ha` executed once more, as
//! a small process in a session of its own, to which all orphans among the descendants return (it is their subreaper).
//! The guard holds one end of a socket pair, and the deadline of the current lease on the clock of leases. When the
//! socket ends, or the deadline draws near, it ends the command; SIGTERM comes early enough that SIGKILL, where it is
//! needed, falls before the deadline.
//!
//! Three lines of defence, each without the others: the guard; this process, for a guard that is frozen or killed; the
//! kernel, which kills the command itself when its guard dies.
//!
//! | file | what it holds |
//! |---|---|
//! | `plan.rs` | when to start, to ask, and to kill: pure |
//! | `wire.rs` | what both processes say to each other |
//! | `process.rs` | the guard |
//! | `exec.rs` | the last step from the guard to the command |
//! | `handle.rs` | [`Guarded`]: the guard seen from `ha` |
//! | `descendants.rs` | who descends from whom, and how to end them |
//! | `boot.rs` | the clock of leases, and a timer on it |

mod boot;
mod descendants;
mod exec;
mod handle;
mod plan;
mod process;
mod wire;

#[allow(unused_imports, reason = "only the tests of the guard keep time by themselves")]
pub(crate) use boot::boot_now;
pub(crate) use exec::exec;
pub(crate) use handle::{Cause, Ended, Exit, Guarded};
pub(crate) use process::guard;
