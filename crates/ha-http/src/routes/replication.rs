//! Records: how their copies are, and each of them.

use std::collections::BTreeSet;

use std::num::NonZeroUsize;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ha_runtime::{
    CheckReport, Consistency, Ha, NodeId, ReadError, Record, ReplicateError, Replication, ReplicationStatus,
    StoreError, Version, Written,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::asked::query;
use crate::error::ApiError;

/// Records of a page, unless asked otherwise.
const PAGE_ITEMS: usize = 100;

/// `GET /v1/replication`.
pub(crate) async fn status(State(ha): State<Ha>) -> Result<Json<ReplicationStatus>, ApiError> {
    running(&ha)?;
    ha.replication().status().await.map(Json).ok_or_else(|| off("replication is off on this node"))
}

/// `GET /v1/replication-check`: reads every record of this node, and says whether all fits together.
pub(crate) async fn check(State(ha): State<Ha>) -> Result<Json<CheckReport>, ApiError> {
    Ok(Json(running(&ha)?.check().await?))
}

pub(crate) fn running(ha: &Ha) -> Result<&Replication, ApiError> {
    ha.replication().running().map_err(off)
}

fn off(reason: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "replication_off", reason)
}

/// What a call may ask for instead of the configured level.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// As configured.
    #[default]
    Configured,
    /// On every disk in step.
    Strong,
    /// On the disks of a majority.
    Quorum,
    /// Of a read: this node's own copy, which may be behind.
    Stale,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    consistency: Level,
}

impl Level {
    fn of(self, replication: &Replication) -> Replication {
        match self {
            Level::Configured | Level::Stale => replication.clone(),
            Level::Strong => replication.with_consistency(Consistency::Strong),
            Level::Quorum => replication.with_consistency(Consistency::Quorum),
        }
    }

    fn of_write(self, replication: &Replication) -> Result<Replication, ApiError> {
        if matches!(self, Level::Stale) {
            let message = "only a read can be stale: leave consistency out, or ask for quorum or strong";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_query", message));
        }
        Ok(self.of(replication))
    }
}

/// A body that is JSON, kept as it was sent.
pub(crate) struct Document(Bytes);

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "a record has at most 1 MiB")
            }
            status => ApiError::new(status, "body_unreadable", "the body could not be read to its end"),
        })?;
        Self::try_from(body)
    }
}

impl TryFrom<Bytes> for Document {
    type Error = ApiError;

    fn try_from(body: Bytes) -> Result<Self, ApiError> {
        serde_json::from_slice::<&RawValue>(&body).map_err(|error| {
            ApiError::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body is not JSON: {error}"))
        })?;
        Ok(Self(body))
    }
}

/// `PUT /v1/replication/{data_type}/{data_id}`.
pub(crate) async fn put(
    State(ha): State<Ha>,
    Path((data_type, data_id)): Path<(String, String)>,
    asked: Result<Query<Asked>, QueryRejection>,
    body: Document,
) -> Result<Response, ApiError> {
    set(&ha, &data_type, &data_id, query(asked)?.consistency, body).await
}

/// Writes one record.
pub(crate) async fn set(
    ha: &Ha,
    data_type: &str,
    data_id: &str,
    level: Level,
    Document(body): Document,
) -> Result<Response, ApiError> {
    let replication = level.of_write(running(ha)?)?;
    written(ha, replication.replicate_bytes(data_type, data_id, body).await)
}

/// `DELETE /v1/replication/{data_type}/{data_id}`.
pub(crate) async fn delete(
    State(ha): State<Ha>,
    Path((data_type, data_id)): Path<(String, String)>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    let replication = query(asked)?.consistency.of_write(running(&ha)?)?;
    written(&ha, replication.delete(&data_type, &data_id).await)
}

/// The answer to a change.
#[derive(Serialize)]
struct Changed<'a> {
    version: Version,
    acknowledged_by: &'a BTreeSet<NodeId>,
}

