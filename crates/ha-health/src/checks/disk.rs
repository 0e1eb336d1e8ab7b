//! A disk has room.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::check::{Boxed, Check};
use crate::{RegisterError, Verdict};

/// A disk with less than this many times its least room is worth a look.
const ROOM_ENOUGH: f64 = 2.0;

/// Passes while a file system has room, in bytes and in files, for those who are not root. With less than twice the least
/// room, the component is degraded.
#[derive(Clone, Debug)]
pub struct DiskCheck {
    path: PathBuf,
    free_min: f64,
    /// Somebody looks; a disk that hangs would take one more thread with each look.
    looking: Arc<AtomicBool>,
}

impl DiskCheck {
    /// Looks at the file system that holds `path`; `free_min` is the least part that must be free, from 0 to 1.
    pub fn new(path: impl AsRef<Path>, free_min: f64) -> Result<Self, RegisterError> {
        let path = path.as_ref().to_owned();
        if (0.0..1.0).contains(&free_min) {
            return Ok(Self { path, free_min, looking: Arc::default() });
        }
        Err(RegisterError::Target { target: free_min.to_string(), expected: "a part of the disk, from 0 to 1" })
    }

    fn look(&self) -> Verdict {
        match rustix::fs::statvfs(&self.path) {
            Ok(disk) => {
                let part = |free: u64, all: u64| if all == 0 { 1.0 } else { free as f64 / all as f64 };
                self.judge(part(disk.f_bavail, disk.f_blocks), part(disk.f_favail, disk.f_files))
            }
            Err(error) => Verdict::Failed(format!("cannot look at {}: {error}", self.path.display())),
        }
    }

    fn judge(&self, bytes: f64, files: f64) -> Verdict {
        let (what, free) = if files < bytes { ("files", files) } else { ("bytes", bytes) };
        let sentence = || {
            let (free, least) = (free * 100.0, self.free_min * 100.0);
            format!("{} has {free:.1} % of its {what} free; the least is {least:.1} %", self.path.display())
        };
        match free {
            free if free < self.free_min => Verdict::Failed(sentence()),
            free if free < self.free_min * ROOM_ENOUGH => Verdict::Degraded(sentence()),
            _ => Verdict::HEALTHY,
        }
    }
}

impl Check for DiskCheck {
    fn check(&self) -> Boxed<Verdict> {
        let check = self.clone();
        if check.looking.swap(true, Ordering::AcqRel) {
            let hangs = format!("the last look at {} has not ended: the disk hangs", check.path.display());
            return Box::pin(std::future::ready(Verdict::Failed(hangs)));
        }
        // The call waits on a disk that hangs, and there is no way to call it off: it gets a thread that may wait.
        let look = tokio::task::spawn_blocking(move || {
            let verdict = check.look();
            check.looking.store(false, Ordering::Release);
            verdict
        });
        Box::pin(async move { look.await.unwrap_or_else(Verdict::failed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_real_disk_has_room_and_a_missing_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(DiskCheck::new(directory.path(), 0.0).unwrap().check().await, Verdict::HEALTHY);
        let Verdict::Failed(reason) = DiskCheck::new("/no/such/place", 0.1).unwrap().check().await else { panic!() };
        assert!(reason.contains("/no/such/place"), "{reason}");
    }

    #[tokio::test]
    async fn a_look_that_has_not_ended_fails_the_next_one_instead_of_waiting_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DiskCheck::new(directory.path(), 0.0).unwrap();
        disk.looking.store(true, Ordering::Release);
        let Verdict::Failed(reason) = disk.check().await else { panic!() };
        assert!(reason.contains("hangs"), "{reason}");
        disk.looking.store(false, Ordering::Release);
        for _ in 0..2 {
            assert_eq!(disk.check().await, Verdict::HEALTHY);
        }
    }

    #[test]
    fn the_scarcer_of_bytes_and_files_decides() {
        let disk = DiskCheck::new("/data", 0.1).unwrap();
        assert_eq!(disk.judge(0.5, 0.5), Verdict::HEALTHY);
        let degraded = "/data has 15.0 % of its bytes free; the least is 10.0 %";
        assert_eq!(disk.judge(0.15, 0.5), Verdict::Degraded(degraded.to_owned()));
        let failed = "/data has 1.0 % of its files free; the least is 10.0 %";
        assert_eq!(disk.judge(0.15, 0.01), Verdict::Failed(failed.to_owned()));
        for part in [-0.1, 1.0, f64::NAN] {
            assert!(DiskCheck::new("/data", part).is_err());
        }
    }
}
