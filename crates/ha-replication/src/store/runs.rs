//! Slots in the file: sorted runs of them, joined as they become many.
//!
//! Names of records are spread over all buckets, so a table of slots would cost a page for each that is written. What
//! waited in memory goes to the file as a run in the order of names instead, page after page; runs of about the same
//! size are joined, so that a slot is written again as often as the number of all slots doubles. What a later run says
//! of a name counts. (As in a log-structured merge-tree: O'Neil, Cheng, Gawlick, O'Neil 1996.)
//!
//! ```text
//! page   for each slot: 0 name u64   8 time u64   16 tie u64   24 place u64   then crc u32 of them all
//! ```

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::RangeInclusive;

use bytes::{Buf, BufMut};
use redb::{ReadOnlyTable, StorageError, Table};
use serde::{Deserialize, Serialize};

use super::sealed::{seal, unseal};
use super::{Place, Store, StoreError};
use crate::Version;

const SLOT_BYTES: usize = 32;
/// Slots of a run that is joined of others, at most: so many are read and written in one batch.
const JOINED_MAX: u64 = 2_000_000;
/// As many as fit in a page of the file; so few in tests that runs have several pages.
const PAGE_SLOTS: usize = if cfg!(any(test, feature = "testing")) { 3 } else { 126 };

pub(super) type Reading = ReadOnlyTable<(u32, u64), &'static [u8]>;

/// A run in the file. Kept in the state, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    id: u32,
    slots: u64,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) version: Version,
    /// Where the change is.
    pub(super) place: u64,
}

impl Slot {
    /// The record is gone, its grave too.
    pub(super) const GONE: Self = Self { version: Version { time: 0, tie: 0 }, place: 0 };

    /// Where that is.
    pub(super) fn order(&self) -> Place {
        crate::record::order(self.place, self.version)
    }

    /// Whether there is such a record.
    pub(super) fn is_there(&self) -> bool {
        self.version.is_stamp()
    }
}

/// Slots by name.
pub(super) type Slots = BTreeMap<u64, Slot>;

pub(super) fn read_page(page: &[u8]) -> Result<Vec<(u64, Slot)>, StoreError> {
    let slots = unseal(page).filter(|slots| slots.len().is_multiple_of(SLOT_BYTES));
    let slots = slots.ok_or_else(|| StoreError::Damaged { what: "a page of names and versions".to_owned() })?;
    let slot = |mut slot: &[u8]| {
        let name = slot.get_u64_le();
        let version = Version { time: slot.get_u64_le(), tie: slot.get_u64_le() };
        (name, Slot { version, place: slot.get_u64_le() })
    };
    Ok(slots.chunks_exact(SLOT_BYTES).map(slot).collect())
}

/// All slots of a run, in the order of names.
fn all(
    store: &Store,
    reading: &Reading,
    run: Run,
) -> Result<impl Iterator<Item = Result<(u64, Slot), StoreError>>, StoreError> {
    let fault = |error: StorageError| store.fault(error);
    let pages = reading.range((run.id, 0)..=(run.id, u64::MAX)).map_err(fault)?;
    Ok(pages.flat_map(move |page| match page.map_err(fault).and_then(|(_, page)| read_page(page.value())) {
        Ok(slots) => slots.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    }))
}

/// What the runs say of the names in a range.
pub(super) fn find(
    store: &Store,
    reading: &Reading,
    runs: &[Run],
    names: RangeInclusive<u64>,
) -> Result<Slots, StoreError> {
    let fault = |error: StorageError| store.fault(error);
    let mut found = Slots::new();
    for run in runs {
        // The first of them may be in a page that begins before it.
        let first = reading.range((run.id, 0)..=(run.id, *names.start())).map_err(fault)?.next_back();
        let first = first.transpose().map_err(fault)?.map_or(*names.start(), |(page, _)| page.value().1);
        for page in reading.range((run.id, first)..=(run.id, *names.end())).map_err(fault)? {
            let (_, page) = page.map_err(fault)?;
            found.extend(read_page(page.value())?.into_iter().filter(|(name, _)| names.contains(name)));
        }
    }
    Ok(found)
}

