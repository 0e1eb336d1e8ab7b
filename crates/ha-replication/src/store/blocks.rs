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

use super::entry::{encode_change, order_of};
use super::sealed::{seal, unseal};
use super::{Place, Store, StoreError};
use crate::Key;
use crate::record::Kept;

/// The place of a block to its changes.
pub(super) const CHANGES: TableDefinition<Place, &[u8]> = TableDefinition::new("changes");
/// The place of a block to what was replaced in it.
pub(super) const REPLACED: TableDefinition<Place, &[u8]> = TableDefinition::new("replaced");

/// Bytes of a block, unless one change has more: a little less than four pages of the file, whose heads fit in too. So
/// few in tests that records lie in several blocks.
const BLOCK_BYTES: usize = if cfg!(any(test, feature = "testing")) { 200 } else { 16_000 };
const LENGTH_BYTES: usize = 4;

/// One change in its block.
struct Item<'a> {
    /// Where it begins.
    at: usize,
    place: Place,
    change: &'a [u8],
}

impl Item<'_> {
    /// Bytes that it takes.
    fn bytes(&self) -> usize {
        LENGTH_BYTES + self.change.len()
    }
}

fn cut_short() -> StoreError {
    StoreError::Damaged { what: "a block of changes that is cut short".to_owned() }
}

/// All changes of a block. After an error, there is nothing more.
fn items(block: &[u8]) -> impl Iterator<Item = Result<Item<'_>, StoreError>> {
    let mut at = 0;
    iter::from_fn(move || {
        let mut rest = block.get(at..).filter(|rest| !rest.is_empty())?;
        let read = rest.try_get_u32_le().ok().and_then(|length| {
            let change = rest.get(..length as usize)?;
            Some(Item { at, place: order_of(change)?, change })
        });
        at = read.as_ref().map_or(block.len(), |item| at + item.bytes());
        Some(read.ok_or_else(cut_short))
    })
}

/// Where changes of a block begin that were replaced.
fn read_replaced(sealed: &[u8]) -> Result<Vec<u16>, StoreError> {
    let replaced = unseal(sealed).filter(|replaced| replaced.len().is_multiple_of(2));
    let replaced = replaced.ok_or_else(|| StoreError::Damaged { what: "what was replaced in a block".to_owned() })?;
    Ok(replaced.chunks_exact(2).map(|mut at| at.get_u16_le()).collect())
}

/// The changes of a block that were not replaced.
fn newest<'a>(block: &'a [u8], replaced: &[u16]) -> impl Iterator<Item = Result<Item<'a>, StoreError>> {
    items(block).filter(|item| !item.as_ref().is_ok_and(|item| is_replaced(replaced, item.at)))
}

