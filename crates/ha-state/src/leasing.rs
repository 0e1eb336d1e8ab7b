//! Leases with which keys end.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::ReadError;

use crate::command::{Command, fingerprint};
use crate::error::{LeaseError, LockLost};
use crate::limits::{PAGE_ITEMS_MAX, TTL_MAX, TTL_MIN};
use crate::state::{once, request_key};
use crate::store::{Content, Purpose};
use crate::terms;
use crate::ticket::{Standing, Ticket};
use crate::{Key, LeaseId, State};

/// Whether a lease may be so long.
pub(crate) fn check_ttl(ttl: Duration) -> Option<u32> {
    (TTL_MIN..=TTL_MAX).contains(&ttl).then(|| terms::millis(ttl))
}

/// A lease of keys, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its length.
    pub ttl: Duration,
    /// How much of it is left, as this node counts: an estimate, on which nothing may be built.
    pub remaining: Option<Duration>,
    /// The keys that end with it, at most [`PAGE_ITEMS_MAX`] of them.
    pub keys: Vec<Key>,
    /// How many end with it.
    pub keys_count: usize,
}

impl State {
    /// Begins a lease and keeps it alive for as long as the handle lives: for keys that say that somebody is there.
    pub async fn lease(&self, ttl: Duration) -> Result<Lease, LeaseError> {
        let id = self.inner.new_lease();
        let sent = self.inner.clock.now();
        let ticket = Arc::new(Ticket::new(ttl));
        // Made first, so that a caller that gives up leaves nothing behind.
        let lease = Lease { state: self.clone(), id, ticket };
        self.begin_lease(id, ttl, None).await?;
        lease.ticket.lasts_until(sent + terms::holder(ttl));
        self.inner.keeping.keep(id, lease.ticket.clone());
        Ok(lease)
    }

    /// Begins a lease that its caller renews. Under a request name, repeating it gives the same lease, also when it has
    /// ended since.
    pub async fn grant_lease(&self, ttl: Duration, request: Option<String>) -> Result<LeaseId, LeaseError> {
        let id = match &request {
            Some(request) => LeaseId::named(&format!("lease request {}", request_key(request)?)),
            None => self.inner.new_lease(),
        };
        self.begin_lease(id, ttl, request).await?;
        Ok(id)
    }

    async fn begin_lease(&self, lease: LeaseId, ttl: Duration, request: Option<String>) -> Result<(), LeaseError> {
        let ttl_ms = check_ttl(ttl).ok_or(LeaseError::Ttl)?;
        let print = request.is_some().then(|| fingerprint([b"lease".as_slice(), &ttl_ms.to_le_bytes()]));
        self.inner.log.write(&once(Command::LeaseGrant { lease, ttl_ms }, request, print)?).await??;
        Ok(())
    }

    /// Renews a lease of keys.
    pub async fn renew_lease(&self, lease: LeaseId) -> Result<(), LeaseError> {
        self.inner.log.write(&Command::KeysLeaseRenew { lease }).await??;
        Ok(())
    }

    /// Ends a lease of keys, and removes them.
    pub async fn revoke_lease(&self, lease: LeaseId) -> Result<(), LeaseError> {
        self.revoke_lease_once(lease, None).await
    }

    /// As [`Self::revoke_lease`], once for each request name: repeated, it is answered as the first time.
    pub async fn revoke_lease_once(&self, lease: LeaseId, request: Option<String>) -> Result<(), LeaseError> {
        let print = request.is_some().then(|| fingerprint([b"revoke".as_slice(), &lease.0.to_le_bytes()]));
        self.inner.log.write(&once(Command::KeysLeaseEnd { lease }, request, print)?).await??;
        Ok(())
    }

    /// A lease of keys, if it is there.
    pub async fn lease_info(&self, lease: LeaseId) -> Result<Option<LeaseInfo>, ReadError> {
        let read = |content: &Content| {
            let found = content.leases.get(&lease)?;
            let Purpose::Keys { keys, .. } = &found.purpose else { return None };
            let (ttl, keys_count) = (terms::from_millis(found.ttl_ms), keys.len());
            let keys = keys.iter().take(PAGE_ITEMS_MAX).cloned().collect();
            Some(LeaseInfo { ttl, remaining: None, keys, keys_count })
        };
        let found = self.inner.log.read(|store| read(store.content())).await?;
        Ok(found.map(|mut info| {
            self.inner.counted.catch_up(&self.inner.log, &self.inner.hub);
            info.remaining = self.inner.counted.remaining(lease);
            info
        }))
    }

    /// Ends a lease some time from now, whether anybody waits for that or not.
    pub(crate) fn revoke_behind(&self, lease: LeaseId) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let log = self.inner.log.clone();
        runtime.spawn(async move {
            // If this fails, the lease ends by itself.
            let _ = log.write(&Command::LeaseEnd { lease }).await;
        });
    }
}

/// A lease that is kept alive for as long as this lives. Dropping it ends it, and its keys, as a best effort; else they
/// end after its length.
pub struct Lease {
    state: State,
    id: LeaseId,
    ticket: Arc<Ticket>,
}

impl Lease {
    /// Its id, for [`crate::PutOptions`] and [`crate::Operation::Put`].
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// How long it lasts for certain if it is not renewed; `None` when it may have ended. Asks the clock, so it is true
    /// to the moment, also after the process was frozen.
    pub fn remaining(&self) -> Option<Duration> {
        self.ticket.remaining(self.state.inner.clock.now())
    }

    /// Resolves when it may have ended. Cancel-safe.
    pub async fn lost(&self) -> LockLost {
        self.ticket.wait_for(|standing| standing == Standing::Gone).await;
        LockLost
    }

    /// Ends it, and removes its keys.
    pub async fn revoke(self) -> Result<(), LeaseError> {
        self.state.inner.keeping.forget(self.id, &self.ticket);
        self.state.revoke_lease(self.id).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.inner.keeping.forget(self.id, &self.ticket);
        if self.ticket.standing() != Standing::Gone {
            self.state.revoke_behind(self.id);
        }
    }
}
