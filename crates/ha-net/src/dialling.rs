//! The task of a link: dials, keeps, and dials again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::connection::{Connection, Ended, Side};
use crate::greeting::{Greeter, GreetingError, Offer};
use crate::limits::{CRASH_VERDICT_WAIT_MAX, REDIAL_WAIT_MAX, VERDICT_DIALS_MAX};
use crate::link::Link;
use crate::peers::Target;
use crate::shared::Shared;
use crate::{Address, Incarnation, Lane, Peer, PeerEvent, Refusal, RefusalCode};

/// Why a dial brought no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Nobody listens there.
    #[error("connection refused by {0}: nobody listens there")]
    NobodyListens(Address),
    #[error("no answer from {0} within the time for it")]
    TimedOut(Address),
    #[error("cannot reach {0}: {1}")]
    Greeting(Address, GreetingError),
    #[error("this node is stopping, or has all the connections that it takes")]
    NoRoom,
}

/// Dials an address and goes through the greeting up to the last word. While one secret follows another, the node there
/// may not know the one that is shown first: then it is dialled again with the next one.
pub(crate) async fn dial(shared: &Shared, address: &Address, lane: Lane) -> Result<Offer, DialError> {
    let keys = shared.nonces.as_ref().map_or(1, |nonces| nonces.keys().count());
    let dialled = async {
        let mut key = 0;
        loop {
            let socket = shared.wire.dial(address).await.map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => DialError::NobodyListens(address.clone()),
                _ => DialError::Greeting(address.clone(), error.into()),
            })?;
            let error = match (Greeter { key, ..shared.greeter() }).dial(socket, lane).await {
                Ok(offer) => return Ok(offer),
                Err(error) => error,
            };
            key += 1;
            if key >= keys || !error.is_about_the_secret() {
                shared.report(address, &error);
                return Err(DialError::Greeting(address.clone(), error));
            }
        }
    };
    match timeout(shared.config.connect_timeout, dialled).await {
        Ok(result) => result,
        Err(_) => Err(DialError::TimedOut(address.clone())),
    }
}

/// Keeps one link of a target until the target is closed. The control link, once wanted, is always dialled again; a
/// bulk link only when somebody wants it.
pub(crate) async fn keep(target: Arc<Target>, number: usize, shared: Arc<Shared>) {
    let link = target.link_at(number);
    let mut keeper = Keeper {
        backoff: Backoff::new(shared.config.seed, &target.node_id, number),
        target: &target,
        link,
        shared: &shared,
        life: None,
        short_lives: 0,
        lost: None,
    };
    tokio::select! {
        biased;
        () = target.closed.cancelled() => {}
        () = keeper.run() => {}
    }
    if let Some(connection) = link.connection() {
        connection.leave();
        keeper.report(PeerEvent::Down(connection.peer.clone()));
    } else if let Some(lost) = keeper.lost.take() {
        keeper.report(PeerEvent::Down(lost.peer));
    }
    link.set_closed();
}

struct Keeper<'a> {
    target: &'a Arc<Target>,
    link: &'a Link,
    shared: &'a Arc<Shared>,
    backoff: Backoff,
    /// Which life of the peer the last connection led to.
    life: Option<Incarnation>,
    /// Connections to that life, in a row, that ended soon after they began.
    short_lives: u32,
    lost: Option<Lost>,
}

/// A control connection that ended as if its peer had died, until the next dial tells.
struct Lost {
    peer: Peer,
    reported: bool,
}

