//! Counts nothing, and takes no memory for it.
//!
//! The consensus engine keeps histograms of its own work, which can be read only when its feature `runtime-stats` is on.
//! Here it is off, and yet the crate that holds them fills tables of 26 MiB at start: more than an idle node may take in
//! all. This one has the names that the engine's code mentions with that feature off, and nothing behind them; with it
//! on, the engine does not compile against this crate, so that no figure is ever made up. See
//! `docs/decisions/008-histograms.md`.

use std::fmt;
use std::marker::PhantomData;

/// A histogram that forgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// An empty one, as it stays.
    #[allow(clippy::new_without_default, reason = "the engine names only this")]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// Forgets a value.
    pub fn record(&mut self, _value: u64) {}

    /// Forgets a value that came several times.
    pub fn record_n(&mut self, _value: u64, _count: u64) {}

    /// What is known of the values: nothing.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats { samples: 0, p50: 0, p90: 0, p99: 0, p99_9: 0 }
    }
}

/// What is known of the values of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were recorded.
    pub samples: u64,
    /// Half of them are no larger.
    pub p50: u64,
    /// Nine in ten are no larger.
    pub p90: u64,
    /// All but one in a hundred are no larger.
    pub p99: u64,
    /// All but one in a thousand are no larger.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not recorded")
    }
}

/// A picture of histograms, of which there is nothing to show.
#[derive(Clone, Debug)]
pub struct AsciiChart(());

impl AsciiChart {
    /// An empty one, as it stays.
    #[allow(clippy::new_without_default, reason = "the engine names only this")]
    pub fn new() -> Self {
        Self(())
    }

    /// Leaves a histogram out.
    #[must_use]
    pub fn add<T>(self, _name: &str, _histogram: Histogram<T>) -> Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not recorded")
    }
}
