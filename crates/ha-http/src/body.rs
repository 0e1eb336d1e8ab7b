//! Reads the JSON body of a request.

use std::fmt::Display;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A JSON body; an absent one is the type's default where `T` is an `Option`.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is longer than this call takes",
            ),
            status => ApiError::new(status, "body_unreadable", "the body could not be read to its end"),
        })?;
        json(&headers, &body).map(Self)
    }
}

/// The body of a call that takes none: absent, `null`, or an empty object.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// What a body holds that came with these headers.
pub(crate) fn json<T: DeserializeOwned + Default>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    if !is_json(headers) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "the body must be JSON, sent with the header `Content-Type: application/json`",
        ));
    }
    let unfit = |error: &dyn Display| {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body does not fit: {error}"))
    };
    // As an array, the values of an object without their names would do.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(unfit(&"it is an array, and must be an object"));
    }
    serde_json::from_slice(body).map_err(|error| unfit(&error))
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let kind = value.split(';').next().unwrap_or_default().trim();
    if kind == "application/json" {
        return true;
    }
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}
