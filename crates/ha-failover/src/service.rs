//! What is started and stopped: the service of whoever embeds this room.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ha_cluster::{Epoch, NodeLease};

use crate::role::{GroupId, RoleId};
use crate::roster::Cause;

/// A service that runs on one node at a time.
///
/// Calls for one role come one after another, and in this order: `promote`, then `demote`, and so on; each epoch is
/// promoted at most once. A `promote` that failed, or was given up, is followed by a `demote` that cleans up after it.
/// Calls for different roles overlap.
pub trait Service: Send + Sync + 'static {
    /// Starts the service. It runs once this returns `Ok`, not before.
    ///
    /// Dropped when it takes longer than [`crate::Config::timeout`], or when the role is taken away meanwhile.
    fn promote(&self, promotion: Promotion) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Stops the service. Nothing of it runs any more once this returns `Ok`; called again after an `Err`.
    ///
    /// When it has not succeeded within [`Demotion::within`], this node ends its own process: the next node starts the
    /// service then.
    fn demote(&self, demotion: Demotion) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

/// A role that a node is given.
#[derive(Clone, Debug)]
pub struct Promotion {
    /// Which group.
    pub group: GroupId,
    /// Which shard of it; `None` for the whole.
    pub shard: Option<u16>,
    /// Orders all holders of this role, one after another.
    pub epoch: Epoch,
    /// Why it moved here.
    pub cause: Cause,
    /// While it is held, this node may act. A service outside of this process keeps its end by itself: a process that
    /// is frozen cannot stop anything.
    pub lease: NodeLease,
}

impl Promotion {
    /// The number that the service shows to what it writes to: whoever has seen a greater one must refuse it.
    pub fn token(&self) -> u64 {
        self.epoch.0
    }
}

/// A role that a node gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demotion {
    /// Which group.
    pub group: GroupId,
    /// Which shard of it; `None` for the whole.
    pub shard: Option<u16>,
    /// As it was promoted.
    pub epoch: Epoch,
    /// Why, as one sentence.
    pub reason: String,
    /// How long it may take.
    pub within: Duration,
}

/// Why a service did not start, or did not stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ServiceError {
    /// One sentence.
    pub reason: String,
}

impl ServiceError {
    /// For this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// A service of any kind.
pub(crate) trait AnyService: Send + Sync + 'static {
    fn promote(self: Arc<Self>, promotion: Promotion) -> BoxFuture<'static, Result<(), ServiceError>>;
    fn demote(self: Arc<Self>, demotion: Demotion) -> BoxFuture<'static, Result<(), ServiceError>>;
}

impl<S: Service> AnyService for S {
    fn promote(self: Arc<Self>, promotion: Promotion) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move { Service::promote(&*self, promotion).await })
    }

    fn demote(self: Arc<Self>, demotion: Demotion) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move { Service::demote(&*self, demotion).await })
    }
}

/// No service: for a node that only follows who is primary, and asks by itself before it acts.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoService;

impl Service for NoService {
    async fn promote(&self, _: Promotion) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn demote(&self, _: Demotion) -> Result<(), ServiceError> {
        Ok(())
    }
}

/// The demotion that ends it.
pub(crate) fn demotion(role: &RoleId, epoch: Epoch, reason: String, within: Duration) -> Demotion {
    Demotion { group: role.group.clone(), shard: role.shard, epoch, reason, within }
}
