//! What happens on this node, as server-sent events.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::header;
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use ha_runtime::Event;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use crate::error::ApiError;
use crate::limits::{EVENT_STREAMS_MAX, KEEP_ALIVE_INTERVAL};
use crate::router::Shared;

/// `GET /v1/events`: follows until the caller hangs up or the server stops.
///
/// Each event has its number as `id`, its kind as `event`, and itself as JSON in `data`. A caller that reads too slowly
/// misses events and is told how many by one `lagged` event.
pub(crate) async fn follow(State(Shared { ha, streams, .. }): State<Shared>) -> Result<Response, ApiError> {
    let place = streams.places.clone().try_acquire_owned().map_err(|_| {
        ApiError::unavailable("too_many_streams", format!("{EVENT_STREAMS_MAX} callers follow already"))
    })?;
    let follower = Follower { events: ha.events(), end: streams.end, _place: place };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE_INTERVAL);
    let stream = Sse::new(follower.frames()).keep_alive(keep_alive);
    // A proxy that gathers an answer before it passes it on would hold the events back.
    Ok(([(header::HeaderName::from_static("x-accel-buffering"), "no")], stream).into_response())
}

/// One caller that follows.
struct Follower {
    events: broadcast::Receiver<Event>,
    end: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    fn frames(self) -> impl Stream<Item = Result<Frame, Infallible>> {
        futures::stream::unfold(self, |mut follower| async move {
            let frame = follower.next().await?;
            Some((Ok(frame), follower))
        })
    }

    async fn next(&mut self) -> Option<Frame> {
        let received = tokio::select! {
            biased;
            received = self.events.recv() => received,
            _ = self.end.wait_for(|ended| *ended) => return None,
        };
        match received {
            Ok(event) => Some(frame(&event)),
            Err(RecvError::Lagged(missed)) => Some(lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

fn frame(event: &Event) -> Frame {
    let data = json!({"number": event.number, "kind": event.kind, "message": event.message});
    Frame::default().id(event.number.to_string()).event(event.kind).data(data.to_string())
}

fn lagged(missed: u64) -> Frame {
    let message = format!("{missed} events were missed because they were read too slowly");
    Frame::default().event("lagged").data(json!({"missed": missed, "kind": "lagged", "message": message}).to_string())
}
