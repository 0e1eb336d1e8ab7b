//! The short way for the two calls that programs make most: to read one key, and to set one. They are answered by the
//! same code as through the table of routes, with the same limits, without the price of finding a route.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::body::json;
use crate::error::ApiError;
use crate::limits::{BODY_BYTES_MAX, REQUEST_TIME_MAX, SMALL_BODY_BYTES_MAX};
use crate::places::CameFrom;
use crate::router::{Shared, too_slow};
use crate::routes::state;

/// What the path of a key begins with.
const KEYS: &str = "/v1/state/";
/// The route that is counted, as the table names it.
const ROUTE: &str = "/v1/state/{*key}";

/// All calls, by the short way or the long one. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ways {
    shared: Arc<Shared>,
    table: TowerToHyperService<Router>,
}

impl Ways {
    pub(crate) fn new(shared: Shared, table: Router) -> Self {
        Self { shared: Arc::new(shared), table: TowerToHyperService::new(table) }
    }

    /// Answers one call.
    pub(crate) async fn answer(&self, mut request: Request<Body>, from: CameFrom) -> Response {
        if !is_short(&request) {
            request.extensions_mut().insert(from);
            return self.table.call(request).await.unwrap_or_else(|never: Infallible| match never {});
        }
        let mark = self.shared.ids.mark(&request);
        let answer = tokio::time::timeout(REQUEST_TIME_MAX, answer(&self.shared, request)).await;
        let response = answer.map_or_else(|_| too_slow(), |answer| answer.unwrap_or_else(IntoResponse::into_response));
        self.shared.metrics.count_answer(ROUTE, response.status().as_u16());
        mark.onto(response)
    }
}

/// Whether it asks for one key that is written as it is, and sends a body of a length that is told and not large.
fn is_short(request: &Request<Body>) -> bool {
    let key = request.uri().path().strip_prefix(KEYS);
    key.is_some_and(|key| !key.is_empty() && !key.contains('%'))
        && request.uri().query().is_none()
        && matches!(*request.method(), Method::GET | Method::PUT)
        && request.body().size_hint().exact().is_some_and(|bytes| bytes <= SMALL_BODY_BYTES_MAX as u64)
}

async fn answer(shared: &Shared, request: Request<Body>) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let key = head.uri.path().strip_prefix(KEYS).unwrap_or_default();
    if head.method == Method::GET {
        shared.access.allow_read(&head.headers)?;
        return state::read(&shared.ha, key, state::Consistency::Linearizable).await;
    }
    shared.access.allow_change(&head.headers)?;
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "body_unreadable", "the body could not be read to its end")
    })?;
    let put = json(&head.headers, &body)?;
    Ok(state::set(&shared.ha, key, &head.headers, put).await?.into_response())
}
