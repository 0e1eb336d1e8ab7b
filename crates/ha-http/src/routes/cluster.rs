//! The cluster as this node sees it, and what can be asked of it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ha_runtime::{ClusterInfo, Ha, Member, Node, NodeId};
use serde::{Deserialize, Serialize};

use crate::body::JsonBody;
use crate::error::ApiError;

/// `GET /v1/cluster`.
pub(crate) async fn info(State(ha): State<Ha>) -> Json<ClusterInfo> {
    Json(ha.cluster().info())
}

/// `GET /v1/cluster/leader`.
pub(crate) async fn leader(State(ha): State<Ha>) -> Result<Json<Node>, ApiError> {
    let view = ha.cluster().view();
    match &view.leader {
        Some(leader) if view.leader_is_live => Ok(Json(leader.clone())),
        _ => Err(ApiError::unavailable("no_leader", "there is no leader now")),
    }
}

/// `GET /v1/cluster/members`.
pub(crate) async fn members(State(ha): State<Ha>) -> Json<Vec<Member>> {
    Json(ha.cluster().members())
}

/// `DELETE /v1/cluster/members/{node_id}`: answers once the member is out for good.
pub(crate) async fn remove(State(ha): State<Ha>, Path(node): Path<String>) -> Result<Json<Removed>, ApiError> {
    let Ok(node) = node.parse::<NodeId>() else {
        let message = format!("{node:?} is not a member of this cluster");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_a_member", message));
    };
    match ha.cluster().remove(node.clone()).await {
        Ok(()) => Ok(Json(Removed { removed: node })),
        Err(error) => Err(ApiError::from(error).with_leader(ha.cluster().leader().map(|leader| leader.node_id))),
    }
}

/// The answer to a removal.
#[derive(Debug, Serialize)]
pub(crate) struct Removed {
    /// Who is no member any more.
    removed: NodeId,
}

/// The body of `POST /v1/cluster/transfer`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transfer {
    /// Who shall lead; the best candidate when absent.
    #[serde(default)]
    to: Option<NodeId>,
}

/// `POST /v1/cluster/transfer`: answers with the new leader once it leads.
pub(crate) async fn transfer(State(ha): State<Ha>, JsonBody(body): JsonBody<Transfer>) -> Result<Json<Node>, ApiError> {
    if !ha.cluster().enabled() {
        let message = "the cluster of this node is off: set CLUSTER_ENABLED=true";
        return Err(ApiError::new(StatusCode::CONFLICT, "cluster_off", message));
    }
    match ha.cluster().transfer_leader(body.to).await {
        Ok(leader) => Ok(Json(leader)),
        Err(error) => {
            let leader = ha.cluster().leader().map(|leader| leader.node_id);
            Err(ApiError::from(error).with_leader(leader))
        }
    }
}
