//! From a request to a guard.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ha_cluster::WriteError;
use tokio::time::Instant;

use super::LockGuard;
use crate::command::{Acquire, Command, Done, Place, Reply, fingerprint};
use crate::error::AcquireError;
use crate::leasing::check_ttl;
use crate::limits::{OWNER_BYTES_MAX, TTL_MAX};
use crate::state::request_key;
use crate::terms;
use crate::ticket::{Standing, Ticket};
use crate::{FencingToken, HoldError, Key, LeaseId, LockId, State};

/// A lock that is to be acquired: see [`State::lock`].
#[must_use = "nothing is asked before `acquire`"]
pub struct LockRequest {
    state: State,
    name: String,
    ttl: Duration,
    timeout: Duration,
    delay: Duration,
    owner: Option<String>,
    request: Option<String>,
    keeps_place: bool,
}

impl State {
    /// A lock by its name, to be acquired.
    pub fn lock(&self, name: &str) -> LockRequest {
        let (ttl, timeout) = (self.inner.config.lock_ttl, self.inner.config.lock_timeout);
        let name = name.to_owned();
        let (state, delay) = (self.clone(), Duration::ZERO);
        LockRequest { state, name, ttl, timeout, delay, owner: None, request: None, keeps_place: false }
    }
}

impl LockRequest {
    /// How long the lock outlives its holder: after so long without renewal it is somebody else's.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long to wait; zero tries once.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long the lock stays taken after this holder expired, for resources that cannot check tokens. Zero unless set;
    /// a holder that gives the lock back leaves no delay.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// What the holder calls itself, for people; the node's id unless set.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Names the request. After an unknown outcome, asking again with the same name gives the same grant, from any node,
    /// for as long as it lasts, and then [`AcquireError::Over`]. A name is for one lock, length, delay and owner.
    pub fn request(mut self, request: impl Into<String>) -> Self {
        self.request = Some(request.into());
        self
    }

    /// When the time to wait is over, a named request stays in the queue for as long as its lease lasts, for its caller
    /// to go on waiting under the same name. Whoever does not come back may be given the lock, for one lease.
    pub fn keep_place(mut self) -> Self {
        self.keeps_place = true;
        self
    }

    /// Waits for the lock, behind everybody who asked before.
    ///
    /// Cancel-safe: a request that is dropped leaves the queue, as a best effort at once, and with its lease at the
    /// latest. Only what a named request may have been given stays, for the caller to ask again.
    pub async fn acquire(self) -> Result<LockGuard, AcquireError> {
        let lock = Key::new(&self.name)?;
        let ttl_ms = check_ttl(self.ttl).filter(|_| self.delay <= TTL_MAX).ok_or(AcquireError::Ttl)?;
        let owner = self.owner.as_deref().unwrap_or(&self.state.inner.node);
        if owner.is_empty() || owner.len() > OWNER_BYTES_MAX {
            return Err(AcquireError::Owner);
        }
        let request = self.request.as_deref().map(request_key).transpose()?;
        let lease = match &request {
            Some(request) => LeaseId::named(&format!("lock request {} {request} {lock}", request.len())),
            None => self.state.inner.new_lease(),
        };
        let delay_ms = terms::millis(self.delay);
        let print = {
            // Not how long it waits, which each call says anew, nor the node that stands for an owner.
            let (named, owner) = ([u8::from(self.owner.is_some())], self.owner.as_deref().unwrap_or_default());
            let (ttl, delay) = (ttl_ms.to_le_bytes(), delay_ms.to_le_bytes());
            fingerprint([b"lock".as_slice(), lock.as_bytes(), &ttl, &delay, &named, owner.as_bytes()])
        };
        let (waits, owner) = (!self.timeout.is_zero(), owner.into());
        let acquire = Acquire { lock, lease, ttl_ms, delay_ms, waits, owner };
        let named = request.map(|key| Named { key, print, keeps_place: self.keeps_place });
        Pending::begin(self.state, acquire, self.timeout, named).granted().await
    }
}

type Asking = BoxFuture<'static, Result<Reply, WriteError>>;

/// A request that is under way. Dropped before it is granted, it leaves the queue.
struct Pending {
    state: State,
    acquire: Acquire,
    ticket: Arc<Ticket>,
    /// Tells it from others that ask by the same name.
    asker: u64,
    until: Instant,
    named: Option<Named>,
    /// The request, while it has no answer.
    asking: Option<Asking>,
    end: End,
}

/// The name that the caller chose, to ask again when it is not told.
struct Named {
    key: Arc<str>,
    /// Of what was asked under it.
    print: u64,
    /// It asks again also when its time is over.
    keeps_place: bool,
}

/// What the end of a request leaves to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// What may be there is taken back, unless who asks again by name finds the lock there.
    TakeBack,
    /// What may be there is taken back: the caller was told that it has nothing.
    GiveUp,
    /// Nothing is there, or it stays for whoever asks again by name.
    Leave,
    /// A guard goes on from here.
    HandOver,
}

/// How long a request with no time to wait waits for its answer: as any other change.
const TRY_TIME_MAX: Duration = ha_cluster::ASK_TIMEOUT;

/// How long somebody waits who would wait for longer than can be told: thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Pause before a request is made again whose outcome is unknown.
const PAUSE: Duration = Duration::from_millis(50);
/// As [`PAUSE`], when a request is taken back for which nobody waits.
const TAKE_BACK_PAUSE: Duration = Duration::from_secs(1);
/// How long that is tried: while there is no quorum, each that was given up takes some memory for as long.
const TAKE_BACK_TIME_MAX: Duration = Duration::from_secs(60);

