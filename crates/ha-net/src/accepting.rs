//! The listening side: greets those who come, a bounded number at a time.

mod half_open;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::time::{sleep, timeout};

use self::half_open::HalfOpen;
use crate::Lane;
use crate::connection::driver::Driver;
use crate::connection::{Connection, Side};
use crate::limits::{
    ACCEPT_RETRY_WAIT_MAX, ACCEPT_RETRY_WAIT_MIN, GIVE_WAY_PAUSE, GIVE_WAYS_PER_PAUSE, GREETING_TIME_MAX, HALF_OPEN_MAX,
};
use crate::shared::Shared;
use crate::sync::lock;
use crate::wire::{Listener, Socket};

/// Accepts until the node stops.
pub(crate) async fn accept_all(shared: Arc<Shared>, mut listener: Box<dyn Listener>) {
    let half_open = Arc::new(Mutex::new(HalfOpen::default()));
    let (mut wait, mut gave_way) = (ACCEPT_RETRY_WAIT_MIN, 0);
    for number in 0.. {
        let accepted = tokio::select! {
            biased;
            () = shared.stopped.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, from)) => {
                wait = ACCEPT_RETRY_WAIT_MIN;
                gave_way += usize::from(greet(&half_open, &shared, number, socket, from));
                if gave_way >= GIVE_WAYS_PER_PAUSE {
                    gave_way = 0;
                    // Whoever dials faster than that waits in the kernel, and not at the cost of those who are in.
                    sleep(GIVE_WAY_PAUSE).await;
                }
            }
            // That one connection was gone before it could be taken.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                // Such as no file descriptors left: trying again at once would only burn the processor.
                shared.warn(&shared.local_addr.into(), &format_args!("accepting failed: {error}"));
                tokio::select! {
                    biased;
                    () = shared.stopped.cancelled() => return,
                    () = sleep(wait) => {}
                }
                wait = (wait * 2).min(ACCEPT_RETRY_WAIT_MAX);
            }
        }
    }
}

/// Greets in a task of its own, which becomes the task of the connection. True when another one had to give way.
fn greet(
    half_open: &Arc<Mutex<HalfOpen>>,
    shared: &Arc<Shared>,
    number: u64,
    socket: Box<dyn Socket>,
    from: SocketAddr,
) -> bool {
    let mut table = lock(half_open);
    let given_way = table.make_room();
    if let Some(given_way) = &given_way {
        given_way.task.abort();
        let reason = format_args!("more than {HALF_OPEN_MAX} connections have not said hello");
        shared.warn(&given_way.from.into(), &reason);
    }
    let (task_half_open, task_shared) = (Arc::clone(half_open), Arc::clone(shared));
    let task = shared.tasks.spawn(async move {
        if let Some(driver) = admit(&task_shared, socket, from, || lock(&task_half_open).leave(number)).await {
            driver.run().await;
        }
    });
    // The lock is held until here, so that the task cannot leave the table before it is in it.
    table.enter(number, from, task.abort_handle());
    given_way.is_some()
}

/// A peer that dials us is alive: waiting any longer to dial it back gains nothing, and whatever its former life left
/// behind is over, even where no reset has told.
fn seen(shared: &Shared, connection: &Connection) {
    let node_id = &connection.peer.node_id;
    let newest = connection.peer.incarnation;
    for older in shared.registry.of(node_id) {
        older.compare(newest);
    }
    shared.peers.seen(node_id);
}

async fn admit<T>(
    shared: &Arc<Shared>,
    socket: Box<dyn Socket>,
    from: SocketAddr,
    leave_table: impl FnOnce() -> T,
) -> Option<Driver> {
    let greeter = shared.greeter();
    let greeting = timeout(
        shared.config.connect_timeout.min(GREETING_TIME_MAX),
        greeter.accept(socket, || shared.registry.has_room()),
    );
    let greeted = tokio::select! {
        biased;
        () = shared.stopped.cancelled() => return None,
        greeted = greeting => greeted,
    };
    leave_table();
    let greeted = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(error)) => {
            shared.report_caller(&from.into(), &error.of_caller());
            return None;
        }
        Err(_) => {
            tracing::debug!(%from, "no hello within the time for it");
            return None;
        }
    };
    let (connection, driver) = shared.admit(greeted, Side::Accepted).ok()?;
    if connection.lane == Lane::Control {
        seen(shared, &connection);
    }
    Some(driver)
}
