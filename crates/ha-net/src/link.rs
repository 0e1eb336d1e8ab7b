//! A link is the way to one node on one lane: its connection while there is one, and news about dials.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use crate::connection::Connection;
use crate::greeting::Offer;
use crate::sync::lock;
use crate::{AskError, Lane};

/// What those who send see of a link. Written by the link's task only.
#[derive(Clone, Debug, Default)]
struct View {
    connection: Option<Arc<Connection>>,
    /// Dials that failed, and why the last one did.
    failures: u64,
    failure: Option<Arc<str>>,
    closed: bool,
}

/// The way to one node on one lane.
pub(crate) struct Link {
    pub(crate) lane: Lane,
    view: watch::Sender<View>,
    /// The link's task runs.
    used: AtomicBool,
    /// Somebody wants a connection.
    pub(crate) wanted: Notify,
    /// The peer has shown that it is alive, so that the next dial need not wait.
    pub(crate) hurried: Notify,
    /// A connection that a greeting has brought, for the link's task.
    offered: Mutex<Option<Offer>>,
    pub(crate) brought: Notify,
}

impl Link {
    pub(crate) fn new(lane: Lane) -> Self {
        Self {
            lane,
            view: watch::Sender::default(),
            used: AtomicBool::new(false),
            wanted: Notify::new(),
            hurried: Notify::new(),
            offered: Mutex::default(),
            brought: Notify::new(),
        }
    }

    /// The connection, if it is up.
    pub(crate) fn connection(&self) -> Option<Arc<Connection>> {
        self.view.borrow().connection.clone()
    }

    /// Whether the link's task has been started.
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Asks for a connection. True when the caller must start the link's task.
    pub(crate) fn want(&self) -> bool {
        self.wanted.notify_one();
        !self.used.swap(true, Ordering::AcqRel)
    }

    /// Cuts a wait for the next dial short.
    pub(crate) fn hurry(&self) {
        if self.is_used() && self.view.borrow().connection.is_none() {
            self.hurried.notify_one();
        }
    }

    /// Begins to wait for a connection. Made before it is wanted, so that no news is missed.
    pub(crate) fn waiter(&self) -> Waiter {
        let mut view = self.view.subscribe();
        let failures = view.borrow_and_update().failures;
        Waiter { view, failures }
    }

    /// Hands an offered connection to the link's task, unless it has one already.
    pub(crate) fn offer(&self, offer: Offer) {
        let mut offered = lock(&self.offered);
        if offered.is_none() {
            *offered = Some(offer);
            self.brought.notify_one();
        }
    }

    /// The offered connection, if any.
    pub(crate) fn take_offer(&self) -> Option<Offer> {
        lock(&self.offered).take()
    }

    /// Throws an offered connection away if it leads to the same life of the peer as this one. True when another one
    /// remains.
    pub(crate) fn has_better_offer(&self, than: &Connection) -> bool {
        let mut offered = lock(&self.offered);
        offered.take_if(|offer| offer.introduction().incarnation == than.peer.incarnation);
        offered.is_some()
    }

    pub(crate) fn set_up(&self, connection: &Arc<Connection>) {
        self.view.send_modify(|view| view.connection = Some(Arc::clone(connection)));
    }

    pub(crate) fn set_down(&self) {
        self.view.send_modify(|view| view.connection = None);
    }

    pub(crate) fn set_failed(&self, reason: &str) {
        self.view.send_modify(|view| {
            view.failures += 1;
            view.failure = Some(reason.into());
        });
    }

    pub(crate) fn set_closed(&self) {
        self.view.send_modify(|view| {
            view.connection = None;
            view.closed = true;
        });
        // Its socket closes with it.
        self.take_offer();
    }
}

/// Waits for news of one link.
pub(crate) struct Waiter {
    view: watch::Receiver<View>,
    failures: u64,
}

impl Waiter {
    /// Waits for a connection; gives up with the first dial that fails.
    pub(crate) async fn connected(mut self) -> Result<Arc<Connection>, AskError> {
        let settled = |view: &View| view.connection.is_some() || view.failures > self.failures || view.closed;
        let Ok(view) = self.view.wait_for(settled).await else {
            return Err(AskError::not_sent("the node is stopping"));
        };
        match (&view.connection, &view.failure) {
            (Some(connection), _) => Ok(Arc::clone(connection)),
            (None, Some(failure)) if !view.closed => Err(AskError::not_sent(&**failure)),
            (None, _) => Err(AskError::not_sent("the peer was forgotten, has moved, or this node is stopping")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Side;
    use crate::greeting::tests::offer_of;

    #[tokio::test]
    async fn an_offer_of_the_same_life_is_no_reason_to_change() {
        let link = Link::new(Lane::Control);
        let connection = Connection::new(offer_of(1).await.introduction().clone(), Lane::Control, Side::Dialled);
        assert!(!link.has_better_offer(&connection));
        link.offer(offer_of(1).await);
        assert!(!link.has_better_offer(&connection));
        assert!(link.take_offer().is_none());
        link.offer(offer_of(2).await);
        assert!(link.has_better_offer(&connection));
        assert!(link.take_offer().is_some());
    }
}
