//! Lines about what peers say: few enough that none of them can fill a disk, for instance by inventing nodes.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines of a second; a cluster of as many nodes may start at once.
const LINES_PER_SECOND_MAX: u32 = 64;

/// Counts the lines of each second. Cheap to clone; each clone counts the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Second>>);

#[derive(Debug, Default)]
struct Second {
    began: Option<Instant>,
    written: u32,
    held_back: u64,
}

impl Lines {
    /// Whether a line may be written now. Says, once there is room again, how many were not.
    pub(crate) fn allow(&self, now: Instant) -> bool {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.began.is_none_or(|began| now >= began + Duration::from_secs(1)) {
            let held_back = std::mem::take(&mut second.held_back);
            if held_back > 0 {
                tracing::warn!("{held_back} lines about what peers say were held back");
            }
            (second.began, second.written) = (Some(now), 0);
        }
        let is_allowed = second.written < LINES_PER_SECOND_MAX;
        second.written += u32::from(is_allowed);
        second.held_back += u64::from(!is_allowed);
        is_allowed
    }

    /// Writes a line, if one may be written now.
    pub(crate) fn warn(&self, line: &dyn Display) {
        if self.allow(Instant::now()) {
            tracing::warn!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_count() {
        let (lines, now) = (Lines::default(), Instant::now());
        assert_eq!((0..1000).filter(|_| lines.clone().allow(now)).count(), LINES_PER_SECOND_MAX as usize);
        assert_eq!(lines.0.lock().unwrap().held_back, 1000 - u64::from(LINES_PER_SECOND_MAX));
        assert!(lines.allow(now + Duration::from_secs(1)));
        assert_eq!(lines.0.lock().unwrap().held_back, 0);
    }
}
