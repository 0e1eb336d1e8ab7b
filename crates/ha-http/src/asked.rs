//! What a caller says beside the body: its query, and its name for the request.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderMap, StatusCode};

use crate::error::ApiError;

/// The header with which a caller names its request.
pub(crate) const REQUEST_KEY: &str = "idempotency-key";

/// The caller's name for its request.
pub(crate) fn request_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(REQUEST_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_request_key", "the Idempotency-Key must be ASCII")),
    }
}

/// The query of a call.
pub(crate) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(query)| query)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "bad_query", error.body_text()))
}
