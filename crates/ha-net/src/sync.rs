//! A lock that survives a panic of its holder.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. State behind these locks is whole between any two statements that may panic, so poison means nothing here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
