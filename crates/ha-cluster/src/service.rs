//! The numbers by which messages between nodes are told apart. Never reuse one for something else.

use ha_net::{Lane, Service};

/// A stream of append messages and their answers.
pub(crate) const RAFT_APPEND: Service = Service(1);
/// A heartbeat: one append message, asked.
pub(crate) const RAFT_HEARTBEAT: Service = Service(2);
pub(crate) const RAFT_VOTE: Service = Service(3);
pub(crate) const RAFT_PRE_VOTE: Service = Service(4);
pub(crate) const RAFT_TRANSFER: Service = Service(5);
/// A stream: a head, then chunks; one answer.
pub(crate) const RAFT_SNAPSHOT: Service = Service(6);
/// A batch of commands for the leader.
pub(crate) const PROPOSE: Service = Service(7);
/// Asks the leader for a log index at which a linearizable read may be served.
pub(crate) const READ_INDEX: Service = Service(8);
pub(crate) const GOSSIP: Service = Service(16);
pub(crate) const FORMATION: Service = Service(17);
/// Asks the leader to renew the asker's node lease.
pub(crate) const LEASE: Service = Service(18);
/// Asks the leader to hand leadership over.
pub(crate) const TRANSFER: Service = Service(19);
/// Asks the leader to remove a member.
pub(crate) const REMOVE: Service = Service(20);
/// Tells which cluster the sender belongs to, now that it does.
pub(crate) const BELONGING: Service = Service(21);

/// Entries travel on one connection, so that they stay in order and beside nothing else.
pub(crate) const APPEND_LANE: Lane = Lane::Bulk(0);
pub(crate) const PROPOSE_LANE: Lane = Lane::Bulk(1);
pub(crate) const SNAPSHOT_LANE: Lane = Lane::Bulk(2);
