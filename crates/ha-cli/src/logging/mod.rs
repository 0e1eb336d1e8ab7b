//! The log of a running node: lines for people on standard error, so that standard output is the service's.

mod queue;

use std::io::stderr;

use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::failure::Failure;
use queue::Queue;

/// What is logged when nothing else is asked for: every crate of ha begins with these two letters. What an engine below
/// warns of, such as a heartbeat that did not arrive, is daily life; ha says what follows from it.
const DEFAULT_FILTER: &str = "error,ha=info";

/// What to log.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// What to log: a level, or levels by part, such as `info,ha_net=debug`. `RUST_LOG` is heeded too.
    #[arg(long, env = "HA_LOG", value_name = "FILTER")]
    log: Option<Targets>,
}

/// The log of this process. When it is dropped, what is queued is written within a short bound.
#[derive(Debug)]
pub(crate) struct Log {
    queue: Queue,
}

impl Log {
    /// Starts to log. At most once in a process.
    pub(crate) fn start(args: LogArgs) -> Result<Self, Failure> {
        let filter = args.log.or_else(|| std::env::var("RUST_LOG").ok()?.parse().ok());
        let filter = match filter {
            Some(filter) => filter,
            None => DEFAULT_FILTER.parse().map_err(Failure::failed)?,
        };
        let queue = Queue::start(stderr).map_err(|error| Failure::failed(format_args!("cannot log: {error}")))?;
        let colours = AutoStream::choice(&stderr()) != ColorChoice::Never;
        // A line that cannot be written must not be complained about on standard error: that would panic.
        let lines = fmt::layer().with_writer(queue.clone()).with_ansi(colours).log_internal_errors(false);
        tracing_subscriber::registry().with(lines).with(filter).try_init().map_err(Failure::failed)?;
        Ok(Self { queue })
    }

    /// Says something that is no log line, after the lines before it. Its colours are removed where they would not be
    /// shown.
    pub(crate) fn say(&self, text: &str) {
        let text = match AutoStream::choice(&stderr()) {
            ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
            _ => text.to_owned(),
        };
        self.queue.push(text.into_bytes());
    }

    /// Does the same as [`Self::flush`], for whoever ends the process without this value.
    pub(crate) fn flusher(&self) -> impl Fn() + Send + Sync + 'static {
        let queue = self.queue.clone();
        move || queue.flush()
    }

    /// Waits a short while until what was logged is written.
    pub(crate) fn flush(&self) {
        self.queue.flush();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}
