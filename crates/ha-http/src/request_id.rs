//! Each request has an id, which its answer carries and the log shows when it fails: the caller's own, or a new one.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use crate::limits::{FAILURES_TOLD_PER_SECOND_MAX, REQUEST_ID_BYTES_MAX};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Gives ids that no other life of a server gives. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ids(Arc<Inner>);

struct Inner {
    prefix: u64,
    given: AtomicU64,
    told: Mutex<(Option<Instant>, u32)>,
}

impl Ids {
    pub(crate) fn new() -> Self {
        let prefix = RandomState::new().hash_one("a life of a server");
        Self(Arc::new(Inner { prefix, given: AtomicU64::new(0), told: Mutex::default() }))
    }

    /// Takes the id that a request carries, or gives it one.
    pub(crate) fn mark(&self, request: &Request) -> Mark {
        let given = request.headers().get(HEADER).filter(|id| is_acceptable(id)).cloned();
        let path = (!request.uri().path().starts_with("/health")).then(|| request.uri().path().to_owned());
        Mark { ids: self.clone(), id: given.unwrap_or_else(|| self.next()), method: request.method().clone(), path }
    }

    fn next(&self) -> HeaderValue {
        let number = self.0.given.fetch_add(1, Ordering::Relaxed);
        let mut text = String::with_capacity(24);
        // Writing into a text cannot fail.
        let _ = write!(text, "{:016x}-{number:x}", self.0.prefix);
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("-"))
    }

    /// Whether one more line may be written in this second.
    fn may_tell(&self) -> bool {
        let (now, mut told) = (Instant::now(), self.0.told.lock().unwrap_or_else(PoisonError::into_inner));
        if told.0.is_none_or(|since| now - since >= Duration::from_secs(1)) {
            *told = (Some(now), 0);
        }
        told.1 += 1;
        told.1 <= FAILURES_TOLD_PER_SECOND_MAX
    }
}

/// Stands around every call.
pub(crate) async fn stamp(State(ids): State<Ids>, request: Request, next: Next) -> Response {
    let mark = ids.mark(&request);
    mark.onto(next.run(request).await)
}

/// What is kept of a request until it is answered.
pub(crate) struct Mark {
    ids: Ids,
    id: HeaderValue,
    method: Method,
    /// A probe that fails is an answer, and no failure: it has none.
    path: Option<String>,
}

impl Mark {
    /// Marks the answer, and tells of a failure.
    pub(crate) fn onto(self, mut response: Response) -> Response {
        if let Some(path) = self.path.filter(|_| response.status().is_server_error() && self.ids.may_tell()) {
            let path = path.get(..path.floor_char_boundary(200)).unwrap_or_default();
            let (status, request_id) = (response.status().as_u16(), self.id.to_str().unwrap_or_default());
            tracing::info!(method = %self.method, path, status, request_id, "a request failed");
        }
        response.headers_mut().insert(HEADER, self.id);
        response
    }
}

/// Nothing that could be taken for something else in a log.
fn is_acceptable(id: &HeaderValue) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(allowed)
}
