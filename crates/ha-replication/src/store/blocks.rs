//! Changes in blocks: in their order, many behind one another, written and found as one value of the file.
//!
//! A block has the place of its last change, or a later one. A change that was replaced stays in its block, and what was
//! replaced is kept beside it, until that is half of the block: then the rest of it is written again, at the same place.
//! So a change is written anew once in the mean, however many records are replaced, and its block is at most twice as
//! large as what counts in it. (As segments of a log are cleaned: Rosenblum and Ousterhout 1992.)
//!
//! ```text
//! block     for each change: 0 length u32   4 change: see `entry`
//! replaced  for each replaced change, in their order: 0 where it begins in its block u16   then crc u32 of them all
//! ```

use std::iter;
use std::mem;
use std::ops::{Bound, Range};

use bytes::{Buf, BufMut, BytesMut};
use redb::{AccessGuard, ReadOnlyTable, ReadableTable, StorageError, Table, TableDefinition};

use super::entry::{decode_change, encode_change, order_of};
use super::sealed::{seal, unseal};
use super::{Place, Store, StoreError};
use crate::Key;
use crate::record::Kept;

/// The place of a block to its changes.
pub(super) const CHANGES: TableDefinition<Place, &[u8]> = TableDefinition::new("changes");
/// The place of a block to what was replaced in it.
pub(super) const REPLACED: TableDefinition<Place, &[u8]> = TableDefinition::new("replaced");

/// Bytes of a block, unless one change has more: a little less than eight pages of the file, whose heads fit in too. So
/// few in tests that records lie in several blocks.
const BLOCK_BYTES: usize = if cfg!(any(test, feature = "testing")) { 200 } else { 32_600 };
const LENGTH_BYTES: usize = 4;

/// One change in its block.
struct Item<'a> {
    /// Where it begins, with its length, and where it ends.
    range: Range<usize>,
    /// Its place and its bytes, unless they cannot be read.
    change: Option<(Place, &'a [u8])>,
}

impl<'a> Item<'a> {
    /// Its place and its bytes, when its checksum fits.
    fn sound(self) -> Option<(Place, &'a [u8])> {
        self.change.filter(|(_, change)| decode_change(change).is_ok())
    }
}

fn unreadable() -> StoreError {
    StoreError::Damaged { what: "a change in a block cannot be read".to_owned() }
}

/// All changes of a block. Where a length cannot be right, the rest of the block is one that cannot be read.
fn items(block: &[u8]) -> impl Iterator<Item = Item<'_>> {
    let mut at = 0;
    iter::from_fn(move || {
        let mut rest = block.get(at..).filter(|rest| !rest.is_empty())?;
        let bytes = rest.try_get_u32_le().ok().and_then(|length| rest.get(..length as usize));
        let end = bytes.map_or(block.len(), |bytes| at + LENGTH_BYTES + bytes.len());
        let range = mem::replace(&mut at, end)..end;
        Some(Item { range, change: bytes.and_then(|bytes| Some((order_of(bytes)?, bytes))) })
    })
}

/// Where changes of a block begin that were replaced.
fn read_replaced(sealed: &[u8]) -> Result<Vec<u16>, StoreError> {
    let replaced = unseal(sealed).filter(|replaced| replaced.len().is_multiple_of(2));
    let replaced = replaced.ok_or_else(|| StoreError::Damaged { what: "what was replaced in a block".to_owned() })?;
    Ok(replaced.chunks_exact(2).map(|mut at| at.get_u16_le()).collect())
}

/// What was replaced in a block, if anything was.
fn replaced_in(
    store: &Store,
    replaced: &impl ReadableTable<Place, &'static [u8]>,
    last: Place,
) -> Result<Option<Vec<u16>>, StoreError> {
    let replaced = replaced.get(last).map_err(|error| store.fault(error))?;
    replaced.map(|replaced| read_replaced(replaced.value())).transpose()
}

/// Nothing, for what is damaged: it must not keep others from being written, and the check tells of it.
pub(super) fn readable<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Damaged { what }) => {
            tracing::error!("{what}: ha replication check");
            Ok(None)
        }
        found => found,
    }
}

/// The changes of a block that were not replaced.
fn newest<'a>(block: &'a [u8], replaced: &[u16]) -> impl Iterator<Item = Item<'a>> {
    items(block).filter(|item| !is_replaced(replaced, item))
}

