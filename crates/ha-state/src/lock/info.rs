//! Locks, for people.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::ReadError;

use crate::limits::PAGE_ITEMS_MAX;
use crate::store::{Content, Lock, Purpose, Tenure};
use crate::{FencingToken, Key, LeaseId, State, terms};

/// A lock that somebody holds or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockInfo {
    /// Its name.
    pub name: Key,
    /// Who holds it; `None` while it stays taken after its holder expired.
    pub holder: Option<Holder>,
    /// The token of the holder, or of the one that expired.
    pub token: FencingToken,
    /// What those call themselves that wait, in order; at most [`PAGE_ITEMS_MAX`] of them.
    pub waiters: Vec<Arc<str>>,
    /// How many wait.
    pub waiters_count: usize,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What it calls itself.
    pub owner: Arc<str>,
    /// The length of its lease.
    pub ttl: Duration,
    /// How much of it is left, as this node counts: an estimate, on which nothing may be built.
    pub remaining: Option<Duration>,
    lease: LeaseId,
}

impl State {
    /// A lock, if somebody holds it or waits for it.
    pub async fn lock_info(&self, name: &str) -> Result<Option<LockInfo>, ReadError> {
        let read = |content: &Content| {
            let (name, lock) = content.locks.get_key_value(name)?;
            Some(info(content, name, lock, PAGE_ITEMS_MAX))
        };
        let found = self.inner.log.read(|store| read(store.content())).await?;
        Ok(found.map(|found| self.with_remaining(found)))
    }

    /// The locks that somebody holds or waits for, by name, behind `after`, at most `limit` and at most
    /// [`PAGE_ITEMS_MAX`]; and whether there are more. Of each one's waiters only the number is told.
    pub async fn locks(&self, after: Option<&str>, limit: usize) -> Result<(Vec<LockInfo>, bool), ReadError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let (infos, more) = self
            .inner
            .log
            .read(|store| {
                let content = store.content();
                let start = after.map_or(Unbounded, Excluded);
                let mut locks = content.locks.range::<_, str>((start, Unbounded));
                let page = locks.by_ref().take(limit.min(PAGE_ITEMS_MAX));
                let infos: Vec<LockInfo> = page.map(|(name, lock)| info(content, name, lock, 0)).collect();
                (infos, locks.next().is_some())
            })
            .await?;
        Ok((infos.into_iter().map(|found| self.with_remaining(found)).collect(), more))
    }

    /// What those call themselves that wait for a lock, in order, on this node's own copy, which may be behind.
    pub fn waiters_local(&self, name: &str) -> Vec<Arc<str>> {
        self.inner.log.read_local(|store| {
            let content = store.content();
            let found = content.locks.get_key_value(name);
            found.map(|(name, lock)| info(content, name, lock, PAGE_ITEMS_MAX).waiters).unwrap_or_default()
        })
    }

    fn with_remaining(&self, mut info: LockInfo) -> LockInfo {
        if let Some(holder) = &mut info.holder {
            self.inner.counted.catch_up(&self.inner.log, &self.inner.hub);
            holder.remaining = self.inner.counted.remaining(holder.lease);
        }
        info
    }
}

fn info(content: &Content, name: &Key, lock: &Lock, waiters_max: usize) -> LockInfo {
    let owner = |lease: &LeaseId| match content.leases.get(lease).map(|lease| &lease.purpose) {
        Some(Purpose::Place { owner, .. }) => owner.clone(),
        _ => "".into(),
    };
    let (holder, token) = match lock.tenure {
        Tenure::Held { lease, token } => {
            let ttl_ms = content.leases.get(&lease).map_or(0, |lease| lease.ttl_ms);
            let ttl = terms::from_millis(ttl_ms);
            (Some(Holder { owner: owner(&lease), ttl, remaining: None, lease }), token)
        }
        Tenure::Delayed { token, .. } => (None, token),
    };
    let waiters = lock.waiters.values().take(waiters_max).map(owner).collect();
    LockInfo { name: name.clone(), holder, token, waiters, waiters_count: lock.waiters.len() }
}