impl Keeper<'_> {
    async fn run(&mut self) {
        self.link.wanted.notified().await;
        loop {
            match self.next_connection().await {
                Ok(connection) => self.hold(&connection).await,
                Err(error) => {
                    tracing::debug!(peer = %self.target.node_id, lane = ?self.link.lane, %error, "dial failed");
                    self.link.set_failed(&error.to_string());
                }
            }
            if self.link.lane != Lane::Control {
                self.link.wanted.notified().await;
            }
        }
    }

    /// Dials, after the wait that is due, and settles what is said of a lost connection.
    async fn next_connection(&mut self) -> Result<Arc<Connection>, DialError> {
        let wait = self.backoff.next();
        let (target, link, shared) = (self.target, self.link, self.shared);
        let Some(lost) = &mut self.lost else { return attempt(target, link, shared, wait).await };
        let attempt = verdict(target, link, shared, wait);
        tokio::pin!(attempt);
        let result = match timeout(CRASH_VERDICT_WAIT_MAX, &mut attempt).await {
            Ok(result) => result,
            Err(_) => {
                lost.reported = true;
                let down = PeerEvent::Down(lost.peer.clone());
                self.report(down);
                attempt.await
            }
        };
        if let Some(lost) = self.lost.take() {
            match &result {
                Err(DialError::NobodyListens(_)) => self.report(PeerEvent::Crashed(lost.peer)),
                _ if lost.reported => {}
                _ => self.report(PeerEvent::Down(lost.peer)),
            }
        }
        result
    }

    /// Keeps a connection in use until it ends.
    async fn hold(&mut self, connection: &Arc<Connection>) {
        let began = Instant::now();
        self.link.set_up(connection);
        if self.link.lane == Lane::Control {
            // The waits of the others were those of a node that was away.
            self.target.hurry();
        }
        self.report(PeerEvent::Up(connection.peer.clone()));
        let ended = self.until_ended(connection).await;
        self.link.set_down();
        // The first loss is answered at once, but a peer that takes connections only to drop them is dialled ever more
        // slowly. One that dies soon after each start is another peer each time.
        let life = connection.peer.incarnation;
        if self.life.replace(life) != Some(life) {
            self.short_lives = 0;
        }
        self.short_lives = if began.elapsed() < REDIAL_WAIT_MAX { self.short_lives.saturating_add(1) } else { 0 };
        if self.short_lives <= 1 {
            self.backoff.reset();
        }
        let peer = connection.peer.clone();
        if self.link.lane == Lane::Control && ended.is_abrupt() {
            self.lost = Some(Lost { peer, reported: false });
            return;
        }
        self.report(PeerEvent::Down(peer));
        if ended == Ended::Goodbye {
            // Whoever says goodbye does not listen for a while.
            let _ = self.backoff.next();
        }
    }

    /// An offer of another life of the node, which a greeting has found meanwhile, replaces this connection.
    async fn until_ended(&self, connection: &Arc<Connection>) -> Ended {
        let better = async {
            loop {
                self.link.brought.notified().await;
                if self.link.has_better_offer(connection) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            ended = connection.ended() => ended,
            () = better => {
                // For the next attempt, which takes the offer.
                self.link.brought.notify_one();
                connection.leave();
                Ended::Left
            }
        }
    }

    /// Only control connections are reported.
    fn report(&self, event: PeerEvent) {
        if self.link.lane == Lane::Control {
            self.shared.events.emit(event);
        }
    }
}

/// The dial after a loss. A dying process closes its sockets one by one, so that its listener may still take a
/// connection that is then cut short: that is no verdict yet.
async fn verdict(
    target: &Arc<Target>,
    link: &Link,
    shared: &Arc<Shared>,
    mut wait: Duration,
) -> Result<Arc<Connection>, DialError> {
    for _ in 1..VERDICT_DIALS_MAX {
        match attempt(target, link, shared, wait).await {
            Err(DialError::Greeting(_, GreetingError::Io(_))) => wait = Duration::ZERO,
            result => return result,
        }
    }
    attempt(target, link, shared, wait).await
}

/// One dial, or a connection that a greeting brought meanwhile.
async fn attempt(
    target: &Arc<Target>,
    link: &Link,
    shared: &Arc<Shared>,
    wait: Duration,
) -> Result<Arc<Connection>, DialError> {
    let dialled = async {
        tokio::select! {
            biased;
            () = link.hurried.notified(), if !wait.is_zero() => {}
            () = sleep(wait) => {}
        }
        dial(shared, &target.address, link.lane).await
    };
    let offer = tokio::select! {
        biased;
        () = link.brought.notified() => match link.take_offer() {
            Some(offer) => offer,
            None => dial(shared, &target.address, link.lane).await?,
        },
        offer = dialled => offer?,
    };
    establish(target, shared, offer).await
}

/// Confirms an offer and starts its connection, if the right node made it.
async fn establish(target: &Arc<Target>, shared: &Arc<Shared>, offer: Offer) -> Result<Arc<Connection>, DialError> {
    let at = &target.address;
    let found = &offer.introduction().node_id;
    if *found != target.node_id {
        let message = format!("{at} was dialled for node {}, and node {found} answered", target.node_id);
        let refusal = Refusal { code: RefusalCode::NodeId, message };
        let error = offer.turn_away(&shared.gate.introduce(), shared.instance, refusal).await;
        shared.report(at, &error);
        return Err(DialError::Greeting(at.clone(), error));
    }
    let greeted = match timeout(shared.config.connect_timeout, offer.confirm()).await {
        Ok(greeted) => greeted.map_err(|error| DialError::Greeting(at.clone(), error))?,
        Err(_) => return Err(DialError::TimedOut(at.clone())),
    };
    let (connection, driver) = shared.admit(greeted, Side::Dialled).map_err(|_| DialError::NoRoom)?;
    shared.tasks.spawn(driver.run());
    Ok(connection)
}