/// What the runs say of these names.
pub(super) fn latest(store: &Store, reading: &Reading, runs: &[Run], of: &Slots) -> Result<Slots, StoreError> {
    let mut latest = Slots::new();
    for run in runs {
        let mut names = of.keys().peekable();
        for slot in all(store, reading, *run)? {
            let (name, slot) = slot?;
            while names.next_if(|wanted| **wanted < name).is_some() {}
            match names.peek() {
                Some(wanted) if **wanted == name => drop(latest.insert(name, slot)),
                Some(_) => {}
                None => break,
            }
        }
    }
    Ok(latest)
}

/// All slots, the newest of each name, in the order of names: those in memory, then the runs from the last to the first.
pub(super) fn joined<'a>(
    store: &'a Store,
    reading: Option<&'a Reading>,
    runs: &[Run],
    slots: Slots,
) -> Result<impl Iterator<Item = Result<(u64, Slot), StoreError>> + use<'a>, StoreError> {
    let mut sources = vec![source(slots.into_iter().map(Ok))];
    for run in runs.iter().rev() {
        if let Some(reading) = reading {
            sources.push(source(all(store, reading, *run)?));
        }
    }
    Ok(std::iter::from_fn(move || next(&mut sources).transpose()))
}

/// Writes slots as a run, joined with the last ones as long as these are no larger than all that is joined, and that is
/// not too much for one batch.
pub(super) fn add(
    store: &Store,
    table: &mut Table<'_, (u32, u64), &'static [u8]>,
    before: Option<&Reading>,
    runs: &mut Vec<Run>,
    slots: Slots,
) -> Result<(), StoreError> {
    let id = runs.last().map_or(0, |run| run.id.wrapping_add(1));
    let (mut count, mut old) = (slots.len() as u64, Vec::new());
    while let Some(run) = runs.pop_if(|run| run.slots <= count && run.slots + count <= JOINED_MAX) {
        count += run.slots;
        old.insert(0, run);
    }
    let mut run = Run { id, slots: 0 };
    let mut page = Vec::with_capacity(PAGE_SLOTS);
    let mut write = |page: &mut Vec<(u64, Slot)>| -> Result<(), StoreError> {
        if let Some((first, _)) = page.first() {
            let bytes = write_page(page);
            table.insert((id, *first), &bytes[..]).map_err(|error| store.fault(error))?;
            page.clear();
        }
        Ok(())
    };
    for slot in joined(store, before, &old, slots)? {
        let (name, slot) = slot?;
        // Nothing older is left that it would have to hide.
        if runs.is_empty() && !slot.is_there() {
            continue;
        }
        run.slots += 1;
        page.push((name, slot));
        if page.len() == PAGE_SLOTS {
            write(&mut page)?;
        }
    }
    write(&mut page)?;
    for old in old {
        table.retain_in((old.id, 0)..=(old.id, u64::MAX), |_, _| false).map_err(|error| store.fault(error))?;
    }
    if run.slots > 0 {
        runs.push(run);
    }
    Ok(())
}

/// Slots of one run, in the order of names.
type Source<'a> = Peekable<Box<dyn Iterator<Item = Result<(u64, Slot), StoreError>> + 'a>>;

fn source<'a>(slots: impl Iterator<Item = Result<(u64, Slot), StoreError>> + 'a) -> Source<'a> {
    let slots: Box<dyn Iterator<Item = _>> = Box::new(slots);
    slots.peekable()
}

/// The next name and what the first source says of it that knows it.
fn next(sources: &mut [Source<'_>]) -> Result<Option<(u64, Slot)>, StoreError> {
    let mut first: Option<(u64, Slot)> = None;
    for source in sources.iter_mut() {
        if let Some(failed) = source.next_if(Result::is_err) {
            return failed.map(Some);
        }
        if let Some(Ok((name, slot))) = source.peek()
            && first.is_none_or(|(known, _)| *name < known)
        {
            first = Some((*name, *slot));
        }
    }
    if let Some((name, _)) = first {
        for source in sources {
            source.next_if(|slot| slot.as_ref().is_ok_and(|(other, _)| *other == name));
        }
    }
    Ok(first)
}

fn write_page(slots: &[(u64, Slot)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(slots.len() * SLOT_BYTES + 4);
    for (name, Slot { version, place }) in slots {
        out.put_u64_le(*name);
        out.put_u64_le(version.time);
        out.put_u64_le(version.tie);
        out.put_u64_le(*place);
    }
    seal(out)
}
