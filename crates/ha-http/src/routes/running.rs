//! What can be changed on a node that runs. Neither change outlives the process.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ha_runtime::{Ha, PriorityError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::JsonBody;
use crate::error::ApiError;
use crate::router::Shared;

/// Highest priority, as `CLUSTER_NODE_PRIORITY` has it.
const PRIORITY_MAX: u16 = 1000;

type Answer = Result<Json<Value>, ApiError>;

/// The body of `POST /v1/config/log-level`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogLevel {
    /// A level, or levels by part, such as `info,ha_net=debug`.
    #[serde(default)]
    level: Option<String>,
}

/// `POST /v1/config/log-level`.
pub(crate) async fn log_level(State(shared): State<Shared>, JsonBody(body): JsonBody<LogLevel>) -> Answer {
    let Some(log) = &shared.log else {
        let message = "this program does not let its log be changed";
        return Err(ApiError::new(StatusCode::CONFLICT, "not_adjustable", message));
    };
    let level = body.level.ok_or_else(|| missing("level"))?;
    log.set(&level).map_err(|reason| ApiError::new(StatusCode::BAD_REQUEST, "bad_level", reason))?;
    tracing::info!(%level, "the log level was changed");
    Ok(Json(json!({"success": true, "level": level})))
}

/// The body of `POST /v1/cluster/priority`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Priority {
    /// Higher is likelier to lead; 0 never leads.
    #[serde(default)]
    priority: Option<u16>,
}

/// `POST /v1/cluster/priority`.
pub(crate) async fn priority(State(ha): State<Ha>, JsonBody(body): JsonBody<Priority>) -> Answer {
    let priority = body.priority.ok_or_else(|| missing("priority"))?;
    if priority > PRIORITY_MAX {
        let message = format!("a priority is a whole number from 0 to {PRIORITY_MAX}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_priority", message));
    }
    match ha.cluster().set_priority(priority).await {
        Ok(()) => Ok(Json(json!({"success": true, "priority": priority}))),
        Err(error) => {
            let code = if error == PriorityError::Witness { "not_eligible" } else { "cluster_off" };
            Err(ApiError::new(StatusCode::CONFLICT, code, error.to_string()))
        }
    }
}

fn missing(field: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body needs the field `{field}`"))
}
