//! Everything that is bounded, and how.

use std::time::Duration;

/// Longest key, prefix or lock name, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Most comparisons and operations of one transaction, counted together.
pub const TXN_OPERATIONS_MAX: usize = 128;

/// Most bytes that the reads inside one transaction may bring back: its answer is kept for retries and travels with
/// those of others. Larger values are read outside of it.
pub const TXN_READ_BYTES_MAX: usize = 48 * 1024;

/// The same for a transaction under a request name, whose answer is kept for whoever repeats it.
pub const KEPT_READ_BYTES_MAX: usize = 4 * 1024;

/// Keys that one transaction removes by their prefix, at most: more would hold everything else up.
pub const PREFIX_DELETES_MAX: usize = 10_000;

/// Most keys and values on one page.
pub const PAGE_ITEMS_MAX: usize = 1000;

/// Bytes of keys and values after which a page ends, however few items it has.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that all keys and values together may take, unless a quota was set: see [`crate::State::set_quota`].
pub const QUOTA_BYTES: u64 = 1024 * 1024 * 1024;

/// What each key counts for beside its own bytes and those of its value: about what it takes in memory.
pub const KEY_OVERHEAD_BYTES: u64 = 256;

/// Past changes that are kept for watches, at most.
pub const HISTORY_EVENTS_MAX: usize = 500_000;

/// Bytes of past changes that are kept for watches, at most.
pub const HISTORY_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// How long past changes are kept for watches, at most.
pub const HISTORY_TIME: Duration = Duration::from_secs(600);

/// How often the leader notes the revision, to know later what is old.
pub const HISTORY_SAMPLE_INTERVAL: Duration = Duration::from_secs(30);

/// Leases at once, those of locks and of waiters included.
pub const LEASES_MAX: usize = 200_000;

/// Keys of one lease.
pub const LEASE_KEYS_MAX: usize = 10_000;

/// Waiters for one lock.
pub const WAITERS_MAX: usize = 20_000;

/// Shortest length of a lease. A shorter one would end whenever leadership moves.
pub const TTL_MIN: Duration = Duration::from_millis(100);

/// Longest length of a lease, and longest delay of a lock.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Longest label by which a holder calls itself, in bytes.
pub const OWNER_BYTES_MAX: usize = 256;

/// Longest idempotency key, in bytes.
pub const REQUEST_KEY_BYTES_MAX: usize = 256;

/// Answers that are kept for callers that repeat an idempotency key; the oldest goes first.
pub const KEPT_ANSWERS_MAX: usize = 10_000;

/// Watches on one node.
pub const WATCHES_MAX: usize = 10_000;

/// Changes that one step of a watch brings, unless one revision alone has more.
pub const WATCH_EVENTS_MAX: usize = 1000;

/// Bytes of values after which one step of a watch ends.
pub const WATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Past changes that one step of a watch looks through: nothing is applied meanwhile.
pub(crate) const WATCH_SCAN_MAX: usize = 10_000;

/// Leases that one command renews or ends.
pub(crate) const LEASES_PER_COMMAND_MAX: usize = 4096;

/// Changes of leases that wait to be noticed; above that, all leases are looked through.
pub(crate) const JOURNAL_MAX: usize = 65_536;
