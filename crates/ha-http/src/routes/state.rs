//! Shared keys.

use std::num::NonZeroUsize;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ha_runtime::Ha;
use ha_runtime::ha_state::limits::KEY_BYTES_MAX;
use ha_runtime::ha_state::{self, Deleted, IdError, KeyError, LeaseId, PutOptions, Revision};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::item::Item;
use crate::asked::{query, request_key};
use crate::body::JsonBody;
use crate::error::ApiError;

/// Keys on a page when the caller does not say how many.
const PAGE_ITEMS: usize = 100;

/// The room, where it is on.
pub(super) fn room(ha: &Ha) -> Result<&ha_state::State, ApiError> {
    if !ha.rooms().state {
        let message = "shared state is off on this node: set STATE_ENABLED=true";
        return Err(ApiError::new(StatusCode::CONFLICT, "state_off", message));
    }
    match ha.state().off_reason() {
        None => Ok(ha.state()),
        Some(reason) => Err(ApiError::unavailable("state_off", reason).at(ha)),
    }
}

/// A number of seconds.
pub(super) fn seconds(name: &str, number: f64) -> Result<Duration, ApiError> {
    Duration::try_from_secs_f64(number).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_seconds", format!("{name} must be a number of seconds from 0 on"))
    })
}

pub(super) fn bad_key(error: KeyError) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad_key", error.to_string())
}

/// Refuses what is longer than any key or its beginning.
fn check_length(key: &str) -> Result<(), ApiError> {
    let bytes = key.len();
    if bytes <= KEY_BYTES_MAX { Ok(()) } else { Err(bad_key(KeyError::TooLong { bytes })) }
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Consistency {
    /// It holds everything that was acknowledged before the call.
    #[default]
    Linearizable,
    /// It is this node's own copy.
    Stale,
}

/// The query of `GET /v1/state/{key}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Get {
    #[serde(default)]
    consistency: Consistency,
}

/// `GET /v1/state/{key}`.
pub(crate) async fn get(
    State(ha): State<Ha>,
    Path(key): Path<String>,
    asked: Result<Query<Get>, QueryRejection>,
) -> Result<Response, ApiError> {
    read(&ha, &key, query(asked)?.consistency).await
}

/// One key.
pub(crate) async fn read(ha: &Ha, key: &str, consistency: Consistency) -> Result<Response, ApiError> {
    let state = room(ha)?;
    check_length(key)?;
    let found = match consistency {
        Consistency::Linearizable => state.get(key).await.map_err(|error| unread(ha, &error))?,
        Consistency::Stale => state.get_local(key),
    };
    let found =
        found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "no_such_key", format!("there is no key {key}")))?;
    Ok(fresh(Json(Item::from(&*found))))
}

/// An answer that nobody may keep.
pub(super) fn fresh(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

/// The body of `PUT /v1/state/{key}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Put {
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    if_revision: Option<u64>,
    ttl_seconds: Option<f64>,
    lease: Option<String>,
}

/// A value that is there, `null` included.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// The answer to a change.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    revision: u64,
}

/// `PUT /v1/state/{key}`.
pub(crate) async fn put(
    State(ha): State<Ha>,
    Path(key): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Put>,
) -> Result<Json<Changed>, ApiError> {
    set(&ha, &key, &headers, body).await
}

/// Sets one key.
pub(crate) async fn set(ha: &Ha, key: &str, headers: &HeaderMap, body: Put) -> Result<Json<Changed>, ApiError> {
    let state = room(ha)?;
    let missing = || ApiError::new(StatusCode::BAD_REQUEST, "bad_json", "the body needs a `value`");
    let value: Box<str> = body.value.ok_or_else(missing)?.into();
    let options = PutOptions {
        if_revision: body.if_revision.map(Revision),
        lease: body.lease.as_deref().map(lease_id).transpose()?,
        ttl: body.ttl_seconds.map(|ttl| seconds("ttl_seconds", ttl)).transpose()?,
        request: request_key(headers)?,
    };
    let put = state.put_with(key, value.into_boxed_bytes().into_vec(), options).await;
    put.map(|revision| Json(Changed { revision: revision.0 })).map_err(|error| ApiError::from(error).at(ha))
}

/// The id of a lease, as it was told.
pub(super) fn lease_id(text: &str) -> Result<LeaseId, ApiError> {
    text.parse().map_err(|error: IdError| ApiError::new(StatusCode::BAD_REQUEST, "bad_lease", error.to_string()))
}

/// What `DELETE /v1/state/{key}` may carry, in its query or its body.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delete {
    if_revision: Option<u64>,
}

/// `DELETE /v1/state/{key}`.
pub(crate) async fn delete(
    State(ha): State<Ha>,
    Path(key): Path<String>,
    headers: HeaderMap,
    asked: Result<Query<Delete>, QueryRejection>,
    JsonBody(body): JsonBody<Delete>,
) -> Result<Json<Value>, ApiError> {
    let if_revision = query(asked)?.if_revision.or(body.if_revision).map(Revision);
    let deleted = room(&ha)?.delete_with(&key, if_revision, request_key(&headers)?).await;
    let Deleted { revision, existed } = deleted.map_err(|error| ApiError::from(error).at(&ha))?;
    Ok(Json(json!({"deleted": existed, "revision": revision.0})))
}

/// The query of `GET /v1/state`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<NonZeroUsize>,
    #[serde(default)]
    consistency: Consistency,
}

/// `GET /v1/state`: a page.
pub(crate) async fn list(
    State(ha): State<Ha>,
    asked: Result<Query<List>, QueryRejection>,
) -> Result<Response, ApiError> {
    let state = room(&ha)?;
    let List { prefix, after, limit, consistency } = query(asked)?;
    check_length(&prefix)?;
    let (after, limit) = (after.as_deref(), limit.map_or(PAGE_ITEMS, NonZeroUsize::get));
    let page = match consistency {
        Consistency::Linearizable => state.list(&prefix, after, limit).await.map_err(|error| unread(&ha, &error))?,
        Consistency::Stale => state.list_local(&prefix, after, limit),
    };
    #[derive(Serialize)]
    struct Answer<'a> {
        items: Vec<Item<'a>>,
        more: bool,
        revision: u64,
    }
    let items = page.items.iter().map(|item| Item::from(&**item)).collect();
    Ok(fresh(Json(Answer { items, more: page.more, revision: page.revision.0 })))
}

/// A read that was not answered.
pub(super) fn unread(ha: &Ha, error: &ha_state::ReadError) -> ApiError {
    ApiError::unavailable("no_quorum", error.to_string()).at(ha)
}
