//! The short way for the two calls that programs make most: to read one key, and to set one. They are answered by the
//! same code as through the table of routes, with the same limits, without the price of finding a route.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, Either};
use hyper::body::{Body as _, Incoming};
use hyper::service::Service;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};

use crate::body::json;
use crate::error::ApiError;
use crate::limits::{BODY_BYTES_MAX, REQUEST_TIME_MAX};
use crate::router::{Shared, too_slow};
use crate::routes::state;

/// What the path of a key begins with.
const KEYS: &str = "/v1/state/";
/// The route that is counted, as the table names it.
const ROUTE: &str = "/v1/state/{*key}";

/// All calls, by the short way or the long one. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ways {
    shared: std::sync::Arc<Shared>,
    table: TowerToHyperService<Router>,
}

impl Ways {
    pub(crate) fn new(shared: Shared, table: Router) -> Self {
        Self { shared: std::sync::Arc::new(shared), table: TowerToHyperService::new(table) }
    }
}

impl Service<Request<Incoming>> for Ways {
    type Response = Response;
    type Error = Infallible;
    type Future =
        Either<BoxFuture<'static, Result<Response, Infallible>>, TowerToHyperServiceFuture<Router, Request<Incoming>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if !is_short(&request) {
            return Either::Right(self.table.call(request));
        }
        let shared = self.shared.clone();
        Either::Left(Box::pin(async move {
            let answer = tokio::time::timeout(REQUEST_TIME_MAX, answer(&shared, request)).await;
            let response =
                answer.map_or_else(|_| too_slow(), |answer| answer.unwrap_or_else(IntoResponse::into_response));
            shared.metrics.count_answer(ROUTE, response.status().as_u16());
            Ok(response)
        }))
    }
}

/// Whether it asks for one key that is written as it is, and sends a body of a length that is allowed.
fn is_short(request: &Request<Incoming>) -> bool {
    let key = request.uri().path().strip_prefix(KEYS);
    key.is_some_and(|key| !key.is_empty() && !key.contains('%'))
        && request.uri().query().is_none()
        && matches!(*request.method(), Method::GET | Method::PUT)
        && request.body().size_hint().exact().is_some_and(|bytes| bytes <= BODY_BYTES_MAX as u64)
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let key = head.uri.path().strip_prefix(KEYS).unwrap_or_default();
    if head.method == Method::GET {
        return state::read(&shared.ha, key, state::Consistency::Linearizable).await;
    }
    shared.access.allow_change(&head.headers)?;
    let body = axum::body::to_bytes(Body::new(body), BODY_BYTES_MAX).await.map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "body_unreadable", "the body could not be read to its end")
    })?;
    let put = json(&head.headers, &body)?;
    Ok(state::set(&shared.ha, key, &head.headers, put).await?.into_response())
}
