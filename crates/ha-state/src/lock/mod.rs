//! Locks, as callers use them.

mod acquire;
mod guard;
mod info;

pub use acquire::LockRequest;
pub use guard::LockGuard;
pub use info::{Holder, LockInfo};
