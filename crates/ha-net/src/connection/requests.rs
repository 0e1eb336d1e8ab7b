//! Requests of this node that wait for their answer on one connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Connection;
use crate::codec::frame::{Header, Kind, Outgoing};
use crate::limits::REQUESTS_IN_FLIGHT_MAX;
use crate::sync::lock;
use crate::{AskError, Service};

type Answer = Result<Bytes, AskError>;

/// The table of pending requests. Ordered, so that the end of a connection wakes them in a fixed order.
#[derive(Debug)]
pub(crate) struct Requests {
    /// None once the connection has ended.
    pending: Mutex<Option<BTreeMap<u64, oneshot::Sender<Answer>>>>,
    in_flight: Semaphore,
}

impl Default for Requests {
    fn default() -> Self {
        Self { pending: Mutex::new(Some(BTreeMap::new())), in_flight: Semaphore::new(REQUESTS_IN_FLIGHT_MAX) }
    }
}

impl Requests {
    /// Hands an answer to whoever asked. An answer that nobody waits for any more is dropped.
    pub(crate) fn answer(&self, id: u64, answer: Answer) {
        if let Some(asker) = self.take(id) {
            // An asker that has just gone away wants no answer.
            let _ = asker.send(answer);
        }
    }

    /// Ends all: those that have not left are not sent, of the others nothing is known.
    pub(crate) fn end(&self, unsent: &BTreeSet<u64>, reason: &str) {
        self.in_flight.close();
        let pending = lock(&self.pending).take();
        for (id, asker) in pending.into_iter().flatten() {
            let error = if unsent.contains(&id) { AskError::not_sent(reason) } else { AskError::unknown(reason) };
            let _ = asker.send(Err(error));
        }
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Answer>> {
        lock(&self.pending).as_mut()?.remove(&id)
    }

    fn wait_for(&self, id: u64) -> Option<oneshot::Receiver<Answer>> {
        let (asker, answer) = oneshot::channel();
        lock(&self.pending).as_mut()?.insert(id, asker);
        Some(answer)
    }
}

impl Connection {
    /// Asks the peer. The deadline bounds each wait in here.
    pub(crate) async fn ask(&self, service: Service, body: Bytes, deadline: Instant) -> Answer {
        let _permit = match timeout_at(deadline, self.requests.in_flight.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(AskError::not_sent(ENDED)),
            Err(_) => return Err(AskError::not_sent("too many requests were in flight until the deadline")),
        };
        let id = self.next_id();
        let Some(answer) = self.requests.wait_for(id) else { return Err(AskError::not_sent(ENDED)) };
        let mut request = Request { connection: self, id, pending: true };
        let remaining = deadline.saturating_duration_since(Instant::now());
        let amount = u32::try_from(remaining.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let frame = Outgoing::new(Header { kind: Kind::Ask, service: service.0, id, amount }, body);
        match timeout_at(deadline, self.outbox.push(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(AskError::not_sent(ENDED)),
            Err(_) => return Err(AskError::not_sent("the connection took no more bytes until the deadline")),
        }
        match timeout_at(deadline, answer).await {
            Ok(answer) => {
                request.pending = false;
                // The table drops a sender only with the connection.
                answer.unwrap_or_else(|_| Err(AskError::unknown(ENDED)))
            }
            Err(_) if request.give_up() => Err(AskError::not_sent("it still waited to be sent at the deadline")),
            Err(_) => Err(AskError::unknown("the deadline has passed")),
        }
    }
}

const ENDED: &str = "the connection has ended";

/// A request that is given up when it is dropped before its answer came.
struct Request<'a> {
    connection: &'a Connection,
    id: u64,
    pending: bool,
}

impl Request<'_> {
    /// True when it certainly never left.
    fn give_up(&mut self) -> bool {
        self.pending = false;
        self.connection.requests.take(self.id);
        if self.connection.outbox.withdraw(self.id) {
            return true;
        }
        // Without room the peer is not told, and stops at the deadline that it knows.
        let _ = self.connection.outbox.offer(Outgoing::bare(Header::about(Kind::Cancel, self.id)));
        false
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.pending {
            self.give_up();
        }
    }
}
