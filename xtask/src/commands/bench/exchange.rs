//! What three nodes on one machine cannot do without, whatever runs on them: the bytes go to two others, three files
//! are synced, the answer of the first is awaited. No consensus, no batching, no names.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::fdatasync;
use tokio::time::Instant;

use super::figures::Sample;

/// Bytes of a record of a small proposal and its header.
const RECORD_BYTES: usize = 400;
/// Bytes of an answer.
const ANSWER_BYTES: usize = 29;
/// Exchanges that are measured.
const EXCHANGES: usize = 1000;
/// Those who follow.
const FOLLOWERS: usize = 2;
/// A datagram of this size ends a follower.
const END_BYTES: usize = 1;
/// How long an answer may take; on loopback none is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one exchange takes: sent to two, synced here and there, answered by the first.
pub(crate) fn times(folder: &Path) -> io::Result<Sample> {
    let socket = open()?;
    let here = socket.local_addr()?;
    let mut followers = Vec::new();
    for number in 1..=FOLLOWERS {
        let theirs = open()?;
        let address = theirs.local_addr()?;
        let records = Records::create(folder, number)?;
        followers.push((address, thread::spawn(move || follow(&theirs, here, records))));
    }
    let mut records = Records::create(folder, 0)?;
    let mut sample = Sample::default();
    for _ in 0..EXCHANGES {
        let began = Instant::now();
        for (address, _) in &followers {
            socket.send_to(&[0x5a; RECORD_BYTES], address)?;
        }
        records.add()?;
        let mut answer = [0; ANSWER_BYTES];
        socket.recv(&mut answer)?;
        sample.add(began.elapsed());
        for _ in 1..FOLLOWERS {
            socket.recv(&mut answer)?;
        }
    }
    for (address, follower) in followers {
        socket.send_to(&[0; END_BYTES], address)?;
        follower.join().map_err(|_| io::Error::other("a follower ended early"))??;
    }
    Ok(sample)
}

fn open() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn follow(socket: &UdpSocket, leader: SocketAddr, mut records: Records) -> io::Result<()> {
    let mut record = [0; RECORD_BYTES];
    while socket.recv(&mut record)? != END_BYTES {
        records.add()?;
        socket.send_to(&[0x5a; ANSWER_BYTES], leader)?;
    }
    Ok(())
}

/// Records one after the other in a file whose blocks exist already.
struct Records {
    file: File,
    path: PathBuf,
    end: u64,
}

impl Records {
    fn create(folder: &Path, number: usize) -> io::Result<Self> {
        let path = folder.join(format!("exchange-probe-{number}"));
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        file.write_all_at(&vec![0; RECORD_BYTES * EXCHANGES], 0)?;
        file.sync_all()?;
        Ok(Self { file, path, end: 0 })
    }

    fn add(&mut self) -> io::Result<()> {
        self.file.write_all_at(&[0x5a; RECORD_BYTES], self.end)?;
        self.end += RECORD_BYTES as u64;
        Ok(fdatasync(&self.file)?)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // What is left behind is a small file in a folder of build products.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exchange_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(times(folder.path()).unwrap().count(), EXCHANGES);
    }
}
