//! A voter's own vote-refusal lease.
//!
//! Openraft's lease on a voter, once dropped by a crash hint or a transfer, is not armed again in that term. This one
//! stands beside it: every append of a leader arms it, only the hint or the leader itself drops it, and the vote server
//! refuses while it is armed. Without it one false crash hint would leave a healthy leader open to every candidate for
//! the rest of its term.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct VoteGuard {
    lease: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    heard: Option<Instant>,
    dropped: Option<Instant>,
}

impl VoteGuard {
    pub(crate) fn new(lease: Duration) -> Self {
        Self { lease, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leader of the current term was heard, by a message or on a stream that began then. What began before the
    /// lease was dropped does not count: entries of a dead leader are still being written when the news of its death
    /// is here, and their answers must not bring its lease back.
    pub(crate) fn arm(&self, began: Instant) {
        let mut state = self.state();
        if state.dropped.is_none_or(|dropped| dropped < began) {
            state.heard = Some(Instant::now());
        }
    }

    /// The leader is known dead, or hands over.
    pub(crate) fn drop_lease(&self) {
        *self.state() = State { heard: None, dropped: Some(Instant::now()) };
    }

    /// Whether votes are to be refused now.
    pub(crate) fn is_armed(&self) -> bool {
        self.heard().is_some_and(|at| at.elapsed() < self.lease)
    }

    /// When a leader was last heard, if the lease was not dropped since.
    pub(crate) fn heard(&self) -> Option<Instant> {
        self.state().heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_armed_by_each_append_dropped_by_a_hint_and_armed_again_in_the_same_term() {
        let guard = VoteGuard::new(Duration::from_secs(1));
        assert!(!guard.is_armed(), "nobody was heard yet");
        let stream = Instant::now();
        guard.arm(stream);
        assert!(guard.is_armed());
        tokio::time::advance(Duration::from_millis(1)).await;
        guard.drop_lease();
        assert!(!guard.is_armed());
        guard.arm(stream);
        assert!(!guard.is_armed(), "what the dead leader sent is still being answered");
        tokio::time::advance(Duration::from_millis(1)).await;
        guard.arm(Instant::now());
        assert!(guard.is_armed(), "the hint was false: the leader lives");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!guard.is_armed(), "silence");
    }
}