fn is_replaced(replaced: &[u16], item: &Item<'_>) -> bool {
    u16::try_from(item.range.start).is_ok_and(|at| replaced.binary_search(&at).is_ok())
}

/// What becomes of a block.
enum Marked {
    /// It stays, with this replaced in it.
    Few(Vec<u16>),
    /// This is left of it.
    Many(Vec<u8>),
}

/// A block of which some changes, besides those that were before, are replaced now. What cannot be read stays.
fn marked(block: &[u8], mut replaced: Vec<u16>, places: &[Place]) -> Marked {
    let (mut gone, mut left, mut more) = (0, Vec::new(), Vec::new());
    for item in items(block) {
        let was = is_replaced(&replaced, &item);
        if was || item.change.is_some_and(|(place, _)| places.binary_search(&place).is_ok()) {
            gone += item.range.len();
            // One that begins further back is alone in its block.
            more.extend(u16::try_from(item.range.start).ok().filter(|_| !was));
        } else {
            left.push(item.range);
        }
    }
    if gone * 2 >= block.len() {
        return Marked::Many(left.into_iter().flat_map(|item| block[item].iter().copied()).collect());
    }
    replaced.extend(more);
    replaced.sort_unstable();
    Marked::Few(replaced)
}

/// Any bytes for a block and what was replaced in it.
#[cfg(feature = "testing")]
pub(super) fn fuzz_block(input: &[u8]) {
    let replaced = read_replaced(input).unwrap_or_default();
    assert!(newest(input, &replaced).count() <= items(input).count());
}

/// A change as it lies in the file.
pub(super) struct Found<'a> {
    block: AccessGuard<'a, &'static [u8]>,
    change: Range<usize>,
}

impl Found<'_> {
    /// Its bytes.
    pub(super) fn change(&self) -> &[u8] {
        &self.block.value()[self.change.clone()]
    }
}

/// The change at a place, whether it was replaced or not.
fn find<'a>(
    store: &Store,
    blocks: &'a impl ReadableTable<Place, &'static [u8]>,
    place: Place,
) -> Result<Option<Found<'a>>, StoreError> {
    let fault = |error: StorageError| store.fault(error);
    let Some((_, block)) = blocks.range(place..).map_err(fault)?.next().transpose().map_err(fault)? else {
        return Ok(None);
    };
    let (mut found, mut is_damaged) = (None, false);
    for item in items(block.value()) {
        is_damaged |= item.change.is_none();
        if item.change.is_some_and(|(at, _)| at == place) {
            found = Some(item.range.start + LENGTH_BYTES..item.range.end);
            break;
        }
    }
    match found {
        Some(change) => Ok(Some(Found { block, change })),
        // It may be that.
        None if is_damaged => Err(unreadable()),
        None => Ok(None),
    }
}

/// The changes, to read.
pub(super) struct Reading {
    blocks: ReadOnlyTable<Place, &'static [u8]>,
    replaced: ReadOnlyTable<Place, &'static [u8]>,
}

impl Reading {
    pub(super) fn open(transaction: &redb::ReadTransaction) -> Result<Self, redb::TableError> {
        Ok(Self { blocks: transaction.open_table(CHANGES)?, replaced: transaction.open_table(REPLACED)? })
    }

    /// The change at a place, whether it was replaced or not.
    pub(super) fn find(&self, store: &Store, place: Place) -> Result<Option<Found<'_>>, StoreError> {
        find(store, &self.blocks, place)
    }

    /// Shows the changes above `after` up to `upto`, in their order, those that were replaced left out, until `visit`
    /// says no; and what cannot be read, where it lies.
    pub(super) fn walk(
        &self,
        store: &Store,
        after: Place,
        upto: Place,
        mut visit: impl FnMut(Result<&[u8], StoreError>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let fault = |error: StorageError| store.fault(error);
        if after >= upto {
            return Ok(());
        }
        let mut before = (0, 0);
        for block in self.blocks.range((Bound::Excluded(after), Bound::Unbounded)).map_err(fault)? {
            let (last, block) = block.map_err(fault)?;
            let last = last.value();
            let replaced = match replaced_in(store, &self.replaced, last) {
                Err(error @ StoreError::Damaged { .. }) => {
                    if !visit(Err(error))? {
                        return Ok(());
                    }
                    Vec::new()
                }
                replaced => replaced?.unwrap_or_default(),
            };
            for item in newest(block.value(), &replaced) {
                let shown = match item.change {
                    Some((place, change)) if (after < place && place <= upto) && (before < place && place <= last) => {
                        Ok(change)
                    }
                    // A flipped bit of a place must not hide a change, or all that follow.
                    Some((place, change)) => match decode_change(change) {
                        Ok(_) if before < place && place <= after => continue,
                        Ok(_) if upto < place && place <= last => return Ok(()),
                        Ok((key, _)) => Err(StoreError::Damaged { what: format!("{key} lies in another block") }),
                        Err(error) => Err(error),
                    },
                    None => Err(unreadable()),
                };
                if !visit(shown)? {
                    return Ok(());
                }
            }
            before = last;
        }
        Ok(())
    }
}

