//! Many changes in one piece, as a command carries them: laid out so that reading them copies and allocates nothing.
//!
//! ```text
//! then for each change: 0 length of the key u16   2 length of the data u32, or 2^32 - 1 for none   6 key   data
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{Change, Key};

/// Stands for the length of data that is not there.
const NO_DATA: u32 = u32::MAX;
/// Bytes before each key.
const HEAD_BYTES: usize = 6;

/// Changes of different records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Packed(Bytes);

impl Packed {
    /// Packs changes.
    pub(crate) fn of<'a>(changes: impl Iterator<Item = &'a Change> + Clone) -> Self {
        let data = |change: &Change| change.data.as_ref().map_or(0, Bytes::len);
        let bytes = changes.clone().map(|change| HEAD_BYTES + change.key.bytes().len() + data(change)).sum();
        let mut out = BytesMut::with_capacity(bytes);
        for Change { key, data } in changes {
            // A key is far shorter than 64 KiB, and data than 4 GiB.
            out.put_u16_le(key.bytes().len() as u16);
            out.put_u32_le(data.as_ref().map_or(NO_DATA, |data| data.len() as u32));
            out.put_slice(key.bytes());
            out.put_slice(data.as_deref().unwrap_or_default());
        }
        Self(out.freeze())
    }

    /// What [`Self::of`] made, out of a command.
    pub(crate) fn within(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The changes, as far as they can be read; `None` stands for one whose key is none.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Option<Change>> + use<> {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || {
            if !rest.has_remaining() {
                return None;
            }
            let change = next(&mut rest);
            if change.is_none() {
                // Lengths that do not fit: nothing after them has a place.
                rest.clear();
            }
            change
        })
    }
}

fn next(rest: &mut Bytes) -> Option<Option<Change>> {
    let key = usize::from(rest.try_get_u16_le().ok()?);
    let length = rest.try_get_u32_le().ok()?;
    let data = if length == NO_DATA { 0 } else { length as usize };
    if rest.remaining() < key.checked_add(data)? {
        return None;
    }
    let key = Key::from_bytes(rest.split_to(key));
    let data = rest.split_to(data);
    // The store must be able to trust keys, whoever put them on the log.
    Some(key.ok().map(|key| Change { key, data: (length != NO_DATA).then_some(data) }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(id: &str, data: Option<&'static [u8]>) -> Change {
        Change { key: Key::new("t", id).unwrap(), data: data.map(Bytes::from_static) }
    }

    #[test]
    fn changes_come_out_as_they_went_in() {
        let changes = [change("a", Some(b"1")), change("b", None), change("c", Some(b""))];
        let packed = Packed::of(changes.iter());
        assert_eq!(packed.changes().collect::<Option<Vec<_>>>().unwrap(), changes);
        assert_eq!(Packed::default().changes().count(), 0);
    }

    /// Old logs must stay readable: this layout may gain a sibling, and never changes.
    #[test]
    fn golden_bytes() {
        let packed = Packed::of([change("a", Some(b"xy")), change("b", None)].iter());
        let golden = [3, 0, 2, 0, 0, 0, 1, b't', b'a', b'x', b'y', 3, 0, 255, 255, 255, 255, 1, b't', b'b'];
        assert_eq!(packed.0, golden.as_slice());
    }

    #[test]
    fn a_key_that_is_none_keeps_its_place() {
        let good = Packed::of([change("a", Some(b"1"))].iter());
        let bad = [&[1, 0, 0, 0, 0, 0, 9][..], &good.0[..]].concat();
        let read: Vec<_> = Packed(bad.into()).changes().collect();
        assert_eq!(read, [None, Some(change("a", Some(b"1")))]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Packed(bytes.into()).changes().count() <= 200);
        }
    }
}
