//! The whole control state.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Response;
use futures::StreamExt as _;
use ha_runtime::{Archive, Ha, RestoreAnyway, RestoreError, RestoreRefused};
use serde::Deserialize;
use serde_json::{Value, json};

use super::state::fresh;
use crate::asked::query;
use crate::error::ApiError;
use crate::limits::{SNAPSHOT_PART_BYTES, SNAPSHOT_PAUSE};
use crate::router::Shared;

/// Which cluster the state is of, and how far it was.
const CLUSTER_ID: HeaderName = HeaderName::from_static("ha-cluster-id");
const EPOCH: HeaderName = HeaderName::from_static("ha-epoch");

/// `GET /v1/snapshot`: a file that holds everything, with its checksum.
pub(crate) async fn save(State(Shared { ha, snapshots, .. }): State<Shared>) -> Result<Response, ApiError> {
    // Until it is sent: only then is it out of memory.
    let place = snapshots.saved.try_acquire_owned().map_err(|_| {
        ApiError::unavailable("too_many_bodies", "the state is being saved already; try again later".to_owned())
    })?;
    let archive = ha.save_snapshot().await;
    let archive = archive.map_err(|error| ApiError::unavailable("not_saved", error.to_string()).at(&ha))?;
    let pieces = archive.pieces();
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (CLUSTER_ID, archive.cluster_id().to_string()),
        (EPOCH, archive.epoch().to_string()),
    ];
    // In parts, between which others are served.
    let parts = pieces.into_iter().flat_map(|mut piece| {
        let next = move || (!piece.is_empty()).then(|| piece.split_to(piece.len().min(SNAPSHOT_PART_BYTES)));
        std::iter::from_fn(next)
    });
    let parts = futures::stream::iter(parts.inspect(move |_| _ = &place)).then(|part| async {
        tokio::time::sleep(SNAPSHOT_PAUSE).await;
        Ok::<_, std::convert::Infallible>(part)
    });
    Ok(fresh((headers, Body::from_stream(parts))))
}

/// The query of `POST /v1/snapshot`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restore {
    /// Also when it is the state of another cluster.
    #[serde(default)]
    foreign: bool,
    /// Also when this cluster holds something.
    #[serde(default)]
    overwrite: bool,
}

/// `POST /v1/snapshot`: brings such a file back.
pub(crate) async fn restore(
    State(ha): State<Ha>,
    asked: Result<Query<Restore>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let Restore { foreign, overwrite } = query(asked)?;
    let body = body.map_err(|rejection| ApiError::new(rejection.status(), "body_unreadable", rejection.body_text()))?;
    let archive = Archive::decode(body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "bad_snapshot", error.to_string()))?;
    ha.restore_snapshot(&archive, RestoreAnyway { foreign, overwrite }).await.map_err(|error| {
        let (status, code) = match &error {
            RestoreRefused::Foreign { .. } => (StatusCode::CONFLICT, "foreign_cluster"),
            RestoreRefused::HoldsState { .. } => (StatusCode::CONFLICT, "holds_state"),
            RestoreRefused::Failed(RestoreError::Unknown { .. }) => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "not_restored"),
        };
        ApiError::new(status, code, error.to_string()).at(&ha)
    })?;
    let (cluster_id, epoch) = (archive.cluster_id().to_string(), archive.epoch().0);
    Ok(Json(json!({"restored": true, "saved_from": cluster_id, "saved_at_epoch": epoch})))
}