impl Pending {
    fn begin(state: State, acquire: Acquire, timeout: Duration, named: Option<Named>) -> Self {
        let (limit, now) = (if timeout.is_zero() { TRY_TIME_MAX } else { timeout }, Instant::now());
        let until = now.checked_add(limit).unwrap_or(now + FAR);
        let ttl = terms::from_millis(acquire.ttl_ms);
        // Before it is asked, so that no grant is missed.
        let (ticket, asker) = state.inner.hub.register(acquire.lease, ttl, state.inner.new_asker());
        Self { state, acquire, ticket, asker, until, named, asking: None, end: End::TakeBack }
    }

    async fn granted(mut self) -> Result<LockGuard, AcquireError> {
        match self.place().await? {
            Place::Holder { token } => self.ticket.set(Standing::Holder(token)),
            Place::Waiter => self.state.inner.keeping.keep(self.acquire.lease, self.ticket.clone()),
        }
        // What has a place by its name already is not kept waiting when it tries once.
        let until = if self.acquire.waits { self.until } else { Instant::now() };
        let waiting = self.ticket.wait_for(|standing| standing != Standing::Waits);
        match tokio::time::timeout_at(until, waiting).await {
            Ok(Standing::Holder(token)) => self.hold(token).await,
            Ok(_) => {
                self.end = End::GiveUp;
                Err(AcquireError::Lost)
            }
            Err(_) => {
                let keeps_place = self.named.as_ref().is_some_and(|named| named.keeps_place);
                self.end = if keeps_place { End::Leave } else { End::GiveUp };
                Err(AcquireError::TimedOut)
            }
        }
    }

    /// Asks, and asks again for as long as it is not known what became of it.
    async fn place(&mut self) -> Result<Place, AcquireError> {
        loop {
            let sent = self.state.inner.clock.now();
            let answer = tokio::time::timeout_at(self.until, self.ask()).await;
            let answer = answer.unwrap_or_else(|_| Err(unknown("no answer in time")));
            match answer {
                Ok(Ok(Done::Lock(place))) => {
                    self.ticket.lasts_until(sent + terms::holder(self.ticket.ttl()));
                    return Ok(place);
                }
                Ok(Ok(other)) => return Err(AcquireError::Unknown { reason: format!("a wrong answer: {other:?}") }),
                Ok(Err(refusal)) => {
                    self.end = End::Leave;
                    return Err(refusal.into());
                }
                Err(WriteError::Unknown { reason }) => {
                    if Instant::now() >= self.until {
                        self.end = if self.named.is_none() { End::TakeBack } else { End::Leave };
                        return Err(AcquireError::Unknown { reason });
                    }
                    // A node that has failed says so at once, each time.
                    tokio::time::sleep(PAUSE).await;
                }
                Err(certain) => {
                    self.end = End::Leave;
                    return Err(certain.into());
                }
            }
        }
    }

    /// Asks once. Cancelled, it goes on when it is called again.
    async fn ask(&mut self) -> Result<Reply, WriteError> {
        let asking = self.asking.get_or_insert_with(|| {
            let (log, acquire, asker) = (self.state.inner.log.clone(), self.acquire.clone(), self.asker);
            let command = match &self.named {
                None => Command::LockAcquire(acquire),
                Some(Named { key, print, .. }) => {
                    Command::LockAcquireBy { request: key.clone(), fingerprint: *print, acquire, asker }
                }
            };
            Box::pin(async move { log.write(&command).await })
        });
        let answer = asking.await;
        self.asking = None;
        answer
    }

    /// The lock is this request's: makes sure that it stays so for a while, and hands it over.
    async fn hold(mut self, token: FencingToken) -> Result<LockGuard, AcquireError> {
        let now = self.state.inner.clock.now();
        let id = LockId { token, lease: self.acquire.lease };
        let fresh = self.ticket.remaining(now).is_some_and(|left| left * 2 > self.ticket.ttl());
        if !fresh {
            // It waited, or the answer did: what is left of the lease may be too short to begin with.
            self.state.renew_lock_of(&self.acquire.lock, id, Some(&self.ticket)).await.map_err(
                |error| match error {
                    HoldError::NotHeld => AcquireError::Lost,
                    other => AcquireError::Unknown { reason: other.to_string() },
                },
            )?;
        }
        self.end = End::HandOver;
        self.state.inner.keeping.keep(id.lease, self.ticket.clone());
        Ok(LockGuard::new(self.state.clone(), self.acquire.lock.clone(), id, self.ticket.clone()))
    }
}

fn unknown(reason: &str) -> WriteError {
    WriteError::Unknown { reason: reason.to_owned() }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.end == End::HandOver {
            return;
        }
        let lease = self.acquire.lease;
        let is_last = self.state.let_go(lease, &self.ticket);
        // Another caller of the same name may still wait in this place.
        if self.end == End::Leave || (self.named.is_some() && !is_last) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (asking, log) = (self.asking.take(), self.state.inner.log.clone());
        let command = match self.named {
            None => Command::LeaseEnd { lease },
            // A lock that was given meanwhile is there for whoever asks again, if the caller was told nothing.
            Some(_) => Command::LockGiveUp { lease, asker: self.asker, held: self.end == End::GiveUp },
        };
        runtime.spawn(async move {
            // Taken back only once it was put there: the other way round it would stay.
            if let Some(asking) = asking {
                let _ = asking.await;
            }
            let take_back = async {
                while let Err(WriteError::Unknown { .. }) = log.write(&command).await {
                    tokio::time::sleep(TAKE_BACK_PAUSE).await;
                }
            };
            // It may lie in a log that waits for a quorum. Where it cannot be taken back, the lease ends by itself.
            let _ = tokio::time::timeout(TAKE_BACK_TIME_MAX, take_back).await;
        });
    }
}
