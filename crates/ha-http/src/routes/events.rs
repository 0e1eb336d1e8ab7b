//! What happens on this node, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use ha_runtime::Event;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::asked::query;
use crate::error::ApiError;
use crate::limits::KEEP_ALIVE_INTERVAL;
use crate::places::{CameFrom, Place};
use crate::router::Shared;

/// `GET /v1/events`: follows until the caller hangs up or the server stops.
///
/// Each event has its number as `id`, its kind as `event`, and itself as JSON in `data`. A caller that reads too slowly
/// misses events and is told how many by one `lagged` event. A caller that comes back with the `Last-Event-ID` of the
/// last one it saw is told by such an event when there were others since. With `?past=N` the last ones come first, as
/// many as are remembered.
pub(crate) async fn follow(
    State(Shared { ha, streams, .. }): State<Shared>,
    from: Option<Extension<CameFrom>>,
    asked: Result<Query<Past>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Past { past } = query(asked)?;
    let place = streams.events.enter(from)?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    // Followed first, so that none falls between the two.
    let events = ha.events();
    let mut waiting = VecDeque::from(if past == 0 { Vec::new() } else { ha.cluster().past_events() });
    waiting.drain(..waiting.len().saturating_sub(past));
    let told = waiting.back().map_or(0, |event| event.number);
    let seen = if waiting.is_empty() { seen } else { None };
    let follower = Follower { events, end: streams.end, seen, waiting, told, _place: place };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE_INTERVAL);
    let stream = Sse::new(follower.frames()).keep_alive(keep_alive);
    // A proxy that gathers an answer before it passes it on would hold the events back.
    Ok(([(header::HeaderName::from_static("x-accel-buffering"), "no")], stream).into_response())
}

/// What a caller wants besides what comes.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Past {
    /// How many of the last events.
    #[serde(default)]
    past: usize,
}

/// One caller that follows.
struct Follower {
    events: broadcast::Receiver<Event>,
    end: watch::Receiver<bool>,
    /// The last event that the caller saw before it came (back), until the first one shows what it missed.
    seen: Option<u64>,
    /// Events of the past, or one that waits for the notice before it.
    waiting: VecDeque<Event>,
    /// The number of the last event of the past: those up to it are not told again.
    told: u64,
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
        if let Some(event) = self.waiting.pop_front() {
            return Some(frame(&event));
        }
        let received = loop {
            let received = tokio::select! {
                biased;
                received = self.events.recv() => received,
                _ = self.end.wait_for(|ended| *ended) => return None,
            };
            if received.as_ref().is_ok_and(|event| event.number <= self.told) {
                continue;
            }
            break received;
        };
        match received {
            Ok(event) => match self.seen.take().and_then(|seen| gap(seen, event.number)) {
                Some(notice) => {
                    self.waiting.push_back(event);
                    Some(notice)
                }
                None => Some(frame(&event)),
            },
            Err(RecvError::Lagged(missed)) => {
                self.seen = None;
                Some(lagged(Some(missed), format!("{missed} events were missed because they were read too slowly")))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

/// What a caller missed that saw one event and then the next one here.
fn gap(seen: u64, next: u64) -> Option<Frame> {
    match next.checked_sub(seen) {
        Some(1) => None,
        Some(distance) if distance > 1 => {
            let missed = distance - 1;
            Some(lagged(Some(missed), format!("{missed} events were missed between two connections")))
        }
        // Numbers start again with each life of the node.
        _ => Some(lagged(None, "the node has started anew: its events before this one were missed".to_owned())),
    }
}

fn frame(event: &Event) -> Frame {
    let data = json!({"number": event.number, "kind": event.kind, "message": event.message});
    Frame::default().id(event.number.to_string()).event(event.kind).data(data.to_string())
}

fn lagged(missed: Option<u64>, message: String) -> Frame {
    Frame::default().event("lagged").data(json!({"missed": missed, "kind": "lagged", "message": message}).to_string())
}
