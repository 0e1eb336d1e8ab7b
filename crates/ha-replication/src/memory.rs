//! The changes of this copy that its store does not hold yet. The log has them on disk; here they can be read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::iter;
use std::sync::Arc;

use bytes::Bytes;

use crate::Key;
use crate::record::Kept;
use crate::store::{Agreed, Place, Position};

/// What a change takes beside its key and data, about.
const CHANGE_OVERHEAD_BYTES: usize = 256;

/// Changes that go to the store together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    /// All changes in their order, those that were replaced since too.
    order: Vec<(Key, Kept)>,
    /// Where the newest change of each record is among them.
    newest: HashMap<Key, usize>,
    bytes: usize,
    /// The highest place and stamp in it.
    pub(crate) place: u64,
    pub(crate) stamp: u64,
    /// The log after them.
    pub(crate) position: Position,
    pub(crate) agreed: Agreed,
    /// The copy was taken here by a snapshot: what came between is missing.
    pub(crate) jumped: bool,
    /// Commands were applied, be it such that change no record: the store does not know of them yet.
    moved: bool,
}

impl Layer {
    /// Whether the store lacks anything of it.
    fn has_something(&self) -> bool {
        self.moved || self.jumped || !self.order.is_empty()
    }

    fn find(&self, key: &Key) -> Option<&Kept> {
        self.newest.get(key).map(|at| &self.order[*at].1)
    }

    /// The newest change of each record, in the order of keys.
    pub(crate) fn by_key(&self) -> Vec<(&Key, &Kept)> {
        let mut newest: Vec<usize> = self.newest.values().copied().collect();
        // As they lie in memory, which is read once from front to back.
        newest.sort_unstable();
        let shared = self.shared_by_keys();
        let with_next = |at: usize| (number_at(&self.order[at].0, shared), &self.order[at].0, &self.order[at].1);
        let mut changes: Vec<_> = newest.into_iter().map(with_next).collect();
        // Most keys differ in that number, which lies beside them: to look at the keys themselves is to wait for memory.
        changes.sort_unstable_by(|(one, key, _), (other, next, _)| one.cmp(other).then_with(|| key.cmp(next)));
        changes.into_iter().map(|(_, key, kept)| (key, kept)).collect()
    }

    /// How many bytes all keys begin with that are the same.
    fn shared_by_keys(&self) -> usize {
        let Some((first, _)) = self.order.first() else { return 0 };
        let first = &first.bytes()[..];
        self.order.iter().fold(first.len(), |shared, (key, _)| {
            let both = first[..shared].iter().zip(&key.bytes()[..]);
            both.take_while(|(one, other)| one == other).count()
        })
    }

    /// Those whose keys begin with `prefix` and come after `after`, each found when it is asked for: writers come
    /// first, who would pay for an order of keys that few ask for.
    fn by_key_after(&self, prefix: &Bytes, after: Option<&Key>) -> impl Iterator<Item = (&Key, &Kept)> {
        let is_asked = |key: &Key| key.bytes().starts_with(prefix) && after.is_none_or(|after| key > after);
        let mut rest: BinaryHeap<_> = self.newest.iter().filter(|(key, _)| is_asked(key)).map(Reverse).collect();
        iter::from_fn(move || rest.pop().map(|Reverse((key, at))| (key, &self.order[*at].1)))
    }
}

/// The bytes of a key from one on as a number: of keys that are equal up to there, the lower ones have none that is higher.
fn number_at(key: &Key, from: usize) -> u64 {
    let rest = key.bytes().get(from..).unwrap_or_default();
    let mut bytes = [0; 8];
    let length = rest.len().min(8);
    bytes[..length].copy_from_slice(&rest[..length]);
    u64::from_be_bytes(bytes)
}

/// What is not in the store yet.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    active: Layer,
    /// On their way to the store, oldest first.
    frozen: VecDeque<Arc<Layer>>,
    /// How many have gone that way.
    sent: u64,
    bytes: usize,
    /// Bytes after which changes go to the store at once.
    layer_bytes: usize,
    /// The last log entry of which anything is here.
    begun: u64,
    /// The highest place that was given, where this copy orders changes by itself.
    place: u64,
    /// The latest stamp.
    stamp: u64,
}

