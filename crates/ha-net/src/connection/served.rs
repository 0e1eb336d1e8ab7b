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
use crate::limits::{FAULT_BYTES_MAX, SERVED_BYTES_MAX, SERVED_MAX, SERVED_TIME_MAX};
use crate::sync::lock;
use crate::{Fault, Handler, Service};

/// The tasks that serve one connection; all end with it.
#[derive(Debug)]
pub(crate) struct Served {
    /// None once the connection has ended.
    tasks: Mutex<Option<Tasks>>,
}

#[derive(Debug, Default)]
struct Tasks {
    by_id: BTreeMap<u64, Task>,
    /// Of the bodies that they were given.
    bytes: usize,
}

impl Tasks {
    fn remove(&mut self, id: u64) -> Option<Task> {
        let task = self.by_id.remove(&id)?;
        self.bytes -= task.bytes;
        Some(task)
    }
}

#[derive(Debug)]
struct Task {
    handle: AbortHandle,
    /// A stream that is no longer wanted ends by its frames; its handler may still have things to finish.
    is_request: bool,
    bytes: usize,
}

impl Default for Served {
    fn default() -> Self {
        Self { tasks: Mutex::new(Some(Tasks::default())) }
    }
}

/// Why something of the peer is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// No more tasks may run for this connection, or not with so much to hold.
    TooMany,
    /// The peer has given it the number of something that is being served: it breaks the protocol.
    InUse,
}

impl Served {
    /// The peer gave this request up.
    pub(crate) fn cancel(&self, id: u64) {
        let mut tasks = lock(&self.tasks);
        let Some(tasks) = tasks.as_mut() else { return };
        if tasks.by_id.get(&id).is_some_and(|task| task.is_request)
            && let Some(task) = tasks.remove(id)
        {
            task.handle.abort();
        }
    }

    /// Ends all.
    pub(crate) fn end(&self) {
        let tasks = lock(&self.tasks).take();
        for task in tasks.into_iter().flat_map(|tasks| tasks.by_id.into_values()) {
            task.handle.abort();
        }
    }

    fn finished(&self, id: u64) {
        if let Some(tasks) = lock(&self.tasks).as_mut() {
            tasks.remove(id);
        }
    }

    /// The lock is held until the task is in the table, so that it cannot end before it is there.
    fn spawn(
        &self,
        id: u64,
        body: Option<usize>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Unserved> {
        let mut tasks = lock(&self.tasks);
        let Some(tasks) = tasks.as_mut() else { return Ok(()) };
        if tasks.by_id.contains_key(&id) {
            return Err(Unserved::InUse);
        }
        let bytes = body.unwrap_or_default();
        if tasks.by_id.len() >= SERVED_MAX || tasks.bytes >= SERVED_BYTES_MAX {
            return Err(Unserved::TooMany);
        }
        let handle = tokio::spawn(task).abort_handle();
        tasks.bytes += bytes;
        tasks.by_id.insert(id, Task { handle, is_request: body.is_some(), bytes });
        Ok(())
    }

    fn is_in_use(&self, id: u64) -> bool {
        lock(&self.tasks).as_ref().is_some_and(|tasks| tasks.by_id.contains_key(&id))
    }
}

impl Connection {
    /// Serves a request of the peer, until its deadline.
    pub(crate) fn serve(
        self: &Arc<Self>,
        handler: &Arc<dyn Handler>,
        header: Header,
        body: Bytes,
    ) -> Result<(), Unserved> {
        let (connection, handler) = (Arc::clone(self), Arc::clone(handler));
        let id = header.id;
        let deadline = Duration::from_millis(u64::from(header.amount)).min(SERVED_TIME_MAX);
        self.served.spawn(id, Some(body.len()), async move {
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
    pub(crate) fn serve_stream(self: &Arc<Self>, handler: &Arc<dyn Handler>, header: Header) -> Result<(), Unserved> {
        if self.served.is_in_use(header.id) {
            return Err(Unserved::InUse);
        }
        let frames = streams::open(self, header.id).ok_or(Unserved::TooMany)?;
        let (connection, handler) = (Arc::clone(self), Arc::clone(handler));
        let id = header.id;
        self.served.spawn(id, None, async move {
            let _place = Place { served: &connection.served, id };
            handler.opened(&connection.peer, Service(header.service), frames).await;
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

/// What a stream has in the table, until its handler has ended, or panicked.
struct Place<'a> {
    served: &'a Served,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.served.finished(self.id);
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::future::pending;

    use futures::future::BoxFuture;

    use super::*;
    use crate::connection::Side;
    use crate::{Address, Incarnation, Introduction, Lane, Peer};

    struct Panics;

    impl Handler for Panics {
        fn told(&self, _: &Peer, _: Service, _: Bytes) {}

        fn asked(&self, _: &Peer, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
            Box::pin(pending())
        }

        fn opened(&self, _: &Peer, _: Service, _: crate::FrameStream) -> BoxFuture<'static, ()> {
            Box::pin(async { panic!("on purpose") })
        }
    }

    #[tokio::test]
    async fn a_stream_whose_handler_panics_gives_its_place_back() {
        let introduction = Introduction {
            cluster_name: "play".to_owned(),
            cluster_id: None,
            generation: 0,
            node_id: "b".parse().unwrap(),
            incarnation: Incarnation(1),
            address: Address::new("b", 1).unwrap(),
            claims: BTreeMap::new(),
        };
        let connection = Connection::new(introduction, Lane::Control, Side::Dialled);
        let handler: Arc<dyn Handler> = Arc::new(Panics);
        assert_eq!(connection.serve_stream(&handler, Header::about(Kind::Open, 7)), Ok(()));
        assert!(connection.served.is_in_use(7));
        tokio::time::timeout(Duration::from_secs(10), async {
            while connection.served.is_in_use(7) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_number_in_use_is_refused_and_memory_is_bounded() {
        let served = Served::default();
        assert_eq!(served.spawn(1, Some(SERVED_BYTES_MAX), pending()), Ok(()));
        assert_eq!(served.spawn(1, Some(0), pending()), Err(Unserved::InUse));
        assert_eq!(served.spawn(2, Some(0), pending()), Err(Unserved::TooMany));
        served.cancel(1);
        assert_eq!((served.is_in_use(1), served.spawn(2, None, pending())), (false, Ok(())));
        let ids = 3..;
        let spawned = ids.take_while(|id| served.spawn(*id, Some(0), pending()).is_ok()).count();
        assert_eq!(spawned, SERVED_MAX - 1);
        served.finished(2);
        assert_eq!(served.spawn(2, None, pending()), Ok(()));
        served.end();
    }
}
