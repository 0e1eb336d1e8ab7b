//! Reads what `cargo test` prints: which test binary runs, and how it went.

use std::time::Duration;

use tokio::time::Instant;

/// What kind of proof a test binary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// The crates themselves: unit, property, conformance, house rules.
    Crates,
    /// Examples in the documentation.
    Examples,
    /// The real crates on a simulated network and disk.
    Simulation,
    /// The real program.
    Processes,
    /// The real program, on wires that lose packets.
    Network,
}

impl Group {
    pub(crate) const ALL: [Self; 5] = [Self::Crates, Self::Examples, Self::Simulation, Self::Processes, Self::Network];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crates => "crates: unit, property, conformance, house rules",
            Self::Examples => "examples in the documentation",
            Self::Simulation => "simulation",
            Self::Processes => "real processes",
            Self::Network => "real processes, lossy wires",
        }
    }

    /// By the source of a test binary, as cargo names it.
    fn of_source(source: &str) -> Self {
        match source.split('/').next() {
            Some("sim") => Self::Simulation,
            Some("cluster") => Self::Processes,
            Some("network") => Self::Network,
            _ => Self::Crates,
        }
    }
}

/// How one group went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) took: Duration,
}

/// Counts while lines come in.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: [Count; Group::ALL.len()],
    running: Option<(Group, String, Instant)>,
    /// Test binaries that ended without a result: they died.
    pub(crate) died: Vec<String>,
}

impl Tally {
    /// Takes the next line; true when a person should see it. A test that passed is not worth a line.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let text = line.trim();
        if let Some(source) = text.strip_prefix("Running ") {
            let source = source.strip_prefix("unittests ").unwrap_or(source);
            self.begin(Group::of_source(source), text);
        } else if text.starts_with("Doc-tests ") {
            self.begin(Group::Examples, text);
        } else if let Some((passed, failed)) = result(text) {
            let group = self
                .running
                .take()
                .map_or((Group::Crates, Duration::ZERO), |(group, _, began)| (group, began.elapsed()));
            let count = &mut self.counts[group.0 as usize];
            count.passed += passed;
            count.failed += failed;
            count.took += group.1;
        }
        let passed = text.starts_with("test ") && text.ends_with(" ... ok");
        let frame = text.is_empty() || (text.starts_with("running ") && text.ends_with(['t', 's']));
        !passed && !frame
    }

    /// Cargo has ended.
    pub(crate) fn end(&mut self) {
        self.died.extend(self.running.take().map(|(_, text, _)| text));
    }

    /// How a group went.
    pub(crate) fn count(&self, group: Group) -> Count {
        self.counts[group as usize]
    }

    fn begin(&mut self, group: Group, text: &str) {
        self.end();
        self.running = Some((group, text.to_owned(), Instant::now()));
    }
}

/// Reads `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
fn result(text: &str) -> Option<(usize, usize)> {
    let rest = text.strip_prefix("test result: ")?;
    let number = |word: &str| rest.split(word).next()?.rsplit(' ').next()?.parse().ok();
    Some((number(" passed")?, number(" failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str =
        "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";

    #[test]
    fn results_are_counted_by_group() {
        let mut tally = Tally::default();
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/ha_net-1)",
            "test a ... ok",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "     Running sim/tests.rs (target/debug/deps/sim-1)",
            FAILED,
            "   Doc-tests ha_net",
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            tally.line(line);
        }
        tally.end();
        let counted = Group::ALL.map(|group| (tally.count(group).passed, tally.count(group).failed));
        assert_eq!(counted, [(2, 0), (1, 0), (12, 3), (0, 0), (0, 0)]);
        assert!(tally.died.is_empty());
    }

    #[test]
    fn a_binary_without_a_result_has_died() {
        let mut tally = Tally::default();
        tally.line("     Running cluster/main.rs (target/debug/deps/cluster-1)");
        tally.line("     Running unittests src/lib.rs (target/debug/deps/x-1)");
        tally.line(FAILED);
        tally.end();
        assert_eq!(tally.died, ["Running cluster/main.rs (target/debug/deps/cluster-1)"]);
    }

    #[test]
    fn only_what_matters_is_shown() {
        let mut tally = Tally::default();
        let shown = ["test a ... ok", "test b ... FAILED", "running 3 tests", "", FAILED, "panicked at x"]
            .map(|line| tally.line(line));
        assert_eq!(shown, [false, true, false, false, true, true]);
    }
}
