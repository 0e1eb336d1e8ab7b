//! How many files and connections this process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Config;
use crate::limits::{CONNECTIONS_MAX, SILENT_MAX};

/// What a node takes without being asked to: connections with others, callers, and files of its own.
const WANTED: u64 = ENOUGH + SILENT_MAX as u64;
/// Below this, callers get fewer places than they would have.
const ENOUGH: u64 = 4096;

/// Asks the system to let this process open as many files as a node may need, as far as it may be; returns how many it
/// is now. For programs that are a node: a library leaves the limits of its process alone. Without room a log could not
/// be written any more once many callers have come.
pub fn make_room() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(now) = current else { return u64::MAX };
    let most = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if now < most && setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).is_ok() {
        return most;
    }
    now
}

impl Config {
    /// As many connections as fit into so many open files, beside what the node needs itself: a quarter of the files for
    /// those that speak, and for those that say nothing what is left when there are enough, or as many again.
    #[must_use]
    pub fn within(self, files: u64) -> Self {
        if files < ENOUGH {
            tracing::warn!(files, enough = ENOUGH, "this process may open few files: raise `ulimit -n`");
        }
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let connections_max = (files / 4).min(CONNECTIONS_MAX);
        let silent_max = files.saturating_sub(ENOUGH as usize).clamp(connections_max, SILENT_MAX);
        Self { connections_max, silent_max, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_never_take_what_the_node_needs() {
        let most = |files| {
            let Config { connections_max, silent_max, .. } = Config::default().within(files);
            (connections_max, silent_max)
        };
        assert_eq!(most(u64::MAX), (CONNECTIONS_MAX, SILENT_MAX));
        assert_eq!(most(10_000), (1024, 5904));
        assert_eq!(most(4096), (1024, 1024));
        assert_eq!(most(1024), (256, 256));
        assert!(make_room() > 0);
    }
}
