//! Remembers what was acknowledged to a client, in a way that outlives SIGKILL: a file that is written at once. It is
//! not synced, since the machine itself does not die in these measurements.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The file, in the folder that the node was started in.
const NAME: &str = "acknowledged";
/// Bytes per acknowledgement: writer and serial.
const RECORD_BYTES: usize = 16;

/// The file of this node, all its lives in one.
pub(crate) struct Acknowledged {
    file: Mutex<File>,
}

impl Acknowledged {
    /// Opens it for adding.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { file: Mutex::new(OpenOptions::new().create(true).append(true).open(NAME)?) })
    }

    /// Adds one. One system call, so a kill leaves a whole record or none.
    pub(crate) fn add(&self, writer: u64, serial: u64) -> io::Result<()> {
        let mut record = [0; RECORD_BYTES];
        record[..8].copy_from_slice(&writer.to_le_bytes());
        record[8..].copy_from_slice(&serial.to_le_bytes());
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&record)
    }

    /// Reads the file of any node; one that was never written is empty.
    pub(crate) fn read(path: &Path) -> io::Result<Vec<(u64, u64)>> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Ok(bytes.chunks_exact(RECORD_BYTES).map(|record| (number(&record[..8]), number(&record[8..]))).collect())
    }
}
