//! How this node is: for people, probes, balancers and monitoring.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ha_runtime::document::HealthStatus;
use ha_runtime::{GroupId, Ha, MemberRole, RoleId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::asked::query;
use crate::error::ApiError;
use crate::router::Shared;

/// The content type of Prometheus text.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long the leader is asked how far behind this node is: a probe does not wait for ever.
const LAG_TIME_MAX: Duration = Duration::from_secs(1);

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

/// How far behind a node may be.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Lag {
    /// Records that its copy may lack.
    #[serde(default)]
    max_lag: Option<u64>,
}

/// Refuses when this node's copy of the records lacks more than the caller accepts, or nobody can say.
async fn check_lag(ha: &Ha, max_lag: Option<u64>) -> Result<(), ApiError> {
    let Some(most) = max_lag.filter(|_| ha.replication().running().is_ok()) else { return Ok(()) };
    let status = tokio::time::timeout(LAG_TIME_MAX, ha.replication().status()).await.ok().flatten();
    let view = ha.cluster().view();
    let node = status.and_then(|status| status.nodes.into_iter().find(|node| node.node_id == view.node_id));
    match node.and_then(|node| node.lag_items) {
        Some(lag) if lag <= most => Ok(()),
        Some(lag) => Err(ApiError::unavailable("lags", format!("this copy lacks {lag} records; {most} are accepted"))),
        None => Err(ApiError::unavailable("lags", "nobody can say now how far behind this copy is")),
    }
}

/// `GET /health/ready`: 200 while this node takes part under a live leader, and its copy lacks no more than `max_lag`
/// records.
pub(crate) async fn ready(State(ha): State<Ha>, asked: Result<Query<Lag>, QueryRejection>) -> Answer {
    let asked = query(asked)?;
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
    check_lag(&ha, asked.max_lag).await?;
    Ok(Json(json!({"status": "ready"})))
}

/// Which role a balancer asks for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Group {
    /// The group, or one shard of it as `group/shard`; `default` when absent.
    #[serde(default)]
    group: Option<RoleId>,
    /// Records that a replica may lack.
    #[serde(default)]
    max_lag: Option<u64>,
}

impl Group {
    fn runs_on(&self, ha: &Ha) -> bool {
        let group = self.group.clone().unwrap_or_else(|| GroupId::default().into());
        ha.failover().runs(&group)
    }
}

/// `GET /health/primary`: 200 on the node that runs the group, or any shard of it, while its lease holds; without
/// failover on the leader, while it can commit.
pub(crate) async fn primary(State(ha): State<Ha>, asked: Result<Query<Group>, QueryRejection>) -> Answer {
    let asked = query(asked)?;
    if ha.failover().enabled() {
        return if asked.runs_on(&ha) { serves(&ha, "primary") } else { does_not(&ha, "primary") };
    }
    in_role(&ha, "primary", |role| role == MemberRole::Leader)
}

/// `GET /health/replica`: 200 on a node that keeps data under a live leader, and does not run the group; without
/// failover on one that follows. Its copy lacks no more than `max_lag` records.
pub(crate) async fn replica(State(ha): State<Ha>, asked: Result<Query<Group>, QueryRejection>) -> Answer {
    let asked = query(asked)?;
    check_lag(&ha, asked.max_lag).await?;
    if ha.failover().enabled() {
        let runs = asked.runs_on(&ha);
        return in_role(&ha, "replica", |role| !runs && role != MemberRole::Witness);
    }
    in_role(&ha, "replica", |role| matches!(role, MemberRole::Follower | MemberRole::Learner))
}

fn in_role(ha: &Ha, name: &'static str, fits: impl Fn(MemberRole) -> bool) -> Answer {
    let view = ha.cluster().view();
    let serves = view.leader.is_some() && view.leader_is_live && view.stopped.is_none() && !ha.is_stopping();
    if serves && view.role.is_some_and(fits) { self::serves(ha, name) } else { does_not(ha, name) }
}

fn serves(ha: &Ha, name: &'static str) -> Answer {
    Ok(Json(json!({"status": name, "node_id": ha.cluster().view().node_id})))
}

fn does_not(ha: &Ha, name: &'static str) -> Answer {
    let view = ha.cluster().view();
    let code = if name == "primary" { "not_primary" } else { "not_replica" };
    let leader = view.leader.as_ref().map(|leader| leader.node_id.clone());
    Err(ApiError::unavailable(code, format!("{} is no {name} now", view.node_id)).with_leader(leader))
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], shared.metrics.render(&shared.ha)).into_response()
}
