//! What a caller says beside the body: its query, and its name for the request.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderMap, StatusCode};

use crate::error::ApiError;

/// The header with which a caller names its request.
const REQUEST_KEY: &str = "idempotency-key";

/// The caller's name for its request.
pub(crate) fn request_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(REQUEST_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_request_key", "the Idempotency-Key must be ASCII")),
    }
}

/// Refuses a name for a request where none is remembered: a caller who relies on that must hear so.
pub(crate) fn no_request_key(headers: &HeaderMap) -> Result<(), ApiError> {
    if !headers.contains_key(REQUEST_KEY) {
        return Ok(());
    }
    let message = "this call does not know a repetition by its Idempotency-Key: leave the header out, and look \
                   whether the first call took effect before you ask again";
    Err(ApiError::new(StatusCode::BAD_REQUEST, "no_request_key", message))
}

/// The query of a call.
pub(crate) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(query)| query)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "bad_query", error.body_text()))
}
