//! The log of a running node: lines for people on standard error, so that standard output is the service's.

mod queue;

use std::io::stderr;

use anstream::{AutoStream, ColorChoice};
use ha_http::LogControl;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

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
    control: LogControl,
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
        let (filter, handle) = reload::Layer::new(filter);
        tracing_subscriber::registry().with(lines).with(filter).try_init().map_err(Failure::failed)?;
        let control = LogControl::new(move |filter| handle.reload(wider(filter)?).map_err(|error| error.to_string()));
        Ok(Self { queue, control })
    }

    /// Changes what is logged from now on.
    pub(crate) fn control(&self) -> LogControl {
        self.control.clone()
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

/// A filter as it is given, but a level alone is about ha: what is below it is not what somebody wants to see who asks
/// for more.
fn wider(filter: &str) -> Result<Targets, String> {
    let filter = filter.trim();
    let level = |text: &str| text.trim().parse::<LevelFilter>().ok().filter(|_| !text.trim().is_empty());
    if let Some(level) = level(filter) {
        return Ok(Targets::new().with_default(level.min(LevelFilter::ERROR)).with_target("ha", level));
    }
    // A word that is no level would be taken for a part of the program of that name.
    if let Some(word) = filter.split(',').find(|item| !item.contains('=') && level(item).is_none()) {
        return Err(format!("{word:?} is none of off, error, warn, info, debug, trace, nor PART=LEVEL"));
    }
    filter.parse().map_err(|error| format!("{filter:?} is no filter: {error}"))
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    #[test]
    fn a_level_alone_is_about_ha_and_a_word_that_is_none_is_refused() {
        let debug = wider("debug").unwrap();
        assert!(debug.would_enable("ha_net", &tracing::Level::DEBUG));
        assert!(
            !debug.would_enable("other", &tracing::Level::INFO) && debug.would_enable("other", &tracing::Level::ERROR)
        );
        assert!(!wider("off").unwrap().would_enable("other", &tracing::Level::ERROR));
        assert!(wider("info,ha_net=debug").unwrap().would_enable("other", &tracing::Level::INFO));
        for filter in ["loud", "info,loud", "ha_net=loud", ""] {
            assert!(wider(filter).is_err(), "{filter}");
        }
        assert_eq!(LevelFilter::OFF.min(LevelFilter::ERROR), LevelFilter::OFF);
    }
}