impl Memory {
    /// Begins where the store left off.
    pub(crate) fn at(position: Position, agreed: Agreed) -> Self {
        Self { active: Layer { position, agreed, ..Layer::default() }, begun: position.index, ..Self::default() }
    }

    /// How far this copy is on the log: up to which entry it has everything. Of the one after that it may have some
    /// commands, and the epoch tells which.
    pub(crate) fn position(&self) -> Position {
        self.active.position
    }

    /// The last log entry of which anything can be read here.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.max(self.active.position.index)
    }

    /// A command of this entry is about to be taken: all entries before it are whole. A layer may go to the store between
    /// two commands of one entry, and must not say that the entry is there.
    pub(crate) fn begin(&mut self, index: u64) {
        self.begun = self.begun.max(index);
        self.active.position.index = self.active.position.index.max(index.saturating_sub(1));
    }

    pub(crate) fn agreed(&self) -> &Agreed {
        &self.active.agreed
    }

    pub(crate) fn agreed_mut(&mut self) -> &mut Agreed {
        &mut self.active.agreed
    }

    /// Bytes that wait for the store.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the store holds everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.frozen.is_empty() && !self.active.has_something()
    }

    /// Sends so many bytes to the store at once.
    pub(crate) fn with_layer_bytes(self, layer_bytes: usize) -> Self {
        Self { layer_bytes, ..self }
    }

    /// Begins to give places after this one.
    pub(crate) fn with_place(self, place: u64, stamp: u64) -> Self {
        Self { place, stamp, ..self }
    }

    /// The latest stamp that is here or was stored.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// The place of the last change that was given one.
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    /// What has a later stamp than this is stamped again.
    pub(crate) fn go_back(&mut self, stamp: u64) {
        self.stamp = self.stamp.min(stamp);
    }

    /// Takes one change that no leader ordered; it is newer than any of that record that is here or stored.
    pub(crate) fn put_next(&mut self, key: Key, kept: Kept) {
        self.place += 1;
        self.active.place = self.place;
        self.stamp = self.stamp.max(kept.version.time);
        self.active.stamp = self.active.stamp.max(kept.version.time);
        self.put(key, Kept { place: self.place, ..kept });
    }

    /// Takes one change, which is newer than any that is here.
    pub(crate) fn put(&mut self, key: Key, kept: Kept) {
        let bytes = kept.bytes(&key) + CHANGE_OVERHEAD_BYTES;
        self.active.newest.insert(key.clone(), self.active.order.len());
        self.active.order.push((key, kept));
        self.active.bytes += bytes;
        self.bytes += bytes;
    }

    /// The log is here now. True when the changes should go to the store at once.
    pub(crate) fn advance(&mut self, position: Position) -> bool {
        self.active.moved |= position.epoch != self.active.position.epoch;
        self.active.position = position;
        self.active.bytes >= self.layer_bytes
    }

    /// Changes that no leader ordered were put here. They go to the store at once when there are many.
    pub(crate) fn advance_loose(&mut self) {
        if self.active.bytes >= self.layer_bytes {
            self.freeze();
        }
    }

    /// A snapshot says what was agreed on, and no change of a record is missing here for that.
    pub(crate) fn adopt(&mut self, position: Position, agreed: Agreed) {
        self.advance(position);
        self.active.agreed = agreed;
    }

    /// The copy was taken here by a snapshot.
    pub(crate) fn jump(&mut self, position: Position, agreed: Agreed) {
        self.freeze();
        self.active.position = position;
        self.active.agreed = agreed;
        self.active.jumped = true;
        self.freeze();
    }

    /// How many layers have gone on their way to the store.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends what is here on its way to the store. True when there was something.
    pub(crate) fn freeze(&mut self) -> bool {
        if !self.active.has_something() {
            return false;
        }
        // The next one is likely to be as long. To grow would be to copy all of it to fresh pages, time and again.
        let next = Layer {
            order: Vec::with_capacity(self.active.order.len()),
            newest: HashMap::with_capacity(self.active.newest.len()),
            position: self.active.position,
            agreed: self.active.agreed.clone(),
            ..Layer::default()
        };
        self.frozen.push_back(Arc::new(std::mem::replace(&mut self.active, next)));
        self.sent += 1;
        true
    }

    /// What goes to the store next.
    pub(crate) fn next(&self) -> Option<Arc<Layer>> {
        self.frozen.front().cloned()
    }

    /// The store holds what went to it.
    pub(crate) fn stored(&mut self) {
        if let Some(layer) = self.frozen.pop_front() {
            self.bytes = self.bytes.saturating_sub(layer.bytes);
        }
    }

    /// Whether a snapshot took this copy past changes, and the store does not know yet.
    pub(crate) fn jumps(&self) -> bool {
        self.active.jumped || self.frozen.iter().any(|layer| layer.jumped)
    }

    /// Newest first.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.active).chain(self.frozen.iter().rev().map(|layer| &**layer))
    }

    /// The newest change of a record, if it is here.
    pub(crate) fn find(&self, key: &Key) -> Option<Kept> {
        self.layers().find_map(|layer| layer.find(key)).cloned()
    }

    /// The newest changes of the records whose keys begin with `prefix` and come after `after`, graves included, until
    /// `limit` of them are no graves or those have `bytes_max` bytes.
    pub(crate) fn page(
        &self,
        prefix: &Bytes,
        after: Option<&Key>,
        limit: usize,
        bytes_max: usize,
    ) -> BTreeMap<Key, Kept> {
        let mut found: BTreeMap<Key, Kept> = BTreeMap::new();
        for layer in self.layers() {
            let (mut records, mut bytes) = (0, 0);
            for (key, kept) in layer.by_key_after(prefix, after) {
                if records >= limit || bytes >= bytes_max {
                    break;
                }
                // What a newer layer has instead counts: behind a grave the page goes on.
                let newest = found.entry(key.clone()).or_insert_with(|| kept.clone());
                if newest.data.is_some() {
                    records += 1;
                    bytes += newest.bytes(key);
                }
            }
        }
        found
    }

    /// The newest changes above `after`, in their order, until there are `limit` of them or they have `bytes_max` bytes.
    pub(crate) fn changes(&self, after: Place, limit: usize, bytes_max: usize) -> Vec<(Key, Kept)> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut seen = BTreeSet::new();
        // Oldest first, so that the first ones found are the next ones.
        let oldest_first = self.frozen.iter().map(|layer| &**layer).chain(std::iter::once(&self.active));
        for layer in oldest_first {
            let start = layer.order.partition_point(|(_, kept)| kept.order() <= after);
            for (key, kept) in &layer.order[start..] {
                let place = kept.order();
                let Some(newest) = self.find(key) else { continue };
                // One that was replaced stands where it was changed last.
                if newest.order() != place || !seen.insert(key.clone()) {
                    continue;
                }
                bytes += newest.bytes(key);
                found.push((key.clone(), newest));
                if found.len() >= limit || bytes >= bytes_max {
                    return found;
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_waits_is_read_in_pieces_of_so_many_bytes() {
        let mut memory = Memory::default();
        for n in 0..9 {
            let version = crate::Version { time: n, tie: crate::Version::STAMPED };
            let kept = Kept { version, place: 0, data: Some(Bytes::from(vec![0; 1000])), past: Bytes::new() };
            memory.put_next(Key::new("t", &n.to_string()).unwrap(), kept);
        }
        let places = |after| -> Vec<u64> {
            memory.changes((after, u64::MAX), 100, 2500).iter().map(|(_, kept)| kept.place).collect()
        };
        assert_eq!((places(0), places(3), places(7)), (vec![1, 2, 3], vec![4, 5, 6], vec![8, 9]));
    }

    proptest! {
        #[test]
        fn a_layer_goes_to_the_store_in_the_order_of_keys(ids in prop::collection::vec("[a-c\u{e4}]{1,12}", 0..40)) {
            let mut memory = Memory::default();
            for id in &ids {
                let version = crate::Version { time: 1, tie: crate::Version::STAMPED };
                let kept = Kept { version, place: 0, data: Some(Bytes::from(id.clone())), past: Bytes::new() };
                memory.put_next(Key::new("type", id).unwrap(), kept);
            }
            let sorted: Vec<&str> = ids.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect();
            let by_key = memory.active.by_key();
            prop_assert!(by_key.iter().map(|(key, _)| key.data_id()).eq(sorted));
            prop_assert!(by_key.iter().all(|(key, kept)| kept.data.as_deref() == Some(key.data_id().as_bytes())));
        }
    }

    #[test]
    fn a_page_has_the_newest_changes_in_the_order_of_keys() {
        let mut memory = Memory::default();
        let kept = |data: Option<&'static str>| {
            let data = data.map(|data| Bytes::from_static(data.as_bytes()));
            Kept {
                version: crate::Version { time: 1, tie: crate::Version::STAMPED },
                place: 0,
                data,
                past: Bytes::new(),
            }
        };
        let key = |id: &str| Key::new("t", id).unwrap();
        for (id, data) in [("e", "old"), ("b", "old"), ("d", "d"), ("a", "a")] {
            memory.put_next(key(id), kept(Some(data)));
        }
        memory.freeze();
        memory.put_next(Key::new("u", "b").unwrap(), kept(Some("of another type")));
        for (id, data) in [("e", Some("older")), ("c", None), ("b", Some("new")), ("e", Some("new"))] {
            memory.put_next(key(id), kept(data));
        }
        let page = |after: Option<&str>, limit, bytes_max| -> Vec<_> {
            let page = memory.page(&Key::prefix("t").unwrap(), after.map(key).as_ref(), limit, bytes_max);
            let told = |kept: Kept| kept.data.map(|data| String::from_utf8(data.to_vec()).unwrap());
            page.into_iter().map(|(key, kept)| (key.data_id().to_owned(), told(kept))).collect()
        };
        let expected = [("a", Some("a")), ("b", Some("new")), ("c", None), ("d", Some("d")), ("e", Some("new"))];
        let expected = expected.map(|(id, data)| (id.to_owned(), data.map(str::to_owned)));
        assert_eq!(page(None, 100, usize::MAX), expected);
        assert_eq!(page(Some("b"), 100, usize::MAX), expected[2..]);
        assert_eq!(page(None, 1, usize::MAX), expected[..2], "one of each layer");
        assert_eq!(page(None, 100, 1), expected[..2], "one of each layer");
        assert!(page(Some("e"), 100, usize::MAX).is_empty());
    }

    #[test]
    fn what_a_newer_layer_deletes_or_shortens_does_not_end_a_page() {
        let key = |id: &str| Key::new("t", id).unwrap();
        for (newer, limit, bytes_max) in [(None, 1, usize::MAX), (Some(Bytes::new()), 9, 500)] {
            let mut memory = Memory::default();
            let put = |memory: &mut Memory, id: &str, data: Option<Bytes>| {
                let version = crate::Version { time: 1, tie: crate::Version::STAMPED };
                memory.put_next(key(id), Kept { version, place: 0, data, past: Bytes::new() });
            };
            put(&mut memory, "a", Some(Bytes::from(vec![0; 600])));
            put(&mut memory, "c", Some(Bytes::from_static(b"new")));
            memory.freeze();
            put(&mut memory, "a", newer);
            let page = memory.page(&Key::prefix("t").unwrap(), None, limit, bytes_max);
            assert!(page.contains_key(&key("c")), "an older value of the store would stand for it: {page:?}");
        }
    }

    #[test]
    fn a_command_that_changes_no_record_goes_to_the_store_too_and_an_entry_of_others_does_not() {
        let mut memory = Memory::at(Position::default(), Agreed::default());
        memory.advance(Position { index: 7, ..Position::default() });
        assert!(memory.is_empty() && !memory.freeze(), "an entry of another machine");
        memory.agreed_mut().sync.generation = 3;
        memory.advance(Position { index: 8, epoch: 3, ..Position::default() });
        assert!(!memory.is_empty(), "the log must keep it until it is stored");
        assert!(memory.freeze());
        assert_eq!(memory.next().unwrap().agreed.sync.generation, 3);
        memory.stored();
        assert!(memory.is_empty());
    }
}
