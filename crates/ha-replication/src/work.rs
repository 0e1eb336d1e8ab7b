//! What the worker that writes to the store is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::Key;
use crate::memory::Layer;
use crate::record::Kept;
use crate::store::{Place, StoreError};

/// Changes that were fetched from another copy, on their way to the store.
pub(crate) struct Fill {
    pub(crate) changes: BTreeMap<Key, Kept>,
    /// How far they reach.
    pub(crate) upto: Place,
    /// The hole is closed with them.
    pub(crate) last: bool,
    /// Of the hole that is filled.
    pub(crate) hole_upto: u64,
    /// Below this, deletions are not known here from now on.
    pub(crate) floor: Place,
    /// Everything that is there goes first, and the hole becomes all of it.
    pub(crate) anew: bool,
    /// Everything goes, since the horizon has passed this copy.
    pub(crate) wipes: Option<u64>,
    /// The copy has been compared with the others since it began.
    pub(crate) loaded: bool,
    /// What it had alone before this epoch is set aside.
    pub(crate) rewound: Option<u64>,
    /// What was stamped too far ahead is stamped again.
    pub(crate) restamped: bool,
    pub(crate) done: oneshot::Sender<Result<(), StoreError>>,
}

impl Fill {
    pub(crate) fn new(done: oneshot::Sender<Result<(), StoreError>>) -> Self {
        let changes = BTreeMap::new();
        Self {
            changes,
            upto: (0, 0),
            last: false,
            hole_upto: 0,
            floor: (0, 0),
            anew: false,
            wipes: None,
            loaded: false,
            rewound: None,
            restamped: false,
            done,
        }
    }
}

/// What the one that writes does next.
pub(crate) enum Work {
    Layer(Arc<Layer>),
    Fill(Fill),
    Stop,
}
