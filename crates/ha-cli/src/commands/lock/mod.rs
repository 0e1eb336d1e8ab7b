//! `ha lock`: runs a command while holding a lock.

mod hold;
mod keep;

use std::ffi::OsString;
use std::time::Duration;

use http::{Method, StatusCode};
use rand::RngExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Client, ClientArgs, segment};
use crate::failure::Failure;
use crate::guard::boot_now;
use keep::Lease;

/// Longest wait in one call; a node allows a little more.
const WAIT_MAX: Duration = Duration::from_secs(45);
/// Attempts to hear the answer of one call.
const ATTEMPTS: usize = 3;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the lock.
    name: String,

    /// Seconds without renewal after which the lock is somebody else's.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    ttl: f64,

    /// Seconds to wait for the lock; 0 tries once.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    timeout: f64,

    /// What the holder calls itself.
    #[arg(long, value_name = "TEXT")]
    holder: Option<String>,

    #[command(flatten)]
    client: ClientArgs,

    /// The command, after `--`. It sees HA_LOCK, HA_LOCK_ID and HA_FENCING_TOKEN in its environment.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What a node answers to whom it gives a lock.
#[derive(Debug, Deserialize)]
struct Granted {
    lock_id: String,
    fencing_token: u64,
}

/// Acquires, runs, and gives back. Ends as the command does.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?;
    match runtime.block_on(serve(args))? {
        0 => Ok(()),
        code => std::process::exit(code),
    }
}

async fn serve(args: Args) -> Result<i32, Failure> {
    let seconds = |name: &str, number| {
        Duration::try_from_secs_f64(number)
            .map_err(|_| Failure::usage(format_args!("--{name} takes a number of seconds from 0 on")))
    };
    let (ttl, timeout) = (seconds("ttl", args.ttl)?, seconds("timeout", args.timeout)?);
    let client = Client::new(&args.client);
    let path = format!("/v1/locks/{}", segment(&args.name));
    let until = Instant::now() + timeout;
    let (granted, held) = loop {
        let (granted, asked) = acquire(&client, &path, &args, ttl, until).await?;
        let path = format!("{path}/{}", segment(&granted.lock_id));
        let mut held = hold::Held { client: client.clone(), path, lease: Lease::new(ttl, asked) };
        if held.freshened().await {
            break (granted, held);
        }
        if Instant::now() >= until {
            return Err(Failure::failed(format_args!(
                "the lock {} was lost before the command could begin",
                args.name
            )));
        }
    };
    let environment = [
        ("HA_LOCK", args.name.clone()),
        ("HA_LOCK_ID", granted.lock_id),
        ("HA_FENCING_TOKEN", granted.fencing_token.to_string()),
    ];
    hold::run(held, &args.name, &args.command, environment).await
}

/// Waits for the lock; also returns when the call left that was answered.
async fn acquire(
    client: &Client,
    path: &str,
    args: &Args,
    ttl: Duration,
    until: Instant,
) -> Result<(Granted, Duration), Failure> {
    // Under a name of its own, so that an answer that was lost on its way can be asked for again, and that a call which
    // goes on waiting has the place of the one before.
    let request = format!("{:032x}", rand::rng().random::<u128>());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait = left.min(WAIT_MAX);
        let mut body = json!({
            "ttl_seconds": ttl.as_secs_f64(), "timeout_seconds": wait.as_secs_f64(), "keep_place": wait < left,
        });
        if let Some(holder) = &args.holder {
            body["holder"] = holder.as_str().into();
        }
        let asked = boot_now();
        let answer = ask(client, path, &body, &request).await?;
        let again = answer.status() == StatusCode::CONFLICT && Instant::now() < until;
        if !again {
            return Ok((answer.success()?, asked));
        }
    }
}

async fn ask(client: &Client, path: &str, body: &Value, request: &str) -> Result<crate::client::Answer, Failure> {
    let mut attempt = 1;
    loop {
        let answer = client.change(Method::POST, path, Some(body), Some(request)).await;
        let unheard = match &answer {
            Ok(answer) => answer.status() == StatusCode::GATEWAY_TIMEOUT,
            Err(_) => true,
        };
        if !unheard || attempt >= ATTEMPTS {
            return answer;
        }
        attempt += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
