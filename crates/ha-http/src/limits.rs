//! Everything that is bounded, and how.

use std::time::Duration;

/// Connections served at once, unless [`crate::Config::connections_max`] says otherwise.
pub const CONNECTIONS_MAX: usize = 1024;

/// Connections that say nothing are held up to so many by a node that may open enough files.
pub const SILENT_MAX: usize = 16 * 1024;

/// The part of either that one address may have, as a fraction: so much is left for others in any case.
pub const SHARE_OF_ONE_PLACE: (usize, usize) = (3, 4);

/// Connections that the kernel keeps ready to be accepted, where it is set to allow so many. A caller that comes when
/// they are as many is not heard, and calls again a second later.
pub const BACKLOG: u32 = 4096;

/// How many connections may give way before accepting pauses, and for how long: taking and dropping connections must not
/// use up the processor that the node needs, and a caller must not wait behind all that come to take its place.
pub const GIVE_WAYS_PER_PAUSE: usize = 24;

/// The pause: with the number above, some 16,000 give way per second at most.
pub const GIVE_WAY_PAUSE: Duration = Duration::from_millis(1);

/// Event streams served at once, so that followers cannot use up the connections that probes need: of what happens on the
/// node, which anybody may follow, and as many of shared keys, which the former therefore cannot take.
pub const EVENT_STREAMS_MAX: usize = 128;

/// States of the cluster that are saved, and that are brought back, at once: each is in memory as a whole.
pub const SNAPSHOTS_MAX: usize = 1;

/// Bytes of such a state that are sent at once, and the pause before each time: some 50 MB a second, beside which the
/// node still has time for its callers.
pub const SNAPSHOT_PART_BYTES: usize = 64 * 1024;

/// The pause.
pub const SNAPSHOT_PAUSE: Duration = Duration::from_millis(1);

/// Longest request body: 1 MiB of JSON, and room for what wraps it.
pub const BODY_BYTES_MAX: usize = 1024 * 1024 + 64 * 1024;

/// The same for a transaction, which may set several keys.
pub const TRANSACTION_BODY_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;

/// Largest request head, in bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Callers that are told at once that there is no place, and how long that may take.
pub const FAREWELLS_MAX: usize = 64;

/// How long such a one is heard out.
pub const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);

/// Headers of one request.
pub const HEADERS_MAX: usize = 64;

/// Bytes that a connection may hold of what it reads and writes, beside bodies.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Bodies longer than this are taken a few at a time.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;

/// How many of those at once.
pub const LARGE_BODIES_MAX: usize = 64;

/// How long a caller may take nothing of its answer.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// Longest id that a caller may give to its request, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Requests that failed here, written to the log per second; more are counted, not written.
pub const FAILURES_TOLD_PER_SECOND_MAX: u32 = 10;

/// How long the head of a request may take to arrive; an idle kept-alive connection ends after it too.
pub const HEAD_READ_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a request may take from its head to the head of its answer, its body included.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// The same of a request that reads every record or writes one after the other, or carries the whole state.
pub const LONG_REQUEST_TIME_MAX: Duration = Duration::from_secs(590);

/// Longest wait for a lock in one call: the rest of [`REQUEST_TIME_MAX`] is for asking and answering.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(50);

/// Silence on an event stream after which a comment is sent, so that both sides notice a dead connection.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long requests that are being answered may still take once the server stops.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// Pause after the listener failed to accept, as it does when the process is out of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often recorded samples are folded together, so that they do not pile up where nobody reads the metrics.
pub const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(10);
