//! Changes of shared keys, as server-sent events.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use ha_runtime::ha_state::{Event, Revision, Watch, WatchError};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::item::Change;
use super::state::room;
use crate::asked::query;
use crate::error::ApiError;
use crate::limits::KEEP_ALIVE_INTERVAL;
use crate::places::{CameFrom, Place};
use crate::router::Shared;

/// The query of `GET /v1/state-watch`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    #[serde(default)]
    prefix: String,
    from_revision: Option<u64>,
}

/// `GET /v1/state-watch`: follows until the caller hangs up or the server stops.
///
/// Each change is an event `put` or `delete`. The last change of a revision has that revision as `id`, so a caller that
/// comes back with `Last-Event-ID` goes on behind it. When changes that it would need are kept no longer, the answer is
/// 410, or, on a stream that runs, an event `compacted`.
pub(crate) async fn follow(
    State(Shared { ha, streams, .. }): State<Shared>,
    from: Option<Extension<CameFrom>>,
    headers: HeaderMap,
    asked: Result<Query<Follow>, QueryRejection>,
) -> Result<Response, ApiError> {
    let place = streams.watches.enter(from)?;
    let Follow { prefix, from_revision } = query(asked)?;
    let seen = headers.get("last-event-id").filter(|id| !id.is_empty()).map(last_seen).transpose()?;
    let from = seen.map(Revision::next).or(from_revision.map(Revision));
    let state = room(&ha)?;
    let watch = match from {
        Some(from) => state.watch_from(&prefix, from),
        None => state.watch(&prefix),
    };
    let watch = watch.map_err(|error| match error {
        WatchError::Compacted { .. } => ApiError::new(StatusCode::GONE, "compacted", error.to_string()),
        WatchError::TooMany => ApiError::unavailable("too_many_streams", error.to_string()),
        WatchError::Off { .. } => ApiError::unavailable("state_off", error.to_string()).at(&ha),
        _ => ApiError::new(StatusCode::BAD_REQUEST, "bad_query", error.to_string()),
    })?;
    let follower = Follower { watch: Some(watch), waiting: Vec::new().into_iter(), end: streams.end, _place: place };
    let stream = Sse::new(follower.frames()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL));
    // A proxy that gathers an answer before it passes it on would hold the events back.
    Ok(([(HeaderName::from_static("x-accel-buffering"), "no")], stream).into_response())
}

fn last_seen(id: &HeaderValue) -> Result<Revision, ApiError> {
    let revision = id.to_str().ok().and_then(|id| id.parse().ok()).map(Revision);
    let wrong = || ApiError::new(StatusCode::BAD_REQUEST, "bad_query", "the Last-Event-ID must be a revision");
    revision.ok_or_else(wrong)
}

/// One caller that follows.
struct Follower {
    /// None once it has nothing more to bring.
    watch: Option<Watch>,
    /// Changes that were brought and not sent yet.
    waiting: std::vec::IntoIter<Event>,
    end: watch::Receiver<bool>,
    _place: Place,
}

impl Follower {
    fn frames(self) -> impl Stream<Item = Result<Frame, Infallible>> {
        futures::stream::unfold(self, |mut follower| async move {
            let frame = follower.next().await?;
            Some((Ok(frame), follower))
        })
    }

    async fn next(&mut self) -> Option<Frame> {
        if self.waiting.as_slice().is_empty() {
            let watch = self.watch.as_mut()?;
            let brought = tokio::select! {
                biased;
                _ = self.end.wait_for(|ended| *ended) => return None,
                brought = watch.next() => brought,
            };
            match brought {
                Ok(events) => self.waiting = events.into_iter(),
                Err(error) => {
                    self.watch = None;
                    return Some(last_word(&error));
                }
            }
        }
        let event = self.waiting.next()?;
        let goes_on = self.waiting.as_slice().first().is_some_and(|next| next.revision() == event.revision());
        Some(frame(&event, !goes_on))
    }
}

fn frame(event: &Event, whole: bool) -> Frame {
    let kind = match event {
        Event::Put(_) => "put",
        Event::Delete { .. } => "delete",
    };
    // Every part of it can be written.
    let data = serde_json::to_string(&Change::from(event)).unwrap_or_default();
    let frame = Frame::default().event(kind).data(data.replace(['\r', '\n'], " "));
    if whole { frame.id(event.revision().0.to_string()) } else { frame }
}

fn last_word(error: &WatchError) -> Frame {
    let revision = match error {
        WatchError::Compacted { revision } => Some(revision.0),
        _ => None,
    };
    Frame::default().event("compacted").data(json!({"compacted": revision, "message": error.to_string()}).to_string())
}
