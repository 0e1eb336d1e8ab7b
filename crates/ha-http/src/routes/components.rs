//! Checked components, and what the doctor says.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ha_runtime::Ha;
use ha_runtime::doctor::Diagnosis;
use ha_runtime::ha_health::{OverallHealth, Transition, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::JsonBody;
use crate::error::ApiError;

/// The answer of `GET /v1/health`.
#[derive(Debug, Serialize)]
pub(crate) struct Components {
    /// False when the health monitor is off.
    enabled: bool,
    #[serde(flatten)]
    overall: OverallHealth,
    /// The last changes, the oldest first.
    history: Vec<Transition>,
}

/// `GET /v1/health`: every component, and what became of them.
pub(crate) async fn overall(State(ha): State<Ha>) -> Json<Components> {
    let health = ha.health();
    Json(Components { enabled: health.enabled(), overall: health.overall(), history: health.history() })
}

/// The body of `POST /v1/health/{component}/heartbeat`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Heartbeat {
    /// How the component is; healthy when absent.
    #[serde(default)]
    status: Report,
    /// Why, as one sentence.
    #[serde(default)]
    message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    #[default]
    Healthy,
    Degraded,
    Unhealthy,
}

/// `POST /v1/health/{component}/heartbeat`: a component that reports by itself does so.
pub(crate) async fn heartbeat(
    State(ha): State<Ha>,
    Path(component): Path<String>,
    JsonBody(body): JsonBody<Heartbeat>,
) -> Result<Json<Value>, ApiError> {
    let reason = || body.message.clone().unwrap_or_else(|| "it says so".to_owned());
    let verdict = match body.status {
        Report::Healthy => Verdict::Healthy(body.message),
        Report::Degraded => Verdict::Degraded(reason()),
        Report::Unhealthy => Verdict::Failed(reason()),
    };
    if !ha.health().enabled() {
        let message = "the health monitor of this node is off: set HEALTH_MONITOR_ENABLED=true";
        return Err(ApiError::new(StatusCode::CONFLICT, "health_off", message));
    }
    if ha.health().report(&component, verdict) {
        return Ok(Json(json!({"success": true})));
    }
    let message =
        format!("no component {component:?} reports by itself here: name it in HEALTH_CHECKS=NAME=heartbeat:TIME");
    Err(ApiError::new(StatusCode::NOT_FOUND, "no_such_component", message))
}

/// `GET /v1/doctor`: what is wrong, why, and what mends it.
pub(crate) async fn doctor(State(ha): State<Ha>) -> Json<Diagnosis> {
    Json(ha.diagnosis().await)
}
