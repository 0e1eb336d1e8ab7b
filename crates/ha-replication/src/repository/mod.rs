//! A foreign database as source and sink of replicated records: the user's own, behind a trait.

mod bridge;

use futures::future::BoxFuture;

pub use bridge::{Bridge, BridgeError};

use crate::{Change, Event, Version};

/// A change that a foreign database wants replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number in the outbox: counts up from 1, and is never used twice.
    pub number: u64,
    /// What changed.
    pub change: Change,
}

/// What a foreign database could not do, as one sentence. It is tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the foreign database refused: {0}")]
pub struct RepositoryError(pub String);

/// A foreign database.
///
/// *As a source* it writes each change of its own into an outbox table, in the same transaction as the change itself.
/// *As a sink* it keeps, in the same transaction as what it applies, the version up to which it has applied. So a change
/// passes exactly once, wherever the bridge is killed.
pub trait Repository: Send + Sync + 'static {
    /// The changes in its outbox above a number, oldest first, `limit` of them at most.
    fn outbox(&self, above: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Outgoing>, RepositoryError>>;

    /// The changes up to a number are replicated: they may leave the outbox. May be told again, and is told of the last
    /// ones when the outbox is looked at next.
    fn shipped(&self, upto: u64) -> BoxFuture<'_, Result<(), RepositoryError>>;

    /// The version up to which it has applied; the default version when nothing. With the default version all records
    /// are applied, and no word comes of those deleted before: nothing that was applied earlier may be there then.
    fn applied(&self) -> BoxFuture<'_, Result<Version, RepositoryError>>;

    /// Applies changes in their order, and keeps the version of the last one, in one transaction. In that transaction it
    /// skips every change whose version is not above the one it keeps: another bridge has applied later ones meanwhile,
    /// and must not be taken back. It must not put what it applies into its outbox.
    fn apply(&self, changes: Vec<Event>) -> BoxFuture<'_, Result<(), RepositoryError>>;
}
