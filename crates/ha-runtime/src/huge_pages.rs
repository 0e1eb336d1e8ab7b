//! Huge pages, for a program that is a node and whose allocator asks the system for them.
//!
//! What a large state needs for one command lies all over the memory, and finding each of its pages is a good part of the
//! work. A small process has little to find, and would take twice the memory. So huge pages are held back until the
//! process is large. (`PR_SET_THP_DISABLE` of the kernel, which is of the whole process.)

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};
use tokio::time::sleep;

/// Anonymous memory of a large process.
const LARGE_KIB: u64 = 48 * 1024;
/// How often a small one looks how large it is.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

static HELD_BACK: AtomicBool = AtomicBool::new(false);

/// Holds huge pages back. To be called first of all: the program begins anew without them, since what has a page keeps it.
/// Where they are off already, which a process inherits, it goes on, and lets them in as if it had turned them off itself.
pub fn hold_back() {
    match transparent_huge_pages_are_disabled() {
        Ok(true) => HELD_BACK.store(true, Ordering::Relaxed),
        Ok(false) if disable_transparent_huge_pages(true).is_ok() => {
            HELD_BACK.store(true, Ordering::Relaxed);
            begin_anew();
        }
        // A kernel that has none, or does not let them be turned off.
        _ => {}
    }
}

/// Returns only if that fails: then some pages are huge.
fn begin_anew() {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if let Ok(program) = std::env::current_exe() {
        let _ = Command::new(program).arg0(name).args(arguments).exec();
    }
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
