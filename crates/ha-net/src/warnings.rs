//! Log lines about misbehaving peers, few enough that no peer can fill a disk with them.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::WARNINGS_PER_SECOND_MAX;
use crate::sync::lock;

/// Lets a bounded number of warnings per second through and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    written: u32,
    suppressed: u64,
}

impl Warnings {
    /// Whether a line may be written now, and if so, how many were not since the last one.
    pub(crate) fn allow(&self, now: Instant) -> Option<u64> {
        let mut window = lock(&self.0);
        if window.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            window.began = Some(now);
            window.written = 0;
        }
        if window.written == WARNINGS_PER_SECOND_MAX {
            window.suppressed += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_count() {
        let warnings = Warnings::default();
        let now = Instant::now();
        let written = (0..1000).filter(|_| warnings.allow(now).is_some()).count();
        assert_eq!(written, WARNINGS_PER_SECOND_MAX as usize);
        assert_eq!(warnings.allow(now + Duration::from_secs(1)), Some(1000 - u64::from(WARNINGS_PER_SECOND_MAX)));
        assert_eq!(warnings.allow(now + Duration::from_secs(1)), Some(0));
    }
}
