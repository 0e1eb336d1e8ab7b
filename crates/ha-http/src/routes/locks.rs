//! Locks.

use std::num::NonZeroUsize;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use ha_runtime::Ha;
use ha_runtime::ha_state::{AcquireError, HoldError, LockId, LockInfo};
use serde::Deserialize;
use serde_json::{Value, json};

use super::state::{fresh, room, seconds, unread};
use crate::asked::{query, request_key};
use crate::body::{JsonBody, Nothing};
use crate::error::ApiError;
use crate::limits::LOCK_WAIT_MAX;

/// Length of the lease and time to wait, when the caller does not say.
const TTL_SECONDS: f64 = 30.0;
const TIMEOUT_SECONDS: f64 = 10.0;
/// Locks on a page when the caller does not say how many.
const PAGE_ITEMS: usize = 100;

/// The body of `POST /v1/locks/{resource}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acquire {
    ttl_seconds: Option<f64>,
    timeout_seconds: Option<f64>,
    lock_delay_seconds: Option<f64>,
    holder: Option<String>,
    #[serde(default)]
    keep_place: bool,
}

/// `POST /v1/locks/{resource}`. From the answer on its caller renews it. A caller that hangs up leaves the queue.
pub(crate) async fn acquire(
    State(ha): State<Ha>,
    Path(resource): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Acquire>,
) -> Result<Json<Value>, ApiError> {
    let state = room(&ha)?;
    let ttl = seconds("ttl_seconds", body.ttl_seconds.unwrap_or(TTL_SECONDS))?;
    let timeout = seconds("timeout_seconds", body.timeout_seconds.unwrap_or(TIMEOUT_SECONDS))?;
    if timeout > LOCK_WAIT_MAX {
        let most = LOCK_WAIT_MAX.as_secs();
        let message = format!("one call waits for at most {most} seconds: ask again, with the same Idempotency-Key");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_seconds", message));
    }
    let delay = body.lock_delay_seconds.map_or(Ok(Duration::ZERO), |delay| seconds("lock_delay_seconds", delay))?;
    let mut request = state.lock(&resource).ttl(ttl).timeout(timeout).lock_delay(delay);
    if let Some(holder) = body.holder {
        request = request.owner(holder);
    }
    let key = request_key(&headers)?;
    if body.keep_place {
        if key.is_none() {
            let message = "only a request with an Idempotency-Key can keep its place";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_request_key", message));
        }
        request = request.keep_place();
    }
    if let Some(key) = key {
        request = request.request(key);
    }
    let guard = request.acquire().await.map_err(|error| ApiError::from(error).at(&ha))?;
    let id = guard.into_id();
    Ok(Json(json!({
        "lock_id": id.to_string(), "fencing_token": id.token.0, "ttl_seconds": ttl.as_secs_f64(),
    })))
}

fn lock_id(text: &str) -> Result<LockId, ApiError> {
    // What is no id at all is certainly not the id of the holder.
    text.parse().map_err(|_| ApiError::from(HoldError::NotHeld))
}

/// `POST /v1/locks/{resource}/{lock_id}/renew`.
pub(crate) async fn renew(
    State(ha): State<Ha>,
    Path((resource, id)): Path<(String, String)>,
    _: JsonBody<Option<Nothing>>,
) -> Result<Json<Value>, ApiError> {
    let id = lock_id(&id)?;
    room(&ha)?.renew_lock(&resource, id).await.map_err(|error| ApiError::from(error).at(&ha))?;
    Ok(Json(json!({"lock_id": id.to_string(), "fencing_token": id.token.0})))
}

/// `DELETE /v1/locks/{resource}/{lock_id}`.
pub(crate) async fn release(
    State(ha): State<Ha>,
    Path((resource, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let (id, request) = (lock_id(&id)?, request_key(&headers)?);
    room(&ha)?.release_lock_once(&resource, id, request).await.map_err(|error| ApiError::from(error).at(&ha))?;
    Ok(Json(json!({"released": true})))
}

/// The query of `GET /v1/locks`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    after: Option<String>,
    limit: Option<NonZeroUsize>,
}

/// `GET /v1/locks`.
pub(crate) async fn list(
    State(ha): State<Ha>,
    asked: Result<Query<List>, QueryRejection>,
) -> Result<Response, ApiError> {
    let List { after, limit } = query(asked)?;
    let listed = room(&ha)?.locks(after.as_deref(), limit.map_or(PAGE_ITEMS, NonZeroUsize::get)).await;
    let (locks, more) = listed.map_err(|error| unread(&ha, &error))?;
    let locks: Vec<Value> = locks.iter().map(|lock| shown(lock, json!(lock.waiters_count))).collect();
    Ok(fresh(Json(json!({"locks": locks, "more": more}))))
}

/// `GET /v1/locks/{resource}`.
pub(crate) async fn info(State(ha): State<Ha>, Path(resource): Path<String>) -> Result<Response, ApiError> {
    let found = room(&ha)?.lock_info(&resource).await.map_err(|error| unread(&ha, &error))?;
    let Some(lock) = found else {
        let message = format!("nobody holds {resource} or waits for it");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_held", message));
    };
    let waiters = json!(lock.waiters.iter().map(|waiter| &**waiter).collect::<Vec<_>>());
    Ok(fresh(Json(shown(&lock, waiters))))
}

fn shown(lock: &LockInfo, waiters: Value) -> Value {
    let holder = lock.holder.as_ref();
    json!({
        "resource": lock.name.as_str(),
        "holder": holder.map(|holder| &*holder.owner),
        "fencing_token": lock.token.0,
        "ttl_seconds": holder.map(|holder| holder.ttl.as_secs_f64()),
        "remaining_seconds": holder.and_then(|holder| holder.remaining).map(|left| left.as_secs_f64()),
        "waiters_count": lock.waiters_count,
        "waiters": waiters,
    })
}

impl From<AcquireError> for ApiError {
    fn from(error: AcquireError) -> Self {
        let (status, code) = match &error {
            AcquireError::TimedOut => (StatusCode::CONFLICT, "not_acquired"),
            AcquireError::Lost => (StatusCode::CONFLICT, "place_lost"),
            AcquireError::Over => (StatusCode::GONE, "lock_over"),
            AcquireError::TooManyWaiters => (StatusCode::SERVICE_UNAVAILABLE, "too_many_waiters"),
            AcquireError::TooMany => (StatusCode::SERVICE_UNAVAILABLE, "too_many_leases"),
            AcquireError::Name(_) => (StatusCode::BAD_REQUEST, "bad_name"),
            AcquireError::Ttl => (StatusCode::BAD_REQUEST, "bad_seconds"),
            AcquireError::Owner => (StatusCode::BAD_REQUEST, "bad_holder"),
            AcquireError::RequestKey(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_request_key"),
            AcquireError::Unknown { .. } => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<HoldError> for ApiError {
    fn from(error: HoldError) -> Self {
        let (status, code) = match &error {
            HoldError::NotHeld => (StatusCode::NOT_FOUND, "not_held"),
            HoldError::Name(_) => (StatusCode::BAD_REQUEST, "bad_name"),
            HoldError::RequestKey(error) => return error.clone().into(),
            HoldError::Unknown { .. } => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}
