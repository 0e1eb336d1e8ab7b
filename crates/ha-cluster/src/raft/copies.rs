//! How far each member's disk holds the log, as its leader knows it.

use std::collections::BTreeMap;

use ha_net::NodeId;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use openraft::metrics::{RaftDataMetrics, RaftServerMetrics};
use openraft::type_config::alias::WatchReceiverOf;

use super::types::Types;
use crate::Role;
use crate::view::Term;

/// One member's share of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The last log entry that its disk is known to hold, all before it included.
    pub index: u64,
    /// Whether it keeps application data: a witness votes, and is no copy.
    pub is_copy: bool,
    /// Whether it votes.
    pub is_voter: bool,
}

/// How far each member's disk holds the log, to follow. Cheap to clone.
#[derive(Clone)]
pub struct Copies {
    pub(super) data: WatchReceiverOf<Types, RaftDataMetrics<Types>>,
    pub(super) server: WatchReceiverOf<Types, RaftServerMetrics<Types>>,
}

/// What a leader knows of the disks of its members at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBy {
    /// The term in which it leads.
    pub term: Term,
    /// Each member.
    pub members: BTreeMap<NodeId, Held>,
}

impl Copies {
    /// This moment; `None` elsewhere than on the leader.
    pub fn now(&self) -> Option<HeldBy> {
        let server = self.server.borrow_watched();
        if server.state != ServerState::Leader {
            return None;
        }
        let data = self.data.borrow_watched();
        let positions = data.replication.as_ref()?;
        let membership = server.membership_config.membership();
        let voters: std::collections::BTreeSet<NodeId> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(node, record)| {
            let index = positions.get(node).and_then(Option::as_ref).map_or(0, |id| id.index);
            (node.clone(), Held { index, is_copy: record.role != Role::Witness, is_voter: voters.contains(node) })
        });
        Some(HeldBy { term: Term(server.vote.leader_id.term), members: members.collect() })
    }

    /// Waits until it may have changed since the last call. Cancel-safe. Never returns once the node has stopped.
    pub async fn changed(&mut self) {
        let ended = tokio::select! {
            changed = self.data.changed() => changed.is_err(),
            changed = self.server.changed() => changed.is_err(),
        };
        if ended {
            std::future::pending::<()>().await;
        }
    }
}
