//! The first record of a segment: the state before it, so that older segments can go.
//!
//! ```text
//! flags u8: 1 hard state, 2 committed, 4 purged, 8 entries; then, for each flag set, in this order:
//! hard state: length u32, bytes    committed: length u32, bytes
//! purged: index u64, term u64      entries: first index u64, last index u64, last term u64
//! ```

use std::io;

use bytes::{Buf, BufMut, Bytes};

use super::format::{Kind, RecordHeader, SegmentHeader};
use super::view::{Terms, View};

const HARD_STATE: u8 = 1;
const COMMITTED: u8 = 2;
const PURGED: u8 = 4;
const ENTRIES: u8 = 8;

/// The header of a segment and its checkpoint.
pub(super) fn segment_start(header: &SegmentHeader, view: &View) -> io::Result<Vec<u8>> {
    let mut buffer = header.encode().to_vec();
    let offset = buffer.len() as u64;
    let record = RecordHeader { kind: Kind::Checkpoint, generation: header.generation, durable: 0, index: 0, term: 0 };
    record.encode(&encode(view)?, SegmentHeader::seed(header.salt, header.sequence), offset, &mut buffer)?;
    Ok(buffer)
}

/// Whether a checkpoint tells the same as the records before it; what is committed is written late, and single terms are
/// not in a checkpoint.
pub(super) fn agree(checkpoint: &View, replayed: &View) -> bool {
    let entries = |view: &View| (!view.terms.is_empty()).then(|| (view.terms.first(), view.terms.next()));
    checkpoint.hard_state == replayed.hard_state
        && checkpoint.purged == replayed.purged
        && entries(checkpoint) == entries(replayed)
}

pub(super) fn encode(view: &View) -> io::Result<Vec<u8>> {
    let mut flags = 0;
    let mut body = Vec::new();
    for (flag, state) in [(HARD_STATE, &view.hard_state), (COMMITTED, &view.committed)] {
        if let Some(state) = state {
            flags |= flag;
            body.put_u32_le(u32::try_from(state.len()).map_err(|_| io::ErrorKind::InvalidInput)?);
            body.put_slice(state);
        }
    }
    if let Some((index, term)) = view.purged {
        flags |= PURGED;
        body.put_u64_le(index);
        body.put_u64_le(term);
    }
    if let Some((last, term)) = view.terms.last() {
        flags |= ENTRIES;
        body.put_u64_le(view.terms.first());
        body.put_u64_le(last);
        body.put_u64_le(term);
    }
    body.insert(0, flags);
    Ok(body)
}

/// `None` when the bytes are not a checkpoint.
pub(super) fn decode(mut bytes: &[u8]) -> Option<View> {
    let flags = bytes.try_get_u8().ok()?;
    let mut view = View::default();
    for (flag, state) in [(HARD_STATE, &mut view.hard_state), (COMMITTED, &mut view.committed)] {
        if flags & flag != 0 {
            let length = bytes.try_get_u32_le().ok()? as usize;
            *state = Some(Bytes::copy_from_slice(bytes.split_off(..length)?));
        }
    }
    if flags & PURGED != 0 {
        let position = (bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?);
        view.purge(position.0, position.1);
    }
    if flags & ENTRIES != 0 {
        let (first, last) = (bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?);
        view.terms = Terms::assume(first, last, bytes.try_get_u64_le().ok()?);
    }
    (bytes.is_empty() && flags & !(HARD_STATE | COMMITTED | PURGED | ENTRIES) == 0).then_some(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        let mut view = View::default();
        assert!(agree(&decode(&encode(&view).unwrap()).unwrap(), &view));
        view.hard_state = Some(Bytes::from_static(b"vote"));
        view.committed = Some(Bytes::from_static(b""));
        view.purge(4, 2);
        for index in 5..9 {
            view.append(index, index / 2);
        }
        let decoded = decode(&encode(&view).unwrap()).unwrap();
        assert!(agree(&decoded, &view));
        assert_eq!(decoded.committed, view.committed);
        assert_eq!(decoded.last(), Some((8, 4)));
    }

    #[test]
    fn every_strange_length_is_refused() {
        let mut view = View { hard_state: Some(Bytes::from_static(b"vote")), ..View::default() };
        view.purge(4, 2);
        let mut bytes = encode(&view).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_none(), "{length}");
        }
        bytes.push(0);
        assert!(decode(&bytes).is_none());
    }
}
