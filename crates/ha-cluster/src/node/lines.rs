//! Lines about what peers say of others: few enough that nobody can fill a disk by inventing nodes.

use std::time::Duration;

/// Lines of a second; a cluster of as many nodes may start at once.
const LINES_PER_SECOND_MAX: u32 = 64;

/// Counts the lines of each second.
#[derive(Debug, Default)]
pub(super) struct Lines {
    began: Duration,
    written: u32,
    held_back: u64,
}

impl Lines {
    /// Whether a line may be written now. Says, once there is room again, how many were not.
    pub(super) fn allow(&mut self, now: Duration) -> bool {
        if now >= self.began + Duration::from_secs(1) {
            let held_back = std::mem::take(&mut self.held_back);
            if held_back > 0 {
                tracing::warn!("{held_back} lines about what is said of nodes were held back");
            }
            (self.began, self.written) = (now, 0);
        }
        let is_allowed = self.written < LINES_PER_SECOND_MAX;
        self.written += u32::from(is_allowed);
        self.held_back += u64::from(!is_allowed);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_count() {
        let (mut lines, now) = (Lines::default(), Duration::from_secs(9));
        assert_eq!((0..1000).filter(|_| lines.allow(now)).count(), LINES_PER_SECOND_MAX as usize);
        assert_eq!(lines.held_back, 1000 - u64::from(LINES_PER_SECOND_MAX));
        assert!(lines.allow(now + Duration::from_secs(1)));
        assert_eq!((lines.written, lines.held_back), (1, 0));
    }
}
