//! Requests and streams of the peer, each served by a task of its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Connection;
use super::streams;
use crate::codec::frame::{Header, Kind, Outgoing};
use crate::limits::{FAULT_BYTES_MAX, SERVED_MAX};
use crate::sync::lock;
use crate::{Fault, Handler, Service};

/// The tasks that serve one connection; all end with it.
#[derive(Debug)]
pub(crate) struct Served {
    /// None once the connection has ended.
    tasks: Mutex<Option<BTreeMap<u64, Task>>>,
}

#[derive(Debug)]
struct Task {
    handle: AbortHandle,
    /// A stream that is no longer wanted ends by its frames; its handler may still have things to finish.
    is_request: bool,
}

impl Default for Served {
    fn default() -> Self {
        Self { tasks: Mutex::new(Some(BTreeMap::new())) }
    }
}

/// No more tasks may run for this connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Served {
    /// The peer gave this request up.
    pub(crate) fn cancel(&self, id: u64) {
        let mut tasks = lock(&self.tasks);
        let Some(tasks) = tasks.as_mut() else { return };
        if tasks.get(&id).is_some_and(|task| task.is_request)
            && let Some(task) = tasks.remove(&id)
        {
            task.handle.abort();
        }
    }

    /// Ends all.
    pub(crate) fn end(&self) {
        let tasks = lock(&self.tasks).take();
        for task in tasks.into_iter().flatten() {
            task.1.handle.abort();
        }
    }

    fn finished(&self, id: u64) {
        if let Some(tasks) = lock(&self.tasks).as_mut() {
            tasks.remove(&id);
        }
    }

    /// The lock is held until the task is in the table, so that it cannot end before it is there.
    fn spawn(&self, id: u64, is_request: bool, task: impl Future<Output = ()> + Send + 'static) -> Result<(), TooMany> {
        let mut tasks = lock(&self.tasks);
        let Some(tasks) = tasks.as_mut() else { return Ok(()) };
        if tasks.len() >= SERVED_MAX {
            return Err(TooMany);
        }
        tasks.insert(id, Task { handle: tokio::spawn(task).abort_handle(), is_request });
        Ok(())
    }
}

impl Connection {
    /// Serves a request of the peer, until its deadline.
    pub(crate) fn serve(
        self: &Arc<Self>,
        handler: &Arc<dyn Handler>,
        header: Header,
        body: Bytes,
    ) -> Result<(), TooMany> {
        let (connection, handler) = (Arc::clone(self), Arc::clone(handler));
        let id = header.id;
        let deadline = Duration::from_millis(u64::from(header.amount));
        self.served.spawn(id, true, async move {
            let mut unanswered = Unanswered { connection: &connection, id, armed: true };
            let answer = handler.asked(&connection.peer, Service(header.service), body);
            let answering = async {
                let answer = answer.await;
                unanswered.armed = false;
                connection.outbox.push(connection.answer_frame(id, answer)).await
            };
            // After the deadline, or when the connection has ended, nobody waits for the answer.
            let _ = timeout(deadline, answering).await;
        })
    }

    /// Serves a stream that the peer opened.
    pub(crate) fn serve_stream(self: &Arc<Self>, handler: &Arc<dyn Handler>, header: Header) -> Result<(), TooMany> {
        let frames = streams::open(self, header.id).ok_or(TooMany)?;
        let (connection, handler) = (Arc::clone(self), Arc::clone(handler));
        let id = header.id;
        self.served.spawn(id, false, async move {
            handler.opened(&connection.peer, Service(header.service), frames).await;
            connection.served.finished(id);
        })
    }

    fn answer_frame(&self, id: u64, answer: Result<Bytes, Fault>) -> Outgoing {
        let too_long = |bytes: usize| Fault { message: format!("the answer of {bytes} bytes is too long to be sent") };
        match answer {
            Ok(body) if body.len() <= self.lane.body_bytes_max() => {
                Outgoing::new(Header::about(Kind::Answer, id), body)
            }
            Ok(body) => fault_frame(id, too_long(body.len())),
            Err(fault) => fault_frame(id, fault),
        }
    }
}

/// The frame that carries a fault, its sentence cut to a bounded length.
pub(crate) fn fault_frame(id: u64, fault: Fault) -> Outgoing {
    let mut message = fault.message;
    message.truncate(message.floor_char_boundary(FAULT_BYTES_MAX));
    Outgoing::new(Header::about(Kind::Fault, id), Bytes::from(message))
}

/// Answers when the handler did not: it panicked, or was stopped at the deadline.
struct Unanswered<'a> {
    connection: &'a Connection,
    id: u64,
    armed: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.armed {
            let fault = Fault { message: "the request was dropped before it was answered".to_owned() };
            // Without room the asker waits for its own deadline.
            let _ = self.connection.outbox.offer(fault_frame(self.id, fault));
        }
        self.connection.served.finished(self.id);
    }
}
