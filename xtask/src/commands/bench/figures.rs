//! Numbers for people: what was measured, what was asked for, and whether it is.

use std::time::Duration;

use crate::ui::{Table, Tone};

/// Many measurements of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    values: Vec<Duration>,
}

impl Sample {
    /// Adds one.
    pub(crate) fn add(&mut self, value: Duration) {
        let at = self.values.partition_point(|other| *other <= value);
        self.values.insert(at, value);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }

    /// The value that this share of all does not exceed (nearest rank); zero when there is none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.values.len() as f64).ceil() as usize;
        self.values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The one in the middle.
    pub(crate) fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    /// The longest.
    pub(crate) fn worst(&self) -> Duration {
        self.quantile(1.0)
    }
}

impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(values: I) -> Self {
        let mut values: Vec<Duration> = values.into_iter().collect();
        values.sort();
        Self { values }
    }
}

/// A duration in milliseconds, with as many digits as matter.
pub(crate) fn milliseconds(duration: Duration) -> String {
    let value = duration.as_secs_f64() * 1e3;
    match value {
        0.0..1.0 => format!("{value:.3} ms"),
        1.0..100.0 => format!("{value:.1} ms"),
        _ => format!("{value:.0} ms"),
    }
}

/// What was measured, against what was asked for.
pub(crate) struct Report {
    table: Table,
    short: usize,
}

impl Report {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { table: Table::new(&["FIGURE", "MEASURED", "ASKED FOR", ""]), short: 0 }
    }

    /// A figure that nothing is asked of.
    pub(crate) fn tell(&mut self, figure: &str, measured: String) {
        self.table.row(vec![(None, figure.to_owned()), (None, measured)]);
    }

    /// A duration that must not be longer than `most`.
    pub(crate) fn at_most(&mut self, figure: &str, measured: Duration, most: Duration) {
        self.judge(figure, milliseconds(measured), format!("at most {}", milliseconds(most)), measured <= most);
    }

    /// Any figure, judged by the caller.
    pub(crate) fn judge(&mut self, figure: &str, measured: String, asked: String, holds: bool) {
        self.short += usize::from(!holds);
        let verdict = if holds { (Some(Tone::Good), "holds") } else { (Some(Tone::Bad), "SHORT") };
        let cells = vec![(None, figure.to_owned()), (None, measured), (None, asked), (verdict.0, verdict.1.to_owned())];
        self.table.row(cells);
    }

    /// Prints all; returns how many fell short.
    pub(crate) fn print(&self) -> usize {
        println!();
        self.table.print();
        self.short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let sample: Sample = (1..=10).rev().map(Duration::from_millis).collect();
        assert_eq!(sample.median(), Duration::from_millis(5));
        assert_eq!(sample.quantile(0.9), Duration::from_millis(9));
        assert_eq!(sample.worst(), Duration::from_millis(10));
        assert_eq!(Sample::default().worst(), Duration::ZERO);
    }

    #[test]
    fn adding_keeps_the_order() {
        let mut sample = Sample::default();
        for value in [3, 1, 2] {
            sample.add(Duration::from_millis(value));
        }
        assert_eq!((sample.median(), sample.count()), (Duration::from_millis(2), 3));
    }
}
