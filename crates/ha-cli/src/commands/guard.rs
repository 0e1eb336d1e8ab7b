//! `ha guard`: watches over a command, for `ha` itself. People have no use for it.

use std::ffi::OsString;
use std::time::Duration;

use crate::failure::Failure;
use crate::guard;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long the command may take to end when it is asked to.
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    stop_grace_ms: u64,

    /// Become the command, and die with the guard of this process id.
    #[arg(long, value_name = "PID")]
    exec: Option<i32>,

    /// Allow huge pages, which the node that starts this held back for itself.
    #[arg(long)]
    huge_pages: bool,

    /// The command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Watches, or becomes the command.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    if args.huge_pages {
        ha_runtime::huge_pages::allow();
    }
    match args.exec {
        Some(of) => Err(Failure::silent(guard::exec(of, &args.command))),
        None => guard::guard(Duration::from_millis(args.stop_grace_ms), args.command)
            .map_err(|error| Failure::usage(format_args!("only `ha run` starts a guard: {error}"))),
    }
}
