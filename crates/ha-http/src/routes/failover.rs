//! Who runs what, and moving it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use ha_runtime::{
    Ask, Decision, FailoverStatus, GroupError, GroupId, Ha, MoveError, Moved, NodeId, PauseError, RoleId, WriteError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::asked::request_key;
use crate::body::{JsonBody, Nothing};
use crate::error::ApiError;

/// `GET /v1/failover`.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    status: FailoverStatus,
    /// The last decisions and what became of them, the oldest first.
    history: Vec<Decision>,
}

/// What a move or a pause answers.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    success: bool,
    primary_node: Option<NodeId>,
    epoch: u64,
}

/// The body of `POST /v1/failover/switchover`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switchover {
    /// Where the role shall run; on the best other node when absent.
    #[serde(default)]
    to: Option<NodeId>,
    /// Which role, as `group` or `group/shard`; the first group when absent.
    #[serde(default)]
    role: Option<RoleId>,
}

/// The body of `POST /v1/failover/failback`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failback {
    /// Which role, as `group` or `group/shard`; the first group when absent.
    #[serde(default)]
    role: Option<RoleId>,
}

/// The body of `POST /v1/failover/groups`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Added {
    /// Its name; the group that is there from the start when there is no body.
    group: GroupId,
}

/// The body of `POST /v1/failover/promote`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Promote {
    /// The caller knows that the lost nodes are stopped, and accepts to lose what only they have.
    #[serde(default)]
    force: bool,
}

/// `GET /v1/failover`: everything that this node knows about roles.
pub(crate) async fn status(State(ha): State<Ha>) -> Json<Answer> {
    Json(Answer { status: ha.failover().status(), history: ha.failover().history() })
}

/// `POST /v1/failover/switchover`: answers once the role runs there.
pub(crate) async fn switchover(
    State(ha): State<Ha>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Switchover>,
) -> Result<Json<Done>, ApiError> {
    let (to, name) = (body.to, request_key(&headers)?);
    let role = body.role.map_or_else(|| ha.failover().first_role(), Ok)?;
    let moved = ha.failover().request(Ask::Switchover { role, to }, name).await;
    moved_to(&ha, moved)
}

/// `POST /v1/failover/failback`: answers once the role runs on the node of the highest priority.
pub(crate) async fn failback(
    State(ha): State<Ha>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Failback>,
) -> Result<Json<Done>, ApiError> {
    let name = request_key(&headers)?;
    let role = body.role.map_or_else(|| ha.failover().first_role(), Ok)?;
    let moved = ha.failover().request(Ask::Failback { role }, name).await;
    moved_to(&ha, moved)
}

/// `POST /v1/failover/groups`: answers once the group is there; some node, or each for a part, runs it soon.
pub(crate) async fn add_group(State(ha): State<Ha>, JsonBody(body): JsonBody<Added>) -> Result<Json<Value>, ApiError> {
    let failover = ha.failover().room().ok_or_else(off)?;
    failover.add_group(body.group.clone()).await.map_err(|error| with_leader(&ha, ApiError::from(error)))?;
    Ok(Json(json!({"success": true, "group": body.group})))
}

/// `POST /v1/failover/promote`: this node goes on without the voters that are lost. It starts anew for that.
pub(crate) async fn promote(
    State(ha): State<Ha>,
    JsonBody(body): JsonBody<Promote>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if !body.force {
        let message = "to go on without the lost nodes loses what only they have, and is safe only when they are \
                       certainly stopped: say {\"force\": true}; to move a role, use /v1/failover/switchover";
        return Err(ApiError::new(StatusCode::CONFLICT, "needs_force", message));
    }
    ha.failover().promote_forced().await.map_err(|error| with_leader(&ha, ApiError::from(error)))?;
    Ok((StatusCode::ACCEPTED, Json(json!({"success": true, "restarts": true}))))
}

/// `POST /v1/failover/pause`.
pub(crate) async fn pause(State(ha): State<Ha>, _: JsonBody<Option<Nothing>>) -> Result<Json<Done>, ApiError> {
    let paused = ha.failover().pause().await;
    now(&ha, paused)
}

/// `POST /v1/failover/resume`.
pub(crate) async fn resume(State(ha): State<Ha>, _: JsonBody<Option<Nothing>>) -> Result<Json<Done>, ApiError> {
    let resumed = ha.failover().resume().await;
    now(&ha, resumed)
}

fn moved_to(ha: &Ha, moved: Result<Moved, MoveError>) -> Result<Json<Done>, ApiError> {
    match moved {
        Ok(Moved { primary_node, epoch }) => {
            Ok(Json(Done { success: true, primary_node: Some(primary_node), epoch: epoch.0 }))
        }
        Err(error) => Err(with_leader(ha, ApiError::from(error))),
    }
}

fn now(ha: &Ha, done: Result<(), PauseError>) -> Result<Json<Done>, ApiError> {
    if !ha.failover().enabled() {
        return Err(off());
    }
    done.map_err(|error| with_leader(ha, ApiError::from(error)))?;
    let FailoverStatus { primary_node, epoch, .. } = ha.failover().status();
    Ok(Json(Done { success: true, primary_node, epoch: epoch.0 }))
}

fn off() -> ApiError {
    let message = "failover is off on this node: set FAILOVER_ENABLED=true";
    ApiError::new(StatusCode::CONFLICT, "failover_off", message)
}

fn with_leader(ha: &Ha, error: ApiError) -> ApiError {
    error.with_leader(ha.cluster().leader().map(|leader| leader.node_id))
}

impl From<MoveError> for ApiError {
    fn from(error: MoveError) -> Self {
        let (status, code) = match &error {
            MoveError::Refused { .. } => (StatusCode::CONFLICT, "not_moved"),
            MoveError::Failed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "move_failed"),
            MoveError::NoLeader { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
            _ => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<PauseError> for ApiError {
    fn from(error: PauseError) -> Self {
        let (status, code) = match &error {
            PauseError::NoLeader { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
            _ => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        let (status, code) = match &error {
            GroupError::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            GroupError::Write(WriteError::Unknown { .. }) => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
        };
        Self::new(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[test]
    fn what_may_still_happen_is_told_as_unknown() {
        let reason = || "no answer".to_owned();
        let status = |error: ApiError| error.into_response().status();
        let unknown = StatusCode::GATEWAY_TIMEOUT;
        assert_eq!(status(ApiError::from(PauseError::from(WriteError::Unknown { reason: reason() }))), unknown);
        assert_eq!(status(ApiError::from(GroupError::from(WriteError::Unknown { reason: reason() }))), unknown);
        let refused = PauseError::from(WriteError::NotApplied { reason: reason() });
        assert_eq!(status(ApiError::from(refused)), StatusCode::SERVICE_UNAVAILABLE);
    }
}
