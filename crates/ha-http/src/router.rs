//! The table of routes, and what surrounds every one of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{DefaultBodyLimit, FromRef, MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use ha_runtime::{ARCHIVE_BYTES_MAX, Ha};
use tokio::sync::{Semaphore, watch};

use crate::access::Access;
use crate::asked::{check_text, no_condition, no_query, no_request_key};
use crate::error::ApiError;
use crate::limits::{
    BODY_BYTES_MAX, EVENT_STREAMS_MAX, LARGE_BODIES_MAX, LONG_REQUEST_TIME_MAX, REQUEST_TIME_MAX, SMALL_BODY_BYTES_MAX,
    SNAPSHOTS_MAX, TRANSACTION_BODY_BYTES_MAX,
};
use crate::places::Places;
use crate::request_id::{self, Ids};
use crate::routes::{
    cluster, components, events, failover, health, leases, locks, replication, running, snapshot, state, state_watch,
    tails, transactions,
};
use crate::{LogControl, Metrics};

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) ha: Ha,
    pub(crate) metrics: Metrics,
    pub(crate) log: Option<LogControl>,
    pub(crate) access: Arc<Access>,
    pub(crate) streams: Streams,
    pub(crate) snapshots: Snapshots,
    pub(crate) ids: Ids,
}

impl FromRef<Shared> for Ha {
    fn from_ref(shared: &Shared) -> Self {
        shared.ha.clone()
    }
}

/// What event streams share: the places of those that anybody may follow, and of those that show what is kept here; and
/// the end of all of them.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) events: Places,
    pub(crate) watches: Places,
    pub(crate) end: watch::Receiver<bool>,
}

impl Streams {
    pub(crate) fn new(end: watch::Receiver<bool>) -> Self {
        Self { events: Places::new(EVENT_STREAMS_MAX), watches: Places::new(EVENT_STREAMS_MAX), end }
    }
}

/// What saving and restoring the whole state share.
#[derive(Clone)]
pub(crate) struct Snapshots {
    pub(crate) saved: Arc<Semaphore>,
    pub(crate) restored: Arc<Semaphore>,
}

impl Snapshots {
    pub(crate) fn new() -> Self {
        let places = || Arc::new(Semaphore::new(SNAPSHOTS_MAX));
        Self { saved: places(), restored: places() }
    }
}

pub(crate) fn router(shared: Shared) -> Router {
    // A repetition of these cannot be told from a new call.
    let unnamed = Router::new()
        .route("/v1/cluster/transfer", post(cluster::transfer))
        .route("/v1/cluster/members/{node_id}", delete(cluster::remove))
        .route("/v1/failover/promote", post(failover::promote))
        .route("/v1/replication-tails/{name}", delete(tails::remove))
        .route("/v1/replication-promote", post(tails::promote))
        .route_layer(middleware::from_fn(refuse_query))
        .route("/v1/replication/{data_type}/{data_id}", put(replication::put).delete(replication::delete))
        .route_layer(middleware::from_fn(refuse_request_key));
    let set_key = put(state::put).layer(middleware::from_fn(refuse_query));
    let named = Router::new()
        .route("/v1/failover/switchover", post(failover::switchover))
        .route("/v1/failover/failback", post(failover::failback))
        .route("/v1/failover/groups", post(failover::add_group))
        .route("/v1/failover/pause", post(failover::pause))
        .route("/v1/failover/resume", post(failover::resume))
        .route("/v1/cluster/priority", post(running::priority))
        .route("/v1/config/log-level", post(running::log_level))
        .route("/v1/health/{component}/heartbeat", post(components::heartbeat))
        .route("/v1/state-txn", post(transactions::transact).layer(DefaultBodyLimit::max(TRANSACTION_BODY_BYTES_MAX)))
        .route("/v1/leases", post(leases::grant))
        .route("/v1/leases/{lease}", delete(leases::revoke))
        .route("/v1/leases/{lease}/renew", post(leases::renew))
        .route("/v1/locks/{resource}", post(locks::acquire))
        .route("/v1/locks/{resource}/{lock_id}", delete(locks::release))
        .route("/v1/locks/{resource}/{lock_id}/renew", post(locks::renew))
        .route_layer(middleware::from_fn(refuse_query))
        .route("/v1/state/{*key}", set_key.delete(state::delete));
    let changes = unnamed
        .merge(named)
        .route_layer(middleware::from_fn(refuse_conditions))
        .route_layer(middleware::from_fn_with_state(shared.clone(), allow_change));
    let data = Router::new()
        .route("/v1/state", get(state::list))
        .route("/v1/state/{*key}", get(state::get))
        .route("/v1/state-watch", get(state_watch::follow))
        .route("/v1/leases/{lease}", get(leases::info))
        .route("/v1/locks", get(locks::list))
        .route("/v1/locks/{resource}", get(locks::info))
        .route("/v1/replication/{data_type}", get(replication::list))
        .route("/v1/replication/{data_type}/{data_id}", get(replication::get))
        .route("/v1/replication-tails", get(tails::list))
        .route_layer(middleware::from_fn_with_state(shared.clone(), allow_read));
    let large_bodies = Arc::new(Semaphore::new(LARGE_BODIES_MAX));
    Router::new()
        .route("/health", get(health::document))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/health/primary", get(health::primary))
        .route("/health/replica", get(health::replica))
        .route("/metrics", get(health::metrics))
        .route("/v1/cluster", get(cluster::info))
        .route("/v1/cluster/leader", get(cluster::leader))
        .route("/v1/cluster/members", get(cluster::members))
        .route("/v1/failover", get(failover::status))
        .route("/v1/events", get(events::follow))
        .route("/v1/health", get(components::overall))
        .route("/v1/doctor", get(components::doctor))
        .route("/v1/replication", get(replication::status))
        .merge(data)
        .merge(changes)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(within_time))
        .merge(long(&shared))
        .layer(middleware::from_fn_with_state(large_bodies, within_memory))
        .layer(middleware::from_fn(refuse_what_is_no_text))
        .layer(middleware::from_fn_with_state(shared.ids.clone(), request_id::stamp))
        .layer(middleware::from_fn_with_state(shared.clone(), count))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