/// The changes, to write.
pub(super) struct Writing<'s, 't> {
    store: &'s Store,
    blocks: Table<'t, Place, &'static [u8]>,
    replaced: Table<'t, Place, &'static [u8]>,
    /// The places of those that were replaced, and are not marked yet.
    unmarked: Vec<Place>,
}

impl<'s, 't> Writing<'s, 't> {
    pub(super) fn open(store: &'s Store, transaction: &'t redb::WriteTransaction) -> Result<Self, redb::TableError> {
        let (blocks, replaced) = (transaction.open_table(CHANGES)?, transaction.open_table(REPLACED)?);
        Ok(Self { store, blocks, replaced, unmarked: Vec::new() })
    }

    /// The change at a place, whether it was replaced or not.
    pub(super) fn find(&self, place: Place) -> Result<Option<Found<'_>>, StoreError> {
        find(self.store, &self.blocks, place)
    }

    /// The change at a place does not count any more, as soon as that is marked.
    pub(super) fn replace(&mut self, place: Place) {
        self.unmarked.push(place);
    }

    /// Marks what was replaced, and writes blocks again of which that is half.
    pub(super) fn mark(&mut self) -> Result<(), StoreError> {
        let mut places = mem::take(&mut self.unmarked);
        places.sort_unstable();
        let mut rest = &places[..];
        while let Some((last, count, marked)) = self.marked(rest)? {
            rest = &rest[count..];
            match marked {
                Marked::Few(replaced) => {
                    let sealed = seal(replaced.iter().flat_map(|at| at.to_le_bytes()).collect());
                    self.replaced.insert(last, &sealed[..]).map_err(|error| self.store.fault(error))?;
                }
                Marked::Many(left) => {
                    self.drop_block(last)?;
                    if !left.is_empty() {
                        self.write(last, &left)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The block of the first of these places, how many of them are in it, and what becomes of it.
    fn marked(&self, places: &[Place]) -> Result<Option<(Place, usize, Marked)>, StoreError> {
        let fault = |error: StorageError| self.store.fault(error);
        let Some(first) = places.first() else { return Ok(None) };
        let Some(found) = self.blocks.range(*first..).map_err(fault)?.next() else { return Ok(None) };
        let (last, block) = found.map_err(fault)?;
        let last = last.value();
        let count = places.partition_point(|place| *place <= last);
        let marked = marked(block.value(), self.replaced_in(last)?, &places[..count]);
        Ok(Some((last, count, marked)))
    }

    /// What was replaced in a block. Where that is damaged, followers are told what was replaced again, and know better.
    fn replaced_in(&self, last: Place) -> Result<Vec<u16>, StoreError> {
        Ok(readable(replaced_in(self.store, &self.replaced, last))?.unwrap_or_default())
    }

    fn write(&mut self, last: Place, block: &[u8]) -> Result<(), StoreError> {
        self.blocks.insert(last, block).map(drop).map_err(|error| self.store.fault(error))
    }

    fn drop_block(&mut self, last: Place) -> Result<(), StoreError> {
        self.blocks.remove(last).map_err(|error| self.store.fault(error))?;
        self.replaced.remove(last).map_err(|error| self.store.fault(error))?;
        Ok(())
    }

    /// Puts changes, which are in their order. What was replaced is marked before.
    pub(super) fn put(&mut self, changes: &[(Place, &Key, &Kept)]) -> Result<(), StoreError> {
        self.mark()?;
        let mut rest = changes;
        while let Some((first, ..)) = rest.first() {
            let fault = |error: StorageError| self.store.fault(error);
            let next = self.blocks.range(*first..).map_err(fault)?.next().transpose().map_err(fault)?;
            let next = next.map(|(last, block)| (last.value(), block.value().to_vec()));
            let count = next.as_ref().map_or(rest.len(), |(last, _)| rest.partition_point(|(place, ..)| place <= last));
            let within;
            (within, rest) = rest.split_at(count);
            match next {
                Some((last, block)) => self.put_before(last, &block, within)?,
                None => self.put_last(within)?,
            }
        }
        Ok(())
    }

    /// Puts changes after which there are none.
    fn put_last(&mut self, changes: &[(Place, &Key, &Kept)]) -> Result<(), StoreError> {
        let mut filling = Filling::default();
        for (place, key, kept) in changes {
            filling.begin(*place);
            encode_change(key, kept, &mut filling.block);
            filling.end(self)?;
        }
        filling.close(self)
    }

    /// Puts changes before or into a block.
    fn put_before(&mut self, last: Place, block: &[u8], changes: &[(Place, &Key, &Kept)]) -> Result<(), StoreError> {
        // What cannot be read goes: the index still says that it was there.
        let first = items(block).find_map(Item::sound).map(|(place, _)| place);
        if first.is_some_and(|first| changes.last().is_some_and(|(place, ..)| *place < first)) {
            return self.put_last(changes);
        }
        let replaced = self.replaced_in(last)?;
        let mut held = newest(block, &replaced).filter_map(Item::sound).peekable();
        self.drop_block(last)?;
        let mut filling = Filling::default();
        for (place, key, kept) in changes {
            while let Some(held) = held.next_if(|(held, _)| held < place) {
                filling.keep(self, held)?;
            }
            filling.begin(*place);
            encode_change(key, kept, &mut filling.block);
            filling.end(self)?;
        }
        for held in held {
            filling.keep(self, held)?;
        }
        filling.close(self)
    }
}

/// A block that is being filled.
#[derive(Default)]
struct Filling {
    block: BytesMut,
    /// Where its last change begins, and its place.
    at: usize,
    place: Place,
    /// The place of the one before.
    before: Place,
}

impl Filling {
    /// What follows in the block is the change at a place.
    fn begin(&mut self, place: Place) {
        self.before = mem::replace(&mut self.place, place);
        self.at = self.block.len();
        self.block.put_u32_le(0);
    }

    /// The change is whole. When it has no room, what came before it is a block.
    fn end(&mut self, writing: &mut Writing<'_, '_>) -> Result<(), StoreError> {
        // A change is far shorter than 4 GiB.
        let length = (self.block.len() - self.at - LENGTH_BYTES) as u32;
        self.block[self.at..self.at + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        if self.at > 0 && self.block.len() > BLOCK_BYTES {
            writing.write(self.before, &self.block.split_to(self.at))?;
        }
        Ok(())
    }

    /// Takes a change as it is.
    fn keep(&mut self, writing: &mut Writing<'_, '_>, (place, change): (Place, &[u8])) -> Result<(), StoreError> {
        self.begin(place);
        self.block.put_slice(change);
        self.end(writing)
    }

    fn close(self, writing: &mut Writing<'_, '_>) -> Result<(), StoreError> {
        if self.block.is_empty() { Ok(()) } else { writing.write(self.place, &self.block) }
    }
}

#[cfg(test)]
impl Reading {
    /// Checks what must be so of all blocks.
    pub(super) fn fits(&self) {
        let mut before = (0, 0);
        for block in self.blocks.iter().unwrap() {
            let (last, block) = block.unwrap();
            let replaced = self.replaced.get(last.value()).unwrap();
            let replaced = replaced.map(|replaced| read_replaced(replaced.value()).unwrap()).unwrap_or_default();
            let places: Vec<_> = items(block.value()).map(|item| item.change.unwrap().0).collect();
            assert!(places.is_sorted_by(|one, next| one < next));
            assert!(before < places[0] && places[places.len() - 1] <= last.value(), "blocks do not overlap");
            assert!(places.len() == 1 || block.value().len() <= BLOCK_BYTES);
            let gone = items(block.value()).filter(|item| is_replaced(&replaced, item)).map(|item| item.range.len());
            assert!(gone.sum::<usize>() * 2 < block.value().len(), "half of it was replaced");
            before = last.value();
        }
        let mut rows = self.replaced.iter().unwrap();
        assert!(rows.all(|row| self.blocks.get(row.unwrap().0.value()).unwrap().is_some()), "of a block that is gone");
    }
}
