//! What this node's own copy answers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::Siblings;
use super::round::Peeked;
use crate::loose::LooseCopy;
use crate::message::{Ask, Loose, Told};
use crate::record::Kept;
use crate::{Key, Version};

/// Records that a page holds at most, and their bytes.
const PAGE_ITEMS_MAX: usize = crate::PAGE_ITEMS_MAX;
const PAGE_BYTES: usize = crate::PAGE_BYTES;

/// How long a state to keep waits for the disk: less than whoever asks waits for an answer.
const ROOM_PATIENCE: Duration = Duration::from_millis(1500);

/// The version of the latest value of a record.
pub(crate) fn latest(kept: &Kept) -> Version {
    let state = Siblings::of(Some(kept)).unwrap_or_default();
    state.values().first().map_or(kept.version, |(version, _)| *version)
}

/// What is here and what came, joined; `None` when that is nothing new.
pub(crate) fn merged(held: Option<&Kept>, came: &Loose) -> Result<Option<Kept>, String> {
    let before = Siblings::of(held)?;
    let joined = before.clone().join(state_of(Some(came.clone()))?);
    Ok((joined != before || held.is_some_and(|held| held.past.is_empty())).then(|| joined.into_kept()))
}

pub(super) fn loose_of(key: Key, state: Siblings) -> Loose {
    let Kept { version, data, past, .. } = state.into_kept();
    Loose { key, time: version.time, tie: version.tie, data, past }
}

pub(super) fn state_of(loose: Option<Loose>) -> Result<Siblings, String> {
    let kept =
        loose.map(|Loose { time, tie, data, past, .. }| Kept { version: Version { time, tie }, place: 0, data, past });
    Siblings::of(kept.as_ref())
}

impl Peeked {
    /// The answer of a copy that was not asked what it knows.
    pub(super) fn nothing() -> Self {
        Self { state: Siblings::default(), is_stored: true }
    }
}

/// What this copy knows of a record.
pub(super) fn peek(loose: &LooseCopy, epoch: u64, key: &Key, bare: bool) -> Result<Peeked, String> {
    loose.takes_part(epoch)?;
    // Whether it waits for the disk is asked first: then what is read may only be older than that.
    let is_stored = loose.copy().memory().find(key).is_none();
    let kept = loose.copy().get(key).map_err(|error| error.to_string())?;
    let state = Siblings::of(kept.as_ref())?;
    Ok(Peeked { state: if bare { state.bare() } else { state }, is_stored })
}

/// Keeps what another node wrote, or read elsewhere. The disk has it when this returns.
pub(super) async fn keep(loose: &LooseCopy, epoch: u64, change: Loose) -> Result<(), String> {
    loose.is_of(epoch)?;
    // So that whoever writes is not faster than this disk.
    if tokio::time::timeout(ROOM_PATIENCE, loose.copy().until_room()).await.is_err() {
        return Err("its disk does not keep up".to_owned());
    }
    loose.copy().fault().map_or(Ok(()), |fault| Err(fault.to_string()))?;
    let key = change.key.clone();
    if loose.is_buried(&key, change.time)? {
        return Err("it is from before what all copies have seen: check the clocks".to_owned());
    }
    loose.merge(vec![change])?;
    // What was there already may still be on its way to the disk.
    let waits = loose.copy().memory().find(&key).map(|kept| kept.place);
    if let Some(place) = waits {
        loose.copy().until_stored(place).await;
    }
    // A copy that was told meanwhile to begin anew has forgotten it; whoever asked belongs to another set.
    loose.is_of(epoch)
}

/// A page of what a copy knows.
pub(super) struct Page {
    pub(super) states: BTreeMap<Key, Peeked>,
    pub(super) is_full: bool,
}

pub(super) async fn page(
    loose: &LooseCopy,
    epoch: u64,
    prefix: &Bytes,
    after: Option<&Key>,
    limit: usize,
) -> Result<Page, String> {
    loose.takes_part(epoch)?;
    let limit = limit.clamp(1, PAGE_ITEMS_MAX);
    let found = loose.copy().page_aside(prefix.clone(), after.cloned(), limit, PAGE_BYTES).await;
    let found = found.map_err(|error| error.to_string())?;
    let is_full = found.len() >= limit || found.iter().map(|(key, kept)| kept.bytes(key)).sum::<usize>() >= PAGE_BYTES;
    let mut states = BTreeMap::new();
    for (key, kept) in found {
        let is_stored = loose.copy().memory().find(&key).is_none();
        let state = Siblings::of(Some(&kept))?;
        states.insert(key, Peeked { state, is_stored });
    }
    Ok(Page { states, is_full })
}

pub(super) fn page_told(told: Told) -> Result<Page, String> {
    match told {
        Told::PeekedPage(Ok((changes, is_full))) => {
            let mut states = BTreeMap::new();
            for (change, is_stored) in changes {
                states.insert(change.key.clone(), Peeked { state: state_of(Some(change))?, is_stored });
            }
            Ok(Page { states, is_full })
        }
        Told::PeekedPage(Err(reason)) => Err(reason),
        _ => Err("its answer cannot be read".to_owned()),
    }
}

/// Answers another node.
pub(crate) async fn served(loose: &LooseCopy, ask: Ask) -> Result<Told, String> {
    Ok(match ask {
        Ask::Peek { epoch, stamp, key, bare } => Told::Peeked(loose.see(stamp).and_then(|()| {
            let Peeked { state, is_stored } = peek(loose, epoch, &key, bare)?;
            let is_nothing = state == Siblings::default();
            Ok(((!is_nothing).then(|| loose_of(key, state)), is_stored))
        })),
        Ask::Keep { epoch, change } => Told::Done(keep(loose, epoch, change).await),
        Ask::PeekPage { epoch, prefix, after, limit } => {
            let page = page(loose, epoch, &prefix, after.as_ref(), limit as usize).await;
            Told::PeekedPage(page.map(|Page { states, is_full }| {
                let told = states.into_iter().map(|(key, peeked)| (loose_of(key, peeked.state), peeked.is_stored));
                (told.collect(), is_full)
            }))
        }
        _ => return Err("that is asked elsewhere".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Consistency;
    use crate::loose::tests::stuck;

    fn change(loose: &LooseCopy, id: &str, bytes: usize) -> Loose {
        let Version { time, tie } = loose.version();
        Loose { key: Key::new("t", id).unwrap(), time, tie, data: Some(vec![0; bytes].into()), past: Bytes::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_disk_could_not_keep_is_refused() {
        let loose = stuck(Consistency::Quorum).await;
        loose.copy().set_full(true);
        let refused = keep(&loose, 0, change(&loose, "1", 1)).await.unwrap_err();
        assert!(refused.contains("is full") && refused.contains("ha-data/replication"), "{refused}");
        loose.copy().set_full(false);
        for n in (0_u32..).take_while(|_| !loose.copy().is_crowded()) {
            loose.merge(vec![change(&loose, &n.to_string(), 1024 * 1024)]).unwrap();
        }
        let asked = tokio::time::Instant::now();
        let refused = keep(&loose, 0, change(&loose, "one more", 1)).await.unwrap_err();
        assert!(refused.contains("does not keep up"), "{refused}");
        assert!(asked.elapsed() < super::super::PATIENCE, "whoever asks hears of it");
    }
}
