//! How this node is: for people, probes, balancers and monitoring.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ha_runtime::document::HealthStatus;
use ha_runtime::{Ha, MemberRole};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::router::Shared;

/// The content type of Prometheus text.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

type Answer = Result<Json<Value>, ApiError>;

/// `GET /health`: everything, 503 when unhealthy.
pub(crate) async fn document(State(ha): State<Ha>) -> Response {
    let document = ha.health_document();
    let status = match document.status {
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(document)).into_response()
}

/// `GET /health/live`: that this answers is the answer. A node without quorum is alive: to restart it helps nobody.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({"status": "live"}))
}

/// `GET /health/ready`: 200 while this node takes part under a live leader.
pub(crate) async fn ready(State(ha): State<Ha>) -> Answer {
    let document = ha.health_document();
    let view = ha.cluster().view();
    let joined = !ha.cluster().enabled() || (view.role.is_some() && view.leader.is_some() && view.leader_is_live);
    if document.status == HealthStatus::Unhealthy || ha.is_stopping() || !joined {
        let reason = document.reasons.first().cloned();
        return Err(ApiError::unavailable(
            "not_ready",
            reason.unwrap_or_else(|| "this node has no live leader".to_owned()),
        ));
    }
    Ok(Json(json!({"status": "ready"})))
}

/// `GET /health/primary`: 200 on the leader, while it can commit.
pub(crate) async fn primary(State(ha): State<Ha>) -> Answer {
    in_role(&ha, "primary", |role| role == MemberRole::Leader)
}

/// `GET /health/replica`: 200 on a node that follows a live leader and keeps data.
pub(crate) async fn replica(State(ha): State<Ha>) -> Answer {
    in_role(&ha, "replica", |role| matches!(role, MemberRole::Follower | MemberRole::Learner))
}

fn in_role(ha: &Ha, name: &'static str, fits: impl Fn(MemberRole) -> bool) -> Answer {
    let view = ha.cluster().view();
    let serves = view.leader.is_some() && view.leader_is_live && view.stopped.is_none() && !ha.is_stopping();
    if serves && view.role.is_some_and(fits) {
        return Ok(Json(json!({"status": name, "node_id": view.node_id})));
    }
    let code = if name == "primary" { "not_primary" } else { "not_replica" };
    let leader = view.leader.as_ref().map(|leader| leader.node_id.clone());
    Err(ApiError::unavailable(code, format!("{} is no {name} now", view.node_id)).with_leader(leader))
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], shared.metrics.render(&shared.ha)).into_response()
}
