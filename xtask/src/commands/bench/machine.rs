//! The machine that figures come from, and its floor: one `fdatasync`, one round trip on loopback.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use rustix::fs::fdatasync;
use tokio::time::Instant;

use super::figures::Sample;

/// Bytes per write when the disk is measured: a record of a small proposal and its header.
const WRITE_BYTES: usize = 512;
/// Writes and round trips that are measured.
const PROBES: usize = 400;

/// One line about the machine: processor, cores, kernel, file system of a folder.
pub(crate) fn describe(folder: &Path) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores of {}, Linux {}, {} below {}, load {}",
        model.unwrap_or("an unnamed processor").trim(),
        kernel.trim(),
        file_system(folder).unwrap_or_else(|| "an unknown file system".to_owned()),
        folder.display(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}

/// The type of the mount that holds a folder: the longest mount point that is a beginning of its path.
fn file_system(folder: &Path) -> Option<String> {
    let folder = fs::canonicalize(folder).ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        let longer = best.as_ref().is_none_or(|(length, _)| point.len() >= *length);
        if folder.starts_with(point) && longer {
            best = Some((point.len(), kind.to_owned()));
        }
    }
    best.map(|(_, kind)| kind)
}

/// How long one `fdatasync` after one small write takes, over blocks that exist already.
pub(crate) fn fdatasync_times(folder: &Path) -> io::Result<Sample> {
    let path = folder.join("fdatasync-probe");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    file.write_all_at(&vec![0; WRITE_BYTES * PROBES], 0)?;
    file.sync_all()?;
    let bytes = [0x5a; WRITE_BYTES];
    let mut sample = Sample::default();
    for probe in 0..PROBES {
        let began = Instant::now();
        file.write_all_at(&bytes, (probe * WRITE_BYTES) as u64)?;
        fdatasync(&file)?;
        sample.add(began.elapsed());
    }
    fs::remove_file(path)?;
    Ok(sample)
}

/// How long a small message and its echo take on loopback, each end on a thread of its own, as two processes would be.
pub(crate) fn round_trip_times() -> io::Result<Sample> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut bytes = [0; WRITE_BYTES];
        while stream.read_exact(&mut bytes).is_ok() {
            stream.write_all(&bytes)?;
        }
        io::Result::Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut bytes = [0x5a; WRITE_BYTES];
    let mut sample = Sample::default();
    for _ in 0..PROBES {
        let began = Instant::now();
        stream.write_all(&bytes)?;
        stream.read_exact(&mut bytes)?;
        sample.add(began.elapsed());
    }
    drop(stream);
    echo.join().map_err(|_| io::Error::other("the echo ended early"))??;
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_a_file_system() {
        assert!(file_system(Path::new("/")).is_some());
    }
}
