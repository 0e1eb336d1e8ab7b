//! Records without a leader, where one node takes writes: who does, and what a node had alone when it lost that.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ha_runtime::{Ha, Tail, TailApplied, TailError};
use serde::{Deserialize, Serialize};

use crate::body::JsonBody;
use crate::error::ApiError;
use crate::routes::replication::running;

/// `GET /v1/replication-tails`: changes that this node had alone when another one took over.
pub(crate) async fn list(State(ha): State<Ha>) -> Result<Json<Vec<Tail>>, ApiError> {
    Ok(Json(running(&ha)?.tails().await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Also those of records that were written since.
    #[serde(default)]
    all: bool,
}

/// `POST /v1/replication-tails/{name}/apply` `{"all"?: bool}`: makes the changes again.
pub(crate) async fn apply(
    State(ha): State<Ha>,
    Path(name): Path<String>,
    JsonBody(asked): JsonBody<Asked>,
) -> Result<Json<TailApplied>, ApiError> {
    Ok(Json(running(&ha)?.apply_tail(&name, asked.all).await?))
}

#[derive(Serialize)]
pub(crate) struct Done {
    success: bool,
}

/// `DELETE /v1/replication-tails/{name}`: they are listed no more; the file stays.
pub(crate) async fn remove(State(ha): State<Ha>, Path(name): Path<String>) -> Result<Json<Done>, ApiError> {
    running(&ha)?.drop_tail(&name).await?;
    Ok(Json(Done { success: true }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Promote {
    #[serde(default)]
    force: bool,
}

/// `POST /v1/replication-promote` `{"force": true}`: the node that is to take writes does so, though it may lack more
/// than is allowed. Asked of the leader.
pub(crate) async fn promote(State(ha): State<Ha>, JsonBody(asked): JsonBody<Promote>) -> Result<Json<Done>, ApiError> {
    if !asked.force {
        let message = "without force nothing is to be done: a node takes over by itself once it lacks little enough";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "not_forced", message));
    }
    if running(&ha)?.take_over_anyway() {
        return Ok(Json(Done { success: true }));
    }
    let message = "no node waits here to take writes: ask the leader, and only while GET /health says that one waits";
    let leader = ha.cluster().leader().map(|leader| leader.node_id);
    Err(ApiError::new(StatusCode::CONFLICT, "nobody_waits", message).with_leader(leader))
}

impl From<TailError> for ApiError {
    fn from(error: TailError) -> Self {
        let message = error.to_string();
        match error {
            TailError::NoSuch { .. } => Self::new(StatusCode::NOT_FOUND, "no_tail", message),
            TailError::Growing { .. } => Self::new(StatusCode::CONFLICT, "tail_growing", message),
            TailError::Write(error) => error.into(),
            _ => Self::unavailable("records_unavailable", message),
        }
    }
}
