//! What a caller is told when a request fails.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ha_runtime::ha_state::{ChangeError, LeaseError, RequestKeyError, TxnError};
use ha_runtime::{Ha, LeaveError, NodeId, TransferError};
use serde::Serialize;

/// An answer that is not a success: `{"error": {"code", "message", "leader"?}}` with a fitting status.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

#[derive(Debug, Serialize)]
struct ErrorBody {
    /// For programs, in snake_case; never changes its meaning.
    code: &'static str,
    /// For people: one sentence.
    message: String,
    /// Where to ask instead, when that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<NodeId>,
}

#[derive(Serialize)]
struct Envelope {
    error: ErrorBody,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { code, message: message.into(), leader: None } }
    }

    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    pub(crate) fn with_leader(mut self, leader: Option<NodeId>) -> Self {
        self.body.leader = leader;
        self
    }
}

impl ApiError {
    /// Names the leader where asking it could help: when it leads for all that is known, and this node could not reach it.
    pub(crate) fn at(self, ha: &Ha) -> Self {
        if !matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) {
            return self;
        }
        let view = ha.cluster().view();
        let other = view.leader.as_ref().filter(|leader| view.leader_is_live && leader.node_id != view.node_id);
        self.with_leader(other.map(|leader| leader.node_id.clone()))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(Envelope { error: self.body })).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<LeaveError> for ApiError {
    fn from(error: LeaveError) -> Self {
        let (status, code) = match &error {
            LeaveError::Refused { .. } => (StatusCode::CONFLICT, "not_removed"),
            LeaveError::NotAMember { .. } => (StatusCode::NOT_FOUND, "not_a_member"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "removal_unknown"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<TransferError> for ApiError {
    fn from(error: TransferError) -> Self {
        let (status, code) = match &error {
            TransferError::NoLeader => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
            TransferError::NotAMember { .. } => (StatusCode::NOT_FOUND, "not_a_member"),
            TransferError::NotEligible { .. } => (StatusCode::CONFLICT, "not_eligible"),
            TransferError::NotReady { .. } => (StatusCode::CONFLICT, "not_ready"),
            TransferError::Failed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "transfer_failed"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "transfer_failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let (status, code) = match &error {
            ChangeError::Condition { .. } => (StatusCode::PRECONDITION_FAILED, "condition_failed"),
            ChangeError::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            ChangeError::ValueTooLong { .. } | ChangeError::TooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "value_too_long")
            }
            ChangeError::Key(_) | ChangeError::Txn(TxnError::Prefix(_)) => (StatusCode::BAD_REQUEST, "bad_key"),
            ChangeError::Txn(TxnError::TooManyOperations { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_many_operations")
            }
            ChangeError::Txn(TxnError::ValueTooLong { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "value_too_long"),
            ChangeError::Txn(TxnError::SetTwice { .. }) => (StatusCode::BAD_REQUEST, "set_twice"),
            ChangeError::TooMuchRead => (StatusCode::PAYLOAD_TOO_LARGE, "too_much_read"),
            ChangeError::TooManyKeys => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_keys"),
            ChangeError::TooManyLeaseKeys => (StatusCode::CONFLICT, "too_many_keys"),
            ChangeError::LeaseOfALock => (StatusCode::CONFLICT, "lease_of_a_lock"),
            ChangeError::NoLease => (StatusCode::CONFLICT, "lease_over"),
            ChangeError::LeaseAndTtl => (StatusCode::BAD_REQUEST, "bad_lease"),
            ChangeError::Ttl => (StatusCode::BAD_REQUEST, "bad_seconds"),
            ChangeError::TooManyLeases => (StatusCode::SERVICE_UNAVAILABLE, "too_many_leases"),
            ChangeError::RequestKey(error) => return error.clone().into(),
            ChangeError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ChangeError::Unknown { .. } => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
            _ => (StatusCode::BAD_REQUEST, "refused"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<LeaseError> for ApiError {
    fn from(error: LeaseError) -> Self {
        let (status, code) = match &error {
            LeaseError::Ttl => (StatusCode::BAD_REQUEST, "bad_seconds"),
            LeaseError::NotFound => (StatusCode::NOT_FOUND, "no_such_lease"),
            LeaseError::Taken => (StatusCode::CONFLICT, "lease_of_a_lock"),
            LeaseError::RequestKey(error) => return error.clone().into(),
            LeaseError::Unknown { .. } => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
            LeaseError::TooMany => (StatusCode::SERVICE_UNAVAILABLE, "too_many_leases"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<RequestKeyError> for ApiError {
    fn from(error: RequestKeyError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_request_key", error.to_string())
    }
}
