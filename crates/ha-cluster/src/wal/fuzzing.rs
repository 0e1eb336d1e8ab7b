//! Segments of the log, to be fed with anything.

use std::path::Path;

use bytes::Bytes;
use futures::executor::block_on;

use super::checkpoint;
use super::files;
use super::format::{
    ALIGNMENT, Candidate, Kind, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use super::recover::recover;
use super::view::View;
use crate::disk::faulty::FaultyDisk;
use crate::fuzzing::Target;

const DIRECTORY: &str = "/wal";
const HEADER: SegmentHeader = SegmentHeader { sequence: 1, generation: 1, salt: 9, previous_end: 0 };

pub(crate) fn targets() -> Vec<Target> {
    vec![("log-segment", segments(), segment), ("log-checkpoint", checkpoints(), checkpoint)]
}

fn records() -> [(Kind, u64, &'static [u8]); 8] {
    [
        (Kind::HardState, 0, b"a vote"),
        (Kind::Open, 0, b""),
        (Kind::Entry, 1, b"one"),
        (Kind::Entry, 2, b"two and more"),
        (Kind::Committed, 0, b"up to 1"),
        (Kind::Cut, 2, b""),
        (Kind::Purge, 1, b""),
        (Kind::Mark, 0, b""),
    ]
}

fn segments() -> Vec<Vec<u8>> {
    let Ok(mut bytes) = checkpoint::segment_start(&HEADER, &View::default()) else { return Vec::new() };
    let seed = SegmentHeader::seed(HEADER.salt, HEADER.sequence);
    let mut generation = HEADER.generation;
    for (kind, index, payload) in records() {
        let offset = bytes.len() as u64;
        generation += u64::from(kind == Kind::Open);
        let durable = if kind == Kind::Mark { offset as u32 } else { 0 };
        let record = RecordHeader { kind, generation, durable, index, term: 1 };
        let _ = record.encode(payload, seed, offset, &mut bytes);
    }
    vec![bytes[..SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + ALIGNMENT].to_vec(), bytes]
}

/// Opens a log of this one segment, as it is and with right checksums.
fn segment(input: &[u8]) {
    for content in [input.to_vec(), mended(input)] {
        let disk = FaultyDisk::default();
        let path = Path::new(DIRECTORY).join(files::name_of(1));
        block_on(async {
            let directory = Path::new(DIRECTORY);
            let _ = crate::disk::Disk::create_dir_all(&disk, directory).await;
            disk.set_content(&path, content);
            let _ = recover(&disk, directory, HEADER.salt).await;
        });
    }
}

fn mended(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let Some(start) = bytes.first_chunk_mut::<SEGMENT_HEADER_BYTES>() else { return bytes };
    *start = HEADER.encode();
    let seed = SegmentHeader::seed(HEADER.salt, HEADER.sequence);
    let mut offset = SEGMENT_HEADER_BYTES;
    while let Some(candidate) = bytes.get(offset..offset + RECORD_HEADER_BYTES).and_then(Candidate::peek) {
        let Some(record) = bytes.get_mut(offset..offset + candidate.bytes()) else { break };
        let crc = super::format::record_crc(record, seed, offset as u64);
        record[..4].copy_from_slice(&crc.to_le_bytes());
        offset += candidate.bytes().next_multiple_of(ALIGNMENT);
    }
    bytes
}

fn checkpoints() -> Vec<Vec<u8>> {
    let mut view = View { hard_state: Some(Bytes::from_static(b"a vote")), ..View::default() };
    view.committed = Some(Bytes::from_static(b"up to 4"));
    view.append(1, 1);
    view.append(2, 1);
    view.purge(1, 1);
    [View::default(), view].iter().filter_map(|view| checkpoint::encode(view).ok()).collect()
}

fn checkpoint(input: &[u8]) {
    if let Some(view) = checkpoint::decode(input) {
        let again = checkpoint::encode(&view).ok().and_then(|bytes| checkpoint::decode(&bytes));
        assert!(again.is_some(), "a checkpoint reads back");
    }
}
