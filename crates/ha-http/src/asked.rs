//! What a caller says beside the body: its query, and its name for the request.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};

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

/// Refuses a query where none is read: a caller who sends one relies on what it says.
pub(crate) fn no_query(uri: &Uri) -> Result<(), ApiError> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(_) => {
            let message = "this call reads no query: what it takes goes into the body";
            Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_query", message))
        }
    }
}

/// Conditions of HTTP on a change.
const CONDITIONS: [HeaderName; 3] = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];

/// Refuses conditions that no call reads: a caller who sends one relies on it.
pub(crate) fn no_condition(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(name) = CONDITIONS.iter().find(|name| headers.contains_key(*name)) else { return Ok(()) };
    let message =
        format!("no call reads the header {name}: the condition of a key is `if_revision`; records have none");
    Err(ApiError::new(StatusCode::BAD_REQUEST, "no_condition", message))
}

/// Refuses a path or a query that is not text.
pub(crate) fn check_text(uri: &Uri) -> Result<(), ApiError> {
    let refuse = |code, what| Err(ApiError::new(StatusCode::BAD_REQUEST, code, format!("the {what} is not UTF-8")));
    if !is_text(uri.path()) {
        return refuse("bad_path", "path");
    }
    if !uri.query().is_none_or(is_text) {
        return refuse("bad_query", "query");
    }
    Ok(())
}

/// Whether it is UTF-8 once each `%` with two digits is the byte that it stands for.
fn is_text(escaped: &str) -> bool {
    if !escaped.contains('%') {
        return true;
    }
    let mut rest = escaped.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, behind @ ..] = rest {
        let digits = behind.first_chunk::<2>().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let escape = digits.filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// The query of a call.
pub(crate) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query.map(|Query(query)| query).map_err(|error| {
        let text = error.body_text();
        let what = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        ApiError::new(StatusCode::BAD_REQUEST, "bad_query", format!("the query does not fit: {what}"))
    })
}
