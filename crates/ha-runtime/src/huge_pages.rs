//! Huge pages, for a program that is a node and whose allocator asks the system for them.
//!
//! What a large state needs for one command lies all over the memory, and finding each of its pages is a good part of the
//! work. A small process has little to find, and would take twice the memory. So huge pages are held back until the
//! process is large. (`PR_SET_THP_DISABLE` of the kernel, which is of the whole process.)

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};
use tokio::time::sleep;

/// Anonymous memory of a large process.
const LARGE_KIB: u64 = 48 * 1024;
/// How often a small one looks how large it is.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

static HELD_BACK: AtomicBool = AtomicBool::new(false);

/// Holds huge pages back, unless somebody else turned them off for this process. To be called first of all: what has a
/// page keeps it.
pub fn hold_back() {
    let turns_off =
        matches!(transparent_huge_pages_are_disabled(), Ok(false)) && disable_transparent_huge_pages(true).is_ok();
    HELD_BACK.store(turns_off, Ordering::Relaxed);
}

/// Whether they are held back: programs that this process starts have none either, until they [`allow`] them.
pub fn are_held_back() -> bool {
    HELD_BACK.load(Ordering::Relaxed)
}

/// Lets them in.
pub fn allow() {
    // They are a gain, and no promise.
    let _ = disable_transparent_huge_pages(false);
    HELD_BACK.store(false, Ordering::Relaxed);
}

/// Lets them in once this process is large, if they are held back. Cancel-safe.
pub async fn allow_once_large() {
    while are_held_back() {
        sleep(LOOK_INTERVAL).await;
        if std::fs::read_to_string("/proc/self/status").is_ok_and(|status| is_large(&status)) {
            allow();
        }
    }
}

fn is_large(status: &str) -> bool {
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    anonymous.and_then(|kib| kib.parse::<u64>().ok()).is_some_and(|kib| kib >= LARGE_KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_large_when_its_own_memory_is() {
        assert!(is_large("Name:\tha\nVmRSS:\t  90000 kB\nRssAnon:\t   49152 kB\nRssFile:\t    1000 kB\n"));
        assert!(!is_large("RssAnon:\t   49151 kB\nRssFile:\t   90000 kB\n"));
        assert!(!is_large("Name:\tha\n"));
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(own.contains("\nRssAnon:"), "{own}");
    }
}
