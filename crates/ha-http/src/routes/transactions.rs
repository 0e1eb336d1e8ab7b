//! Transactions: compare, then do the one or the other, all at one revision.

use std::num::NonZeroU32;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use ha_runtime::Ha;
use ha_runtime::ha_state::{Answer, Compare, FencingToken, Is, Key, Operation, Revision, Txn};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::item::Item;
use super::state::{bad_key, fresh, lease_id, present, room};
use crate::asked::request_key;
use crate::body::JsonBody;
use crate::error::ApiError;

/// The body of `POST /v1/state-txn`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    #[serde(default)]
    compare: Vec<Comparison>,
    #[serde(default)]
    then: Vec<Step>,
    #[serde(default, rename = "else")]
    or_else: Vec<Step>,
}

/// One thing of one key that must hold, or a lock that must be held.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Comparison {
    key: Option<String>,
    #[serde(default)]
    is: Relation,
    exists: Option<bool>,
    revision: Option<u64>,
    created_revision: Option<u64>,
    version: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    lock: Option<String>,
    fencing_token: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Relation {
    #[default]
    Equal,
    NotEqual,
    Less,
    Greater,
}

impl From<Relation> for Is {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::Equal => Self::Equal,
            Relation::NotEqual => Self::NotEqual,
            Relation::Less => Self::Less,
            Relation::Greater => Self::Greater,
        }
    }
}

/// One thing to do.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    Put {
        key: String,
        value: Box<RawValue>,
        lease: Option<String>,
    },
    Delete {
        key: String,
    },
    DeletePrefix {
        prefix: String,
    },
    Get {
        key: String,
    },
    List {
        prefix: String,
        #[serde(default = "list_limit")]
        limit: NonZeroU32,
    },
}

/// Keys that a list brings when the caller does not say how many.
fn list_limit() -> NonZeroU32 {
    const { NonZeroU32::new(100).unwrap() }
}

impl Comparison {
    fn read(self) -> Result<Compare, ApiError> {
        let what = "a comparison names a `key` and one of `exists`, `revision`, `created_revision`, `version` and \
                    `value`, or a `lock` and a `fencing_token`";
        let wrong = || ApiError::new(StatusCode::BAD_REQUEST, "bad_comparison", what);
        let is = Is::from(self.is);
        let given = (self.exists, self.revision, self.created_revision, self.version, self.value);
        if let (Some(lock), Some(token)) = (&self.lock, self.fencing_token) {
            let alone = self.key.is_none() && matches!(given, (None, None, None, None, None)) && is == Is::Equal;
            return alone.then(|| Compare::held(lock, FencingToken(token)).map_err(bad_key)).ok_or_else(wrong)?;
        }
        if self.lock.is_some() || self.fencing_token.is_some() {
            return Err(wrong());
        }
        let key = Key::new(&self.key.ok_or_else(wrong)?).map_err(bad_key)?;
        Ok(match given {
            (Some(exists), None, None, None, None) if is == Is::Equal => {
                Compare::Version(key, if exists { Is::Greater } else { Is::Equal }, 0)
            }
            (None, Some(revision), None, None, None) => Compare::Modified(key, is, Revision(revision)),
            (None, None, Some(revision), None, None) => Compare::Created(key, is, Revision(revision)),
            (None, None, None, Some(version), None) => Compare::Version(key, is, version),
            (None, None, None, None, Some(value)) => Compare::Value(key, is, bytes(value)),
            _ => return Err(wrong()),
        })
    }
}

fn bytes(value: Box<RawValue>) -> axum::body::Bytes {
    Box::<str>::from(value).into_boxed_bytes().into_vec().into()
}

impl Step {
    fn read(self) -> Result<Operation, ApiError> {
        let key = |key: String| Key::new(&key).map_err(bad_key);
        Ok(match self {
            Self::Put { key: name, value, lease } => {
                let lease = lease.as_deref().map(lease_id).transpose()?;
                Operation::Put { key: key(name)?, value: bytes(value), lease }
            }
            Self::Delete { key: name } => Operation::Delete { key: key(name)? },
            Self::DeletePrefix { prefix } => Operation::DeletePrefix { prefix: prefix.into() },
            Self::Get { key: name } => Operation::Get { key: key(name)? },
            Self::List { prefix, limit } => Operation::List { prefix: prefix.into(), limit: limit.get() },
        })
    }
}

/// `POST /v1/state-txn`.
pub(crate) async fn transact(
    State(ha): State<Ha>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, ApiError> {
    let state = room(&ha)?;
    let txn = Txn {
        compare: body.compare.into_iter().map(Comparison::read).collect::<Result<_, _>>()?,
        then: body.then.into_iter().map(Step::read).collect::<Result<_, _>>()?,
        or_else: body.or_else.into_iter().map(Step::read).collect::<Result<_, _>>()?,
    };
    let done = state.txn_once(txn, request_key(&headers)?).await.map_err(|error| ApiError::from(error).at(&ha))?;
    #[derive(Serialize)]
    struct Done<'a> {
        succeeded: bool,
        revision: u64,
        results: Vec<Outcome<'a>>,
    }
    let results = done.answers.iter().map(Outcome).collect();
    Ok(fresh(Json(Done { succeeded: done.succeeded, revision: done.revision.0, results })))
}

/// What one step brought.
struct Outcome<'a>(&'a Answer);

impl Serialize for Outcome<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Answer::Put => map.serialize_entry("put", &true)?,
            Answer::Deleted(count) => map.serialize_entry("deleted", count)?,
            Answer::Got(found) => map.serialize_entry("item", &found.as_ref().map(Item::from))?,
            Answer::Listed { items, more } => {
                map.serialize_entry("items", &items.iter().map(Item::from).collect::<Vec<_>>())?;
                map.serialize_entry("more", more)?;
            }
        }
        map.end()
    }
}
