//! The short way for the calls that programs make most: to read one key or one record, and to set one. They are answered
//! by the same code as through the table of routes, with the same limits, without the price of finding a route.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::asked::{no_condition, no_request_key};
use crate::body::json;
use crate::error::ApiError;
use crate::limits::{BODY_BYTES_MAX, REQUEST_TIME_MAX, SMALL_BODY_BYTES_MAX};
use crate::places::CameFrom;
use crate::router::{Shared, too_slow};
use crate::routes::replication::{self, Document, GetAsked, Level};
use crate::routes::state::{self, Consistency};

/// What is asked for.
#[derive(Clone, Copy)]
enum What<'a> {
    Key(&'a str),
    Record { data_type: &'a str, data_id: &'a str },
}

impl<'a> What<'a> {
    /// Of a path in which everything is written as it is.
    fn at(path: &'a str) -> Option<Self> {
        if path.contains('%') {
            return None;
        }
        if let Some(key) = path.strip_prefix("/v1/state/") {
            return (!key.is_empty()).then_some(Self::Key(key));
        }
        let (data_type, data_id) = path.strip_prefix("/v1/replication/")?.split_once('/')?;
        let is_one = !data_type.is_empty() && !data_id.is_empty() && !data_id.contains('/');
        is_one.then_some(Self::Record { data_type, data_id })
    }

    /// The route that is counted, as the table names it.
    fn route(self) -> &'static str {
        match self {
            Self::Key(_) => "/v1/state/{*key}",
            Self::Record { .. } => "/v1/replication/{data_type}/{data_id}",
        }
    }
}

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
        // A copy of no more than a reference: what is asked for outlives the request that is taken apart.
        let uri = is_short(&request).then(|| request.uri().clone());
        let Some(what) = uri.as_ref().and_then(|uri| What::at(uri.path())) else {
            request.extensions_mut().insert(from);
            return self.table.call(request).await.unwrap_or_else(|never: Infallible| match never {});
        };
        let mark = self.shared.ids.mark(&request);
        let answer = tokio::time::timeout(REQUEST_TIME_MAX, answer(&self.shared, what, request)).await;
        let response = answer
            .map_or_else(|_| too_slow(REQUEST_TIME_MAX), |answer| answer.unwrap_or_else(IntoResponse::into_response));
        self.shared.metrics.count_answer(what.route(), response.status().as_u16());
        mark.onto(response)
    }
}

/// Whether it asks nothing in a query, and reads, or sends a body of a length that is told and not large.
fn is_short(request: &Request<Body>) -> bool {
    request.uri().query().is_none()
        && matches!(*request.method(), Method::GET | Method::PUT)
        && request.body().size_hint().exact().is_some_and(|bytes| bytes <= SMALL_BODY_BYTES_MAX as u64)
}

async fn answer(shared: &Shared, what: What<'_>, request: Request<Body>) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let (ha, headers) = (&shared.ha, &head.headers);
    if head.method == Method::GET {
        shared.access.allow_read(headers)?;
        return match what {
            What::Key(key) => state::read(ha, key, Consistency::Linearizable).await,
            What::Record { data_type, data_id } => replication::read(ha, data_type, data_id, GetAsked::default()).await,
        };
    }
    shared.access.allow_change(headers)?;
    no_condition(headers)?;
    if matches!(what, What::Record { .. }) {
        no_request_key(headers)?;
    }
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "body_unreadable", "the body could not be read to its end")
    })?;
    match what {
        What::Key(key) => Ok(state::set(ha, key, headers, json(headers, &body)?).await?.into_response()),
        What::Record { data_type, data_id } => {
            replication::set(ha, data_type, data_id, Level::Configured, Document::try_from(body)?).await
        }
    }
}
