//! A command for nodes to run, which writes down that it runs: what a service behind the cluster would see.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two lines of a command that runs.
pub const TICK: Duration = Duration::from_millis(10);

/// A command with a child of its own, which writes down every few milliseconds that it runs, and with which token. It
/// ends on SIGTERM, after as many seconds as a file `slow` beside the journal says, and does not start where a file
/// `unwilling` names its node.
const SCRIPT: &str = r#"
cd ..
say() { echo "$1 $HA_NODE_ID $HA_FENCING_TOKEN $(date +%s%N)" >> journal; }
if grep -qsx "$HA_NODE_ID" unwilling; then say refuse; exit 3; fi
say start
trap 'say term; if test -e slow; then sleep "$(cat slow)"; say slept; fi; exit 0' TERM
( while :; do say tick; sleep 0.01; done ) &
wait
"#;

/// What the command on all nodes of a cluster wrote down.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `start`, `tick`, `term`, `slept` or `refuse`.
    pub what: String,
    /// On which node.
    pub node: String,
    /// With which token.
    pub token: u64,
    /// When, in nanoseconds of this machine's clock.
    pub at: u64,
}

impl Journal {
    /// The words after `ha run --`.
    pub fn command() -> Vec<String> {
        ["sh", "-c", SCRIPT].map(str::to_owned).to_vec()
    }

    /// The journal of the nodes below a folder.
    pub fn below(directory: &Path) -> Self {
        Self { path: directory.join("journal") }
    }

    /// Everything so far, in the order of time.
    pub fn entries(&self) -> Vec<Entry> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let mut entries: Vec<Entry> = text.lines().filter_map(Entry::parse).collect();
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    /// The last entry of a command that ran.
    pub fn last(&self) -> Option<Entry> {
        self.entries().into_iter().rev().find(|entry| entry.what == "tick" || entry.what == "start")
    }

    /// Where and when the command began that has the highest token, if that is higher than `token`.
    pub fn begun_after(&self, token: u64) -> Option<Entry> {
        let entries = self.entries();
        let newer = entries.into_iter().filter(|entry| entry.what == "start" && entry.token > token);
        newer.max_by_key(|entry| (entry.token, std::cmp::Reverse(entry.at)))
    }

    /// The longest time in which nothing ran, from some instant on.
    pub fn gap(&self, since: u64) -> Duration {
        let mut longest = 0;
        let mut before = since;
        for entry in self.entries().iter().filter(|entry| entry.at > since && entry.what != "refuse") {
            longest = longest.max(entry.at - before);
            before = entry.at;
        }
        Duration::from_nanos(longest)
    }

    /// Whether the command ever ran twice at once, or with a token that is not above all before it: then how.
    pub fn judge(&self) -> Result<usize, String> {
        let mut lives: BTreeMap<u64, (String, u64, u64)> = BTreeMap::new();
        for entry in self.entries().into_iter().filter(|entry| entry.what != "refuse") {
            let life = lives.entry(entry.token).or_insert_with(|| (entry.node.clone(), entry.at, entry.at));
            if life.0 != entry.node {
                return Err(format!("{} and {} ran with token {}", life.0, entry.node, entry.token));
            }
            life.2 = entry.at;
        }
        let ordered: Vec<_> = lives.iter().collect();
        for pair in ordered.windows(2) {
            let ((token, (node, _, ended)), (later, (other, began, _))) = (pair[0], pair[1]);
            if began < ended {
                let overlap = Duration::from_nanos(ended - began);
                return Err(format!(
                    "{other} with token {later} ran {} ms beside {node} with token {token}",
                    overlap.as_millis()
                ));
            }
        }
        Ok(lives.len())
    }

    /// Lets the command refuse to start on these nodes, and on no others.
    pub fn set_unwilling(&self, nodes: &[&str]) -> std::io::Result<()> {
        fs::write(
            self.path.with_file_name("unwilling"),
            nodes.iter().map(|node| format!("{node}\n")).collect::<String>(),
        )
    }

    /// Lets the command take so long to end when it is asked to.
    pub fn set_slow(&self, time: Duration) -> std::io::Result<()> {
        fs::write(self.path.with_file_name("slow"), time.as_secs_f64().to_string())
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let mut word = || words.next().map(str::to_owned);
        let (what, node) = (word()?, word()?);
        Some(Self { what, node, token: word()?.parse().ok()?, at: word()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(text: &str) -> (tempfile::TempDir, Journal) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("journal"), text).unwrap();
        let journal = Journal::below(directory.path());
        (directory, journal)
    }

    #[test]
    fn one_after_the_other_is_well() {
        let (_directory, journal) = journal(
            "start a 3 100\ntick a 3 200\nterm a 3 250\nstart b 7 300\ntick b 7 5000\nrefuse c 9 6000\ncut off",
        );
        assert_eq!(journal.judge(), Ok(2));
        assert_eq!(journal.begun_after(3).map(|entry| entry.at), Some(300));
        assert_eq!(journal.begun_after(7), None);
        assert_eq!(journal.gap(200), Duration::from_nanos(4700));
        assert_eq!(journal.last().map(|entry| entry.node), Some("b".to_owned()));
    }

    #[test]
    fn two_at_once_and_two_with_one_token_are_found() {
        assert!(journal("start a 3 100\nstart b 7 300\ntick a 3 301\n").1.judge().unwrap_err().contains("beside a"));
        assert!(journal("start a 3 100\nstart b 3 300\n").1.judge().unwrap_err().contains("with token 3"));
        assert!(journal("start a 7 100\ntick a 7 200\nstart b 3 300\n").1.judge().is_err(), "the token fell");
    }
}
