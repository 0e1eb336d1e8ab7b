//! `ha lock`: runs a command while holding a lock.

mod acquire;
mod hold;
mod keep;

use std::ffi::OsString;
use std::time::Duration;

use ha_runtime::ha_state::limits::{KEY_BYTES_MAX, OWNER_BYTES_MAX, TTL_MAX, TTL_MIN};
use tokio::time::Instant;

use super::seconds;
use crate::client::{Client, ClientArgs, segment};
use crate::failure::Failure;
use acquire::acquire;
use keep::Lease;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the lock.
    name: String,

    /// Seconds without renewal after which the lock is somebody else's.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, allow_negative_numbers = true)]
    ttl: f64,

    /// Seconds to wait for the lock; 0 tries once.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, allow_negative_numbers = true)]
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

/// Acquires, runs, and gives back. Ends as the command does.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?;
    let ended = runtime.block_on(serve(args));
    // An address that is still looked up must not delay the end.
    runtime.shutdown_background();
    match ended? {
        0 => Ok(()),
        code => std::process::exit(code),
    }
}

async fn serve(args: Args) -> Result<i32, Failure> {
    let (ttl, timeout) = args.checked()?;
    let too_long = || Failure::usage("--timeout is longer than anybody can wait");
    let until = Instant::now().checked_add(timeout).ok_or_else(too_long)?;
    let client = Client::new(&args.client);
    let path = format!("/v1/locks/{}", segment(&args.name));
    let (granted, held) = loop {
        let (granted, asked) = acquire(&client, &path, &args, ttl, until).await?;
        let path = format!("{path}/{}", segment(&granted.lock_id));
        let lease = Lease::new(ttl, asked);
        let mut held = hold::Held { client: client.clone(), name: args.name.clone(), path, lease };
        if held.freshened().await {
            break (granted, held);
        }
        // If it is held after all, nobody must wait for it.
        held.release().await;
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
    hold::run(held, &args.command, environment).await
}

impl Args {
    /// The length of the lease and the time to wait, unless every node would refuse what is asked for.
    fn checked(&self) -> Result<(Duration, Duration), Failure> {
        let (ttl, timeout) = (seconds("ttl", self.ttl)?, seconds("timeout", self.timeout)?);
        let name_bytes = self.name.len();
        if name_bytes == 0 {
            return Err(Failure::usage("the name of a lock must not be empty"));
        }
        if name_bytes > KEY_BYTES_MAX {
            let message = format_args!("the name of a lock has at most {KEY_BYTES_MAX} bytes, not {name_bytes}");
            return Err(Failure::usage(message));
        }
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            let (least, most) = (TTL_MIN.as_secs_f64(), TTL_MAX.as_secs());
            return Err(Failure::usage(format_args!("--ttl takes from {least} to {most} seconds")));
        }
        if self.holder.as_ref().is_some_and(|holder| holder.len() > OWNER_BYTES_MAX) {
            return Err(Failure::usage(format_args!("--holder takes at most {OWNER_BYTES_MAX} bytes")));
        }
        Ok((ttl, timeout))
    }
}