/// What takes as long as there are records.
fn long(shared: &Shared) -> Router<Shared> {
    let apply = post(tails::apply)
        .layer(middleware::from_fn(refuse_request_key))
        .layer(middleware::from_fn_with_state(shared.clone(), allow_change));
    let restore = post(snapshot::restore)
        .layer(DefaultBodyLimit::max(ARCHIVE_BYTES_MAX))
        .layer(middleware::from_fn(refuse_request_key))
        .layer(middleware::from_fn_with_state(shared.clone(), one_restore));
    // Also what only reads: it is everything at once.
    let snapshot =
        get(snapshot::save).merge(restore).layer(middleware::from_fn_with_state(shared.clone(), allow_change));
    let check = get(replication::check).layer(middleware::from_fn_with_state(shared.clone(), allow_read));
    Router::new()
        .route("/v1/replication-tails/{name}/apply", apply)
        .route("/v1/replication-check", check)
        .route("/v1/snapshot", snapshot)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(within_long_time))
}

/// Stands before everything that reads a path or a query.
async fn refuse_what_is_no_text(request: Request, next: Next) -> Result<Response, ApiError> {
    check_text(request.uri())?;
    Ok(next.run(request).await)
}

/// Stands before calls that do not remember who asked for them.
async fn refuse_request_key(headers: HeaderMap, request: Request, next: Next) -> Result<Response, ApiError> {
    no_request_key(&headers)?;
    Ok(next.run(request).await)
}

/// Stands before changes that say everything in their body.
async fn refuse_query(request: Request, next: Next) -> Result<Response, ApiError> {
    no_query(request.uri())?;
    Ok(next.run(request).await)
}

/// Stands before changes.
async fn refuse_conditions(headers: HeaderMap, request: Request, next: Next) -> Result<Response, ApiError> {
    no_condition(&headers)?;
    Ok(next.run(request).await)
}

/// Stands before every call that changes something.
async fn allow_change(
    State(shared): State<Shared>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    shared.access.allow_change(&headers)?;
    Ok(next.run(request).await)
}

/// Stands before every call that shows what people keep here.
async fn allow_read(
    State(shared): State<Shared>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    shared.access.allow_read(&headers)?;
    Ok(next.run(request).await)
}

/// Takes long bodies a few at a time.
async fn within_memory(
    State(places): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let most = request.body().size_hint().upper();
    if most.is_some_and(|bytes| bytes <= SMALL_BODY_BYTES_MAX as u64) {
        return Ok(next.run(request).await);
    }
    let _place = places.try_acquire_owned().map_err(|_| {
        let message = format!("{LARGE_BODIES_MAX} long bodies are being read already; try again later");
        ApiError::unavailable("too_many_bodies", message)
    })?;
    Ok(next.run(request).await)
}

/// Stands before the body of a state that is brought back.
async fn one_restore(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, ApiError> {
    let _place = shared.snapshots.restored.try_acquire_owned().map_err(|_| {
        ApiError::unavailable("too_many_bodies", "a state is being brought back already; try again later".to_owned())
    })?;
    Ok(next.run(request).await)
}

async fn within_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await.unwrap_or_else(|_| too_slow(REQUEST_TIME_MAX))
}

async fn within_long_time(request: Request, next: Next) -> Response {
    let limit = LONG_REQUEST_TIME_MAX;
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| too_slow(limit))
}

/// The answer when there is none in time.
pub(crate) fn too_slow(limit: Duration) -> Response {
    let message = format!("no answer within {} seconds; what was asked may still happen", limit.as_secs());
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", message).into_response()
}

async fn count(State(shared): State<Shared>, route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    shared.metrics.count_answer(route.as_ref().map_or("none", MatchedPath::as_str), response.status().as_u16());
    response
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not answer {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
