//! How many files and connections this process may have open at once.

use ha_http::limits::{CONNECTIONS_MAX, SILENT_MAX};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a node takes without being asked to: connections with others, callers, and files of its own.
const WANTED: u64 = ENOUGH + SILENT_MAX as u64;
/// Below this, callers get fewer places than they would have.
const ENOUGH: u64 = 4096;

/// Asks for enough, as far as the system allows; returns how many it is. Without room a log could not be written any
/// more once many callers have come.
pub(super) fn make_room() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(now) = current else { return u64::MAX };
    let most = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if now < most && setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).is_ok() {
        return most;
    }
    now
}

/// How many callers may be served at once with so many files.
pub(super) fn connections_max(files: u64) -> usize {
    if files < ENOUGH {
        tracing::warn!(files, enough = ENOUGH, "this process may open few files: raise `ulimit -n`");
    }
    usize::try_from(files / 4).unwrap_or(usize::MAX).min(CONNECTIONS_MAX)
}

/// How many that say nothing may be held beside them: what is left when there are enough files, or as many again.
pub(super) fn silent_max(files: u64) -> usize {
    let left = usize::try_from(files.saturating_sub(ENOUGH)).unwrap_or(usize::MAX);
    left.clamp(connections_max(files), SILENT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_never_take_what_the_node_needs() {
        let most = |files| (connections_max(files), silent_max(files));
        assert_eq!(most(u64::MAX), (CONNECTIONS_MAX, SILENT_MAX));
        assert_eq!(most(10_000), (1024, 5904));
        assert_eq!(most(4096), (1024, 1024));
        assert_eq!(most(1024), (256, 256));
        assert!(make_room() > 0);
    }
}