fn written(ha: &Ha, written: Result<Written, ReplicateError>) -> Result<Response, ApiError> {
    match written {
        Ok(Written { version, acknowledged_by, .. }) => {
            let body = Json(Changed { version, acknowledged_by: &acknowledged_by });
            Ok(([(header::ETAG, tag(version))], body).into_response())
        }
        Err(error) => {
            let leader = ha.cluster().leader().map(|leader| leader.node_id);
            Err(ApiError::from(error).with_leader(leader))
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetAsked {
    #[serde(default)]
    consistency: Level,
    /// All values, in an object, and not the latest alone.
    #[serde(default)]
    siblings: bool,
}

/// `GET /v1/replication/{data_type}/{data_id}`: the JSON as it was put, its version in `ETag`; with `?siblings=true`
/// all values that are kept of it.
pub(crate) async fn get(
    State(ha): State<Ha>,
    Path((data_type, data_id)): Path<(String, String)>,
    asked: Result<Query<GetAsked>, QueryRejection>,
) -> Result<Response, ApiError> {
    read(&ha, &data_type, &data_id, query(asked)?).await
}

/// One record.
pub(crate) async fn read(ha: &Ha, data_type: &str, data_id: &str, asked: GetAsked) -> Result<Response, ApiError> {
    let replication = asked.consistency.of(running(ha)?);
    let found = match asked.consistency {
        Level::Stale => replication.get_local(data_type, data_id),
        _ => replication.get(data_type, data_id).await,
    };
    let Some(record) = found? else {
        let message = format!("there is no record {data_type}/{data_id}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_record", message));
    };
    let tag = tag(record.version);
    let beside = HeaderValue::from(record.siblings.len());
    if asked.siblings {
        let siblings: Vec<Value> = record.siblings.iter().map(|one| Value::of(one.version, &one.data)).collect();
        let body = All { value: Value::of(record.version, &record.data), siblings };
        return Ok(([(header::ETAG, tag), (SIBLINGS, beside)], Json(body)).into_response());
    }
    let kind = HeaderValue::from_static("application/json");
    let mut response = ([(header::CONTENT_TYPE, kind), (header::ETAG, tag)], record.data).into_response();
    if !record.siblings.is_empty() {
        response.headers_mut().insert(SIBLINGS, beside);
    }
    Ok(response)
}

/// How many values are beside the one that is answered.
const SIBLINGS: HeaderName = HeaderName::from_static("ha-siblings");

/// All values of a record.
#[derive(Serialize)]
struct All {
    #[serde(flatten)]
    value: Value,
    /// Those whose writers did not see the one above, nor were seen by its writer.
    siblings: Vec<Value>,
}

/// One value.
#[derive(Serialize)]
struct Value {
    version: Version,
    data: Box<RawValue>,
}

impl Value {
    fn of(version: Version, data: &Bytes) -> Self {
        Self { version, data: raw(data) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageAsked {
    after: Option<String>,
    limit: Option<NonZeroUsize>,
    #[serde(default)]
    consistency: Level,
}

/// A page of records.
#[derive(Serialize)]
pub(crate) struct Page {
    items: Vec<Item>,
    /// The `after` of the next page; none at the end.
    next_after: Option<String>,
}

#[derive(Serialize)]
struct Item {
    data_id: String,
    version: Version,
    data: Box<RawValue>,
    /// How many values are beside this one.
    #[serde(skip_serializing_if = "is_none")]
    siblings: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// `GET /v1/replication/{data_type}?after=&limit=`.
pub(crate) async fn list(
    State(ha): State<Ha>,
    Path(data_type): Path<String>,
    asked: Result<Query<PageAsked>, QueryRejection>,
) -> Result<Json<Page>, ApiError> {
    let asked = query(asked)?;
    let replication = asked.consistency.of(running(&ha)?);
    let (after, limit) = (asked.after.as_deref(), asked.limit.map_or(PAGE_ITEMS, NonZeroUsize::get));
    let records = match asked.consistency {
        Level::Stale => replication.list_local(&data_type, after, limit).await?,
        _ => replication.list(&data_type, after, limit).await?,
    };
    // Whether there is more is known from the next page only: an empty one is the end.
    let next_after = records.last().map(|record| record.key.data_id().to_owned());
    Ok(Json(Page { items: records.into_iter().map(item).collect(), next_after }))
}

fn item(record: Record) -> Item {
    let (data_id, data) = (record.key.data_id().to_owned(), raw(&record.data));
    Item { data_id, version: record.version, data, siblings: record.siblings.len() }
}

fn raw(data: &Bytes) -> Box<RawValue> {
    let text = String::from_utf8(data.to_vec()).ok();
    // What came through the Rust API need not be JSON: then it is shown as text, as far as it is one.
    let raw = text.and_then(|text| RawValue::from_string(text).ok()).or_else(|| {
        let text = String::from_utf8_lossy(data);
        serde_json::value::to_raw_value(&text).ok()
    });
    raw.unwrap_or_else(|| RawValue::NULL.to_owned())
}

fn tag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

impl From<ReplicateError> for ApiError {
    fn from(error: ReplicateError) -> Self {
        let message = error.to_string();
        let (status, code) = match error {
            ReplicateError::Key(_) => (StatusCode::BAD_REQUEST, "bad_key"),
            ReplicateError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            ReplicateError::Storage(error) => return error.into(),
            ReplicateError::NotReplicated { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not_replicated"),
            ReplicateError::Unconfirmed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not_acknowledged"),
            ReplicateError::Unknown { .. } => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "not_replicated"),
        };
        Self::new(status, code, message)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        let (status, code) = match error {
            ReadError::Key(_) => (StatusCode::BAD_REQUEST, "bad_key"),
            ReadError::NoQuorum { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no_quorum"),
            ReadError::Incomplete { .. } => (StatusCode::SERVICE_UNAVAILABLE, "copy_incomplete"),
            ReadError::Storage(error) => return error.into(),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "not_read"),
        };
        Self::new(status, code, message)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Full { .. } => Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message),
            StoreError::Damaged { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "records_damaged", message),
            _ => Self::unavailable("records_unavailable", message),
        }
    }
}
