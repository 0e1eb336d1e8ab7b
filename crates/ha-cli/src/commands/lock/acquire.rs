//! Asks for a lock, for as long as its caller wants to wait.

use std::time::Duration;

use http::{Method, StatusCode};
use rand::RngExt;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::Args;
use crate::client::{Answer, Client};
use crate::failure::Failure;
use crate::guard::boot_now;

/// Longest wait in one call; a node allows a little more.
const WAIT_MAX: Duration = Duration::from_secs(45);
/// How long an answer may take beyond the wait that was asked for.
const MARGIN: Duration = Duration::from_secs(3);
/// Attempts to hear the answer of one call.
const ATTEMPTS: usize = 3;
/// Pause before the next of them.
const PAUSE: Duration = Duration::from_millis(200);

/// What a node answers to whom it gives a lock.
#[derive(Debug, Deserialize)]
pub(super) struct Granted {
    pub(super) lock_id: String,
    pub(super) fencing_token: u64,
}

/// Waits for the lock; also returns from when on its lease counts.
pub(super) async fn acquire(
    client: &Client,
    path: &str,
    args: &Args,
    ttl: Duration,
    until: Instant,
) -> Result<(Granted, Duration), Failure> {
    // Under a name of its own, so that an answer that was lost on its way can be asked for again, and that a call which
    // goes on waiting has the place of the one before.
    let mut request = name();
    let (mut asked, mut attempt) = (boot_now(), 1);
    loop {
        let (left, over) = left_and_over(until);
        let wait = left.min(WAIT_MAX);
        let mut body = json!({
            "ttl_seconds": ttl.as_secs_f64(), "timeout_seconds": wait.as_secs_f64(), "keep_place": wait < left,
        });
        if let Some(holder) = &args.holder {
            body["holder"] = holder.as_str().into();
        }
        let (limit, began) = (wait + MARGIN.saturating_sub(over), Instant::now());
        let answer = client.change_within(limit, Method::POST, path, Some(&body), Some(&request)).await;
        let (left, over) = left_and_over(until);
        match answer.as_ref().map(Answer::status) {
            Ok(StatusCode::CONFLICT) if !left.is_zero() && answer.as_ref().is_ok_and(waited_in_vain) => {
                pause(began, wait).await;
                (asked, attempt) = (boot_now(), 1);
                continue;
            }
            // It was given between two calls, and its lease is over: nothing has run under it.
            Ok(StatusCode::GONE) if !left.is_zero() => {
                pause(began, wait).await;
                (request, asked, attempt) = (name(), boot_now(), 1);
                continue;
            }
            // Once the time is over, the node has said why there is nothing to be known.
            Ok(StatusCode::GATEWAY_TIMEOUT) if attempt < ATTEMPTS && !left.is_zero() => {}
            Err(_) if attempt < ATTEMPTS && over < MARGIN => {}
            // Which of the attempts was granted is not known: the lease counts from the first.
            _ => return Ok((answer?.success()?, asked)),
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether asking again helps: any other conflict stays.
fn waited_in_vain(answer: &Answer) -> bool {
    matches!(answer.code().as_str(), "not_acquired" | "place_lost")
}

/// A node that answers much sooner than it was asked to wait is not asked again at once.
async fn pause(began: Instant, wait: Duration) {
    if began.elapsed() < wait / 2 {
        tokio::time::sleep(PAUSE).await;
    }
}

fn name() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

/// How long it is until then, and how long it is over.
fn left_and_over(until: Instant) -> (Duration, Duration) {
    let now = Instant::now();
    (until.saturating_duration_since(now), now.saturating_duration_since(until))
}
