//! All keys that are set.

use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use imbl::{HashMap, OrdSet};

use crate::{Key, KeyValue};

/// Keys and what they are set to: found by a hash, listed in their order. Copied in constant time.
///
/// Most writes set a key that exists. Its place in an order costs a dozen comparisons with texts all over the memory,
/// and the hash one; only a key that comes or goes changes the order.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Keyspace {
    set: HashMap<Key, Arc<KeyValue>>,
    order: OrdSet<Key>,
}

impl Keyspace {
    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<KeyValue>> {
        self.set.get(key)
    }

    /// What a key is set to, to be replaced by something of the same name.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Arc<KeyValue>> {
        self.set.get_mut(key)
    }

    /// Sets a key under its name.
    pub(super) fn insert(&mut self, set: Arc<KeyValue>) {
        let key = set.key.clone();
        if self.set.insert(key.clone(), set).is_none() {
            self.order.insert(key);
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<KeyValue>> {
        let removed = self.set.remove(key)?;
        self.order.remove(key);
        Some(removed)
    }

    /// The keys from one on that begin so, in order.
    pub(crate) fn listed<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<KeyValue>> {
        let start = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ => Included(prefix),
        };
        let names = self.order.range::<_, str>((start, Unbounded)).take_while(move |key| key.starts_with(prefix));
        names.filter_map(|key| self.set.get(key))
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.listed("", None)).finish()
    }
}
