//! What a node knows of the copies, by asking them how they are.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Fuse, FusedFuture, join_all};
use ha_cluster::{Cluster, NodeId};
use tokio::time::Instant;

use crate::fetch;
use crate::status::{Heard, History};

/// How often copies are asked how they are.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of the copies. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<Mutex<Inner>>);

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) copies: BTreeMap<NodeId, Heard>,
    pub(crate) history: History,
}

impl Known {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all copies but this one how they are.
    pub(crate) async fn ask(&self, cluster: &Cluster, me: &NodeId, copies: BTreeSet<NodeId>) {
        let others: Vec<NodeId> = copies.into_iter().filter(|node| node != me).collect();
        let held = cluster.copies().now();
        let last = held.and_then(|held| held.members.get(me).map(|held| held.index));
        let reports = join_all(others.iter().map(|node| fetch::report(cluster, node))).await;
        let at = Instant::now();
        let mut known = self.lock();
        for (node, report) in others.into_iter().zip(reports) {
            match (report, known.copies.get_mut(&node)) {
                (Some(report), _) => drop(known.copies.insert(node, Heard { report, at, answers: true, last })),
                (None, Some(heard)) => heard.answers = false,
                (None, None) => {}
            }
        }
    }
}

/// The copies are asked now and then while this node leads. Nobody waits for one that is silent.
pub(crate) struct Round {
    under_way: Fuse<BoxFuture<'static, ()>>,
    pub(crate) began: Option<Instant>,
    /// All copies have been heard, or given up, at least once.
    pub(crate) ever_ended: bool,
}

impl Round {
    pub(crate) fn none() -> Self {
        Self { under_way: Fuse::terminated(), began: None, ever_ended: false }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.under_way.is_terminated() && self.began.is_none_or(|began| now - began >= ASK_INTERVAL)
    }

    pub(crate) fn begin(&mut self, now: Instant, asking: impl Future<Output = ()> + Send + 'static) {
        (self.began, self.under_way) = (Some(now), asking.boxed().fuse());
    }

    /// Goes on with what is under way for so long, whether or not it ends before.
    pub(crate) async fn goes_on_for(&mut self, time: Duration) {
        let over = tokio::time::sleep(time);
        let mut over = pin!(over);
        loop {
            tokio::select! {
                () = &mut self.under_way, if !self.under_way.is_terminated() => self.ever_ended = true,
                () = &mut over => return,
            }
        }
    }
}
