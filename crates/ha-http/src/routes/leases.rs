//! Leases with which keys end: any number of keys on one, kept alive by whoever began it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use ha_runtime::Ha;
use serde::Deserialize;
use serde_json::{Value, json};

use super::state::{fresh, lease_id, room, seconds, unread};
use crate::asked::request_key;
use crate::body::{JsonBody, Nothing};
use crate::error::ApiError;

/// The body of `POST /v1/leases`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    ttl_seconds: Option<f64>,
}

/// `POST /v1/leases`.
pub(crate) async fn grant(
    State(ha): State<Ha>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Grant>,
) -> Result<Json<Value>, ApiError> {
    let missing = || ApiError::new(StatusCode::BAD_REQUEST, "bad_json", "the body needs `ttl_seconds`");
    let ttl = seconds("ttl_seconds", body.ttl_seconds.ok_or_else(missing)?)?;
    let granted = room(&ha)?.grant_lease(ttl, request_key(&headers)?).await;
    let lease = granted.map_err(|error| ApiError::from(error).at(&ha))?;
    Ok(Json(json!({"lease": lease.to_string(), "ttl_seconds": ttl.as_secs_f64()})))
}

/// `POST /v1/leases/{lease}/renew`: it lasts for its whole length again.
pub(crate) async fn renew(
    State(ha): State<Ha>,
    Path(lease): Path<String>,
    _: JsonBody<Option<Nothing>>,
) -> Result<Json<Value>, ApiError> {
    let id = lease_id(&lease)?;
    room(&ha)?.renew_lease(id).await.map_err(|error| ApiError::from(error).at(&ha))?;
    Ok(Json(json!({"lease": lease})))
}

/// `DELETE /v1/leases/{lease}`: its keys go with it.
pub(crate) async fn revoke(
    State(ha): State<Ha>,
    Path(lease): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let (id, request) = (lease_id(&lease)?, request_key(&headers)?);
    room(&ha)?.revoke_lease_once(id, request).await.map_err(|error| ApiError::from(error).at(&ha))?;
    Ok(Json(json!({"revoked": true})))
}

/// `GET /v1/leases/{lease}`.
pub(crate) async fn info(State(ha): State<Ha>, Path(lease): Path<String>) -> Result<Response, ApiError> {
    let found = room(&ha)?.lease_info(lease_id(&lease)?).await.map_err(|error| unread(&ha, &error))?;
    let gone = || ApiError::from(ha_runtime::ha_state::LeaseError::NotFound);
    let info = found.ok_or_else(gone)?;
    Ok(fresh(Json(json!({
        "lease": lease,
        "ttl_seconds": info.ttl.as_secs_f64(),
        "remaining_seconds": info.remaining.map(|left| left.as_secs_f64()),
        "keys": info.keys.iter().map(|key| key.as_str()).collect::<Vec<_>>(),
        "keys_count": info.keys_count,
    }))))
}