fn is_replaced(replaced: &[u16], at: usize) -> bool {
    u16::try_from(at).is_ok_and(|at| replaced.binary_search(&at).is_ok())
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
    let found = items(block.value()).find(|item| item.as_ref().map_or(true, |item| item.place == place)).transpose()?;
    let range = found.map(|item| item.at + LENGTH_BYTES..item.at + item.bytes());
    Ok(range.map(|change| Found { block, change }))
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
    /// says no. What cannot be read of a block is told of after the rest of it.
    pub(super) fn walk(
        &self,
        store: &Store,
        after: Place,
        upto: Place,
        mut visit: impl FnMut(Result<(Place, &[u8]), StoreError>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let fault = |error: StorageError| store.fault(error);
        if after >= upto {
            return Ok(());
        }
        for block in self.blocks.range((Bound::Excluded(after), Bound::Unbounded)).map_err(fault)? {
            let (last, block) = block.map_err(fault)?;
            let replaced = self.replaced.get(last.value()).map_err(fault)?;
            let replaced = replaced.map(|replaced| read_replaced(replaced.value())).transpose();
            let (replaced, damage) = match replaced {
                Ok(replaced) => (replaced.unwrap_or_default(), None),
                Err(error) => (Vec::new(), Some(error)),
            };
            if let Some(error) = damage
                && !visit(Err(error))?
            {
                return Ok(());
            }
            for item in newest(block.value(), &replaced) {
                let goes_on = match item {
                    Ok(item) if item.place <= after => true,
                    Ok(item) if item.place > upto => return Ok(()),
                    Ok(item) => visit(Ok((item.place, item.change)))?,
                    Err(error) => visit(Err(error))?,
                };
                if !goes_on {
                    return Ok(());
                }
            }
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
        while let Some(place) = rest.first() {
            let block = self.block_of(*place)?;
            let Some((last, block)) = block else { break };
            let within;
            (within, rest) = rest.split_at(rest.partition_point(|place| *place <= last));
            self.mark_within(last, &block, within)?;
        }
        Ok(())
    }

    fn mark_within(&mut self, last: Place, block: &[u8], places: &[Place]) -> Result<(), StoreError> {
        let mut replaced = self.replaced_in(last)?;
        let (mut gone, mut left) = (0, Vec::new());
        for item in items(block) {
            let item = match item {
                Ok(item) => item,
                // What is damaged must not keep others from being written; the check tells of it.
                Err(error) => {
                    tracing::error!("{error}: ha replication check");
                    return Ok(());
                }
            };
            let was = is_replaced(&replaced, item.at);
            if was || places.binary_search(&item.place).is_ok() {
                gone += item.bytes();
                if !was {
                    left.push(item.at as u16);
                }
            }
        }
        replaced.extend(left);
        replaced.sort_unstable();
        if gone * 2 < block.len() {
            let sealed = seal(replaced.iter().flat_map(|at| at.to_le_bytes()).collect());
            self.replaced.insert(last, &sealed[..]).map_err(|error| self.store.fault(error))?;
            return Ok(());
        }
        let mut kept = Vec::with_capacity(block.len() - gone);
        for item in newest(block, &replaced) {
            let item = item?;
            kept.extend_from_slice(&block[item.at..item.at + item.bytes()]);
        }
        self.drop_block(last)?;
        if kept.is_empty() { Ok(()) } else { self.write(last, &kept) }
    }

    fn write(&mut self, last: Place, block: &[u8]) -> Result<(), StoreError> {
        self.blocks.insert(last, block).map(drop).map_err(|error| self.store.fault(error))
    }

    /// The block in which a place is or would be, if there is one.
    fn block_of(&self, place: Place) -> Result<Option<(Place, Vec<u8>)>, StoreError> {
        let fault = |error: StorageError| self.store.fault(error);
        let found = self.blocks.range(place..).map_err(fault)?.next().transpose().map_err(fault)?;
        Ok(found.map(|(last, block)| (last.value(), block.value().to_vec())))
    }

    fn replaced_in(&self, last: Place) -> Result<Vec<u16>, StoreError> {
        let replaced = self.replaced.get(last).map_err(|error| self.store.fault(error))?;
        Ok(replaced.map(|replaced| read_replaced(replaced.value())).transpose()?.unwrap_or_default())
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
            let next = self.block_of(*first)?;
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
        let first = items(block).next().transpose()?.map(|item| item.place);
        if first.is_some_and(|first| changes.last().is_some_and(|(place, ..)| *place < first)) {
            return self.put_last(changes);
        }
        let replaced = self.replaced_in(last)?;
        let mut held = newest(block, &replaced).collect::<Result<Vec<_>, _>>()?.into_iter().peekable();
        self.drop_block(last)?;
        let mut filling = Filling::default();
        for (place, key, kept) in changes {
            while let Some(item) = held.next_if(|item| item.place < *place) {
                filling.keep(self, item)?;
            }
            filling.begin(*place);
            encode_change(key, kept, &mut filling.block);
            filling.end(self)?;
        }
        for item in held {
            filling.keep(self, item)?;
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
    fn keep(&mut self, writing: &mut Writing<'_, '_>, item: Item<'_>) -> Result<(), StoreError> {
        self.begin(item.place);
        self.block.put_slice(item.change);
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
            let all: Vec<_> = items(block.value()).map(Result::unwrap).collect();
            assert!(all.iter().is_sorted_by(|one, next| one.place < next.place));
            assert!(before < all[0].place && all[all.len() - 1].place <= last.value(), "blocks do not overlap");
            assert!(all.len() == 1 || block.value().len() <= BLOCK_BYTES);
            let gone: usize = all.iter().filter(|item| is_replaced(&replaced, item.at)).map(Item::bytes).sum();
            assert!(gone * 2 < block.value().len(), "half of it was replaced");
            before = last.value();
        }
        let mut rows = self.replaced.iter().unwrap();
        assert!(rows.all(|row| self.blocks.get(row.unwrap().0.value()).unwrap().is_some()), "of a block that is gone");
    }
}
