//! A lock that is held.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::command::{Command, fingerprint};
use crate::error::{HoldError, LockLost};
use crate::state::once;
use crate::ticket::{Standing, Ticket};
use crate::{FencingToken, Key, LeaseId, LockId, State, terms};

/// A lock that is held, and renewed in the background for as long as this lives.
///
/// Dropping it gives the lock back as a best effort, and at its length without renewal at the latest. A holder that was
/// frozen, or cut off, may have lost the lock without noticing: whatever is guarded should check the token (see
/// [`crate::Fence`]), or be changed by [`Self::run`] and by transactions with [`crate::Compare::Held`].
pub struct LockGuard {
    state: State,
    lock: Key,
    id: LockId,
    ticket: Arc<Ticket>,
    /// Given back, or handed over to somebody who does that.
    done: bool,
    /// It is renewed no longer.
    let_go: bool,
}

impl LockGuard {
    pub(super) fn new(state: State, lock: Key, id: LockId, ticket: Arc<Ticket>) -> Self {
        Self { state, lock, id, ticket, done: false, let_go: false }
    }

    /// The name of the lock.
    pub fn name(&self) -> &Key {
        &self.lock
    }

    /// Names this grant; carries the token.
    pub fn lock_id(&self) -> LockId {
        self.id
    }

    /// Higher than that of every grant of this lock before.
    pub fn fencing_token(&self) -> FencingToken {
        self.id.token
    }

    /// How long it lasts without renewal.
    pub fn ttl(&self) -> Duration {
        self.ticket.ttl()
    }

    /// How long it is held for certain, renewals to come not counted; `None` when it may be lost. Asks the clock, so it
    /// is true to the moment, also after the process was frozen.
    pub fn remaining(&self) -> Option<Duration> {
        self.ticket.remaining(self.state.inner.clock.now())
    }

    /// Until when it is held for certain, renewals to come not counted; an instant in the past when it may be lost.
    pub fn valid_until(&self) -> Instant {
        let now = Instant::now();
        self.remaining().map_or(now, |left| now + left)
    }

    /// Whether it is held for certain.
    pub fn is_held(&self) -> bool {
        self.remaining().is_some()
    }

    /// The token, if the lock is held for certain.
    pub fn check(&self) -> Result<FencingToken, LockLost> {
        if self.is_held() { Ok(self.id.token) } else { Err(LockLost) }
    }

    /// Resolves when the lock may be lost. Cancel-safe; any number may wait.
    pub async fn lost(&self) -> LockLost {
        self.ticket.wait_for(|standing| standing == Standing::Gone).await;
        LockLost
    }

    /// Does something while the lock is held: given the token, and dropped at once if the lock is lost first.
    pub async fn run<F: Future>(&self, work: impl FnOnce(FencingToken) -> F) -> Result<F::Output, LockLost> {
        let work = work(self.check()?);
        tokio::select! {
            biased;
            lost = self.lost() => Err(lost),
            done = work => self.check().map(|_| done),
        }
    }

    /// Renews it now; it is renewed by itself each third of its length. Cancel-safe.
    pub async fn renew(&self) -> Result<(), HoldError> {
        self.check().map_err(|_| HoldError::NotHeld)?;
        self.state.renew_lock_of(&self.lock, self.id, Some(&self.ticket)).await
    }

    /// Gives it back: whoever waits first has it. Dropping the future leaves it to be given back in the background.
    pub async fn release(mut self) -> Result<(), HoldError> {
        self.stop_renewing();
        let released = self.state.release_lock(&self.lock, self.id).await;
        // Asked again it could only be told that it is not held any more.
        self.done = released.is_ok() || released == Err(HoldError::NotHeld);
        released
    }

    /// Leaves the lock as it is, to be renewed and given back by its id from elsewhere.
    pub fn into_id(mut self) -> LockId {
        self.stop_renewing();
        self.done = true;
        self.id
    }

    fn stop_renewing(&mut self) {
        if !std::mem::replace(&mut self.let_go, true) {
            self.state.let_go(self.id.lease, &self.ticket);
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.stop_renewing();
        if self.done {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (state, lock, id) = (self.state.clone(), self.lock.clone(), self.id);
        runtime.spawn(async move {
            // If this fails, the lease ends by itself.
            let _ = state.release_lock(&lock, id).await;
        });
    }
}

impl State {
    /// The caller of a lock is done with it on this node; true when it was the last one.
    pub(super) fn let_go(&self, lease: LeaseId, ticket: &Arc<Ticket>) -> bool {
        let is_last = self.inner.hub.unregister(lease, ticket.ttl());
        if is_last {
            self.inner.keeping.forget(lease, ticket);
        }
        is_last
    }

    /// Gives a lock back by its id: see [`LockGuard::into_id`].
    pub async fn release_lock(&self, lock: &str, id: LockId) -> Result<(), HoldError> {
        self.release_lock_once(lock, id, None).await
    }

    /// As [`Self::release_lock`], once for each request name: repeated, it is answered as the first time.
    pub async fn release_lock_once(&self, lock: &str, id: LockId, request: Option<String>) -> Result<(), HoldError> {
        let command = Command::LockRelease { lock: Key::new(lock)?, lease: id.lease, token: id.token };
        let print = request.is_some().then(|| fingerprint([b"release".as_slice(), lock.as_bytes(), &id.bytes()]));
        self.inner.log.write(&once(command, request, print)?).await??;
        Ok(())
    }

    /// Renews a lock by its id: it lasts for its whole length again, from when this was called.
    pub async fn renew_lock(&self, lock: &str, id: LockId) -> Result<(), HoldError> {
        self.renew_lock_of(lock, id, None).await
    }

    pub(super) async fn renew_lock_of(&self, lock: &str, id: LockId, ticket: Option<&Ticket>) -> Result<(), HoldError> {
        let command = Command::LockRenew { lock: Key::new(lock)?, lease: id.lease, token: id.token };
        let sent = self.inner.clock.now();
        let renewed = self.inner.log.write(&command).await?;
        if let Some(ticket) = ticket {
            match &renewed {
                Ok(_) => ticket.lasts_until(sent + terms::holder(ticket.ttl())),
                Err(_) => ticket.set(Standing::Gone),
            }
        }
        renewed?;
        Ok(())
    }
}
