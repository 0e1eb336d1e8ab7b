//! Every bound of this crate, in one place: frames, queues, tables and waits.

use std::time::Duration;

use crate::Lane;
use crate::codec::frame::HEADER_BYTES;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Longest frame on a control connection, header included, in bytes.
pub const CONTROL_FRAME_BYTES_MAX: usize = MIB;
/// Longest frame on a bulk connection, header included, in bytes.
pub const BULK_FRAME_BYTES_MAX: usize = 8 * MIB;
/// Longest frame before a peer has been admitted, in bytes.
pub const HELLO_FRAME_BYTES_MAX: usize = 16 * KIB;

impl Lane {
    /// Longest body of one message on this lane, in bytes.
    pub const fn body_bytes_max(self) -> usize {
        self.frame_bytes_max() - HEADER_BYTES
    }

    pub(crate) const fn frame_bytes_max(self) -> usize {
        match self {
            Self::Control => CONTROL_FRAME_BYTES_MAX,
            Self::Bulk(_) => BULK_FRAME_BYTES_MAX,
        }
    }

    /// How many bytes one read takes from the socket when frames are small. A body keeps the whole read alive for as
    /// long as it is kept itself, hence not more.
    pub(crate) const fn read_bytes(self) -> usize {
        match self {
            Self::Control => 8 * KIB,
            Self::Bulk(_) => 32 * KIB,
        }
    }
}

/// Frames that may wait for one connection.
pub(crate) const OUTBOX_FRAMES_MAX: usize = 4096;
/// Frames that the peer must not miss are queued beyond that, up to here: a peer that makes this node queue more, and
/// does not read them, loses its connection.
pub(crate) const OUTBOX_FRAMES_IN_ANY_CASE_MAX: usize = 2 * OUTBOX_FRAMES_MAX;
/// Bytes that may wait for one connection; the frame that crosses the mark is still taken, so that any frame fits.
pub(crate) const OUTBOX_BYTES_MAX: usize = 4 * MIB;
/// Bodies up to this length are copied behind their header, which is cheaper than naming them to the kernel one by one.
pub(crate) const COPIED_BODY_BYTES_MAX: usize = 8 * KIB;
/// Bytes of small frames gathered for one write.
pub(crate) const WRITE_BYTES_MAX: usize = 64 * KIB;

/// Requests of this node that may wait for an answer on one connection.
pub(crate) const REQUESTS_IN_FLIGHT_MAX: usize = 1024;
/// Requests and streams of a peer served at once on one connection. Above what a peer asks at once, since a request
/// that the peer has given up may still be on its way out here.
pub(crate) const SERVED_MAX: usize = 2 * REQUESTS_IN_FLIGHT_MAX;
/// Bytes of the bodies that they came with; the request that crosses the mark is still served, so that any frame fits.
pub(crate) const SERVED_BYTES_MAX: usize = 256 * MIB;
/// How long a request is served, whatever its asker says.
pub(crate) const SERVED_TIME_MAX: Duration = Duration::from_secs(60 * 60);
/// Longest sentence of a fault, in bytes.
pub(crate) const FAULT_BYTES_MAX: usize = KIB;

/// Open streams on one connection.
pub(crate) const STREAMS_MAX: usize = 256;
/// Bytes that a stream may have under way: sent and not yet taken by the reader at the other end.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 * MIB as u32;
/// What a frame takes of that window at least, so that the window bounds the number of frames too.
pub(crate) const STREAM_FRAME_COST_MIN: u32 = 512;
/// Frames that fit in the window, with one that may cross its mark.
pub(crate) const STREAM_FRAMES_MAX: usize = (STREAM_WINDOW_BYTES / STREAM_FRAME_COST_MIN) as usize + 1;

/// Accepted connections that have not said hello yet. One more makes the oldest of the address that has the most give
/// way, so that silent ones keep nobody out.
pub(crate) const HALF_OPEN_MAX: usize = 256;
/// How long one of them may take, if connecting may not take less.
pub(crate) const GREETING_TIME_MAX: Duration = Duration::from_secs(2);
/// How many may give way before accepting pauses, and for how long: taking and dropping connections must not use up the
/// processor that those who are in need.
pub(crate) const GIVE_WAYS_PER_PAUSE: usize = 8;
/// The pause: with the number above, some 3,000 give way per second at most.
pub(crate) const GIVE_WAY_PAUSE: Duration = Duration::from_millis(2);
/// Secrets that are good at once, while one follows another.
pub(crate) const SECRETS_MAX: usize = 4;
/// Admitted connections, dialled and accepted.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// Bulk connections that one peer may keep to this node.
pub(crate) const BULK_CONNECTIONS_MAX: usize = 64;
/// Nodes whose address is known.
pub(crate) const PEERS_MAX: usize = 4096;

/// Events that wait for their reader before they are merged per peer.
pub(crate) const EVENTS_MAX: usize = 256;
/// Refusals kept while the reader of events is slow; the oldest gives way.
pub(crate) const REFUSALS_KEPT_MAX: usize = 256;

/// First wait before a failed dial is tried again.
pub(crate) const REDIAL_WAIT_MIN: Duration = Duration::from_millis(20);
/// Longest wait between two dials.
pub(crate) const REDIAL_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a lost connection may wait for the verdict of its re-dial before it is reported as down.
pub(crate) const CRASH_VERDICT_WAIT_MAX: Duration = Duration::from_millis(50);
/// Dials without a wait between them after a lost connection, as long as they are cut short.
pub(crate) const VERDICT_DIALS_MAX: usize = 3;
/// How long a connection that is being closed may go on sending what is queued, goodbye included.
pub(crate) const GOODBYE_WAIT_MAX: Duration = Duration::from_millis(500);
/// First wait after a failed accept, such as one without file descriptors.
pub(crate) const ACCEPT_RETRY_WAIT_MIN: Duration = Duration::from_millis(10);
/// Longest wait after a failed accept.
pub(crate) const ACCEPT_RETRY_WAIT_MAX: Duration = Duration::from_secs(1);
/// Names looked up at once in this process. The system's resolver may block for many seconds, and the threads that
/// wait for it are those that disk operations need too.
pub(crate) const LOOKUPS_MAX: usize = 16;
/// How long a dial waits for one address of a host before it tries the next one beside it.
pub(crate) const NEXT_ADDRESS_WAIT: Duration = Duration::from_millis(200);
/// Warnings about misbehaving peers per second; more are counted, not written.
pub(crate) const WARNINGS_PER_SECOND_MAX: u32 = 10;
