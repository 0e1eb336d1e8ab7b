//! A cluster that is a puppet, and views for it to show: for tests of whatever speaks for a node.
#![allow(clippy::unwrap_used, reason = "only tests use it, and a test that panics has failed")]

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use crate::{
    Address, ClusterHandle, ClusterId, ClusterSeat, Epoch, Event, Events, Ha, Incarnation, LeaveError, Member,
    MemberRole, MemberState, Node, NodeId, PriorityError, Rooms, Term, Traffic, TransferError, View, Votes,
};
use ha_cluster::wal::SyncTimes;

/// Events that a slow reader of a puppet may leave unread.
pub const EVENTS_KEPT: usize = 4;

/// A cluster that shows what it is told to show, and remembers what it was asked.
pub struct Puppet {
    /// What it shows.
    pub view: watch::Sender<Arc<View>>,
    /// Whether it holds its node lease.
    pub lease: watch::Sender<bool>,
    /// What happens.
    pub events: broadcast::Sender<Event>,
    /// How many have begun to follow what happens.
    pub followers: watch::Sender<usize>,
    /// Every transfer that was asked for.
    pub transfers: Mutex<Vec<Option<NodeId>>>,
    /// What is told beside the cluster, which nobody follows here.
    pub stream: Events,
    /// The priorities that were set.
    pub priorities: Mutex<Vec<u16>>,
    /// What a transfer is answered; `None` lets it wait for ever.
    pub transfer_answer: Mutex<Option<Result<Node, TransferError>>>,
    /// Every member whose removal was asked for.
    pub removals: Mutex<Vec<NodeId>>,
    /// Why no member is removed; `None` removes it.
    pub removal_refused: Mutex<Option<LeaveError>>,
    /// Whether it was stopped.
    pub stopped: watch::Sender<bool>,
}

impl Puppet {
    /// A puppet that shows a view.
    pub fn new(view: View) -> Arc<Self> {
        Arc::new(Self {
            view: watch::Sender::new(Arc::new(view)),
            lease: watch::Sender::new(true),
            events: broadcast::Sender::new(EVENTS_KEPT),
            followers: watch::Sender::new(0),
            stream: Events::new(),
            priorities: Mutex::default(),
            transfers: Mutex::default(),
            transfer_answer: Mutex::new(Some(Err(TransferError::NoLeader))),
            removals: Mutex::default(),
            removal_refused: Mutex::default(),
            stopped: watch::Sender::new(false),
        })
    }

    /// A node whose only room is this cluster.
    pub fn node(self: &Arc<Self>) -> Ha {
        Ha::assemble(Rooms { cluster: true, ..Rooms::default() }, ClusterHandle::new(self.clone()))
    }

    /// Shows another view.
    pub fn show(&self, view: View) {
        self.view.send_replace(Arc::new(view));
    }

    /// Lets something happen. Somebody must follow.
    pub fn happen(&self, number: u64, kind: &'static str, message: &str) {
        self.events.send(Event { number, kind, message: message.to_owned() }).unwrap();
    }
}

impl ClusterSeat for Puppet {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        let events = self.events.subscribe();
        self.followers.send_modify(|count| *count += 1);
        events
    }

    fn event_stream(&self) -> Events {
        self.stream.clone()
    }

    fn disk_times(&self) -> Option<SyncTimes> {
        Some(SyncTimes::default())
    }

    fn set_priority(&self, priority: u16) -> BoxFuture<'_, Result<(), PriorityError>> {
        self.priorities.lock().unwrap().push(priority);
        Box::pin(std::future::ready(Ok(())))
    }

    fn holds_lease(&self) -> bool {
        *self.lease.borrow()
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(Traffic {
            sent_bytes: 1000,
            received_bytes: 2000,
            sent_frames: 10,
            received_frames: 20,
            connections: 4,
            refused: 1,
        })
    }

    fn transfer_leader(&self, to: Option<NodeId>) -> BoxFuture<'_, Result<Node, TransferError>> {
        self.transfers.lock().unwrap().push(to);
        match self.transfer_answer.lock().unwrap().clone() {
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn remove(&self, node: NodeId) -> BoxFuture<'_, Result<(), LeaveError>> {
        self.removals.lock().unwrap().push(node);
        let refused = self.removal_refused.lock().unwrap().clone();
        Box::pin(std::future::ready(refused.map_or(Ok(()), Err)))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.stopped.send_replace(true);
        Box::pin(std::future::ready(()))
    }
}

/// A node id.
pub fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn member(node: &str, port: u16, role: MemberRole) -> Member {
    Member {
        node_id: id(node),
        address: "10.0.0.1".to_owned(),
        port,
        state: MemberState::Alive,
        role,
        priority: 100,
        voter: true,
        fit: true,
    }
}

/// Three members; this is node-1, and it leads.
pub fn healthy() -> View {
    let address: Address = "10.0.0.1:7946".parse().unwrap();
    View {
        cluster_id: Some(ClusterId(0xabc)),
        cluster_name: "default".to_owned(),
        node_id: id("node-1"),
        incarnation: Incarnation(3),
        address: address.clone(),
        role: Some(MemberRole::Leader),
        term: Term(4),
        epoch: Epoch(17),
        leader: Some(Node::new(id("node-1"), &address)),
        leader_is_live: true,
        members: vec![
            member("node-1", 7946, MemberRole::Leader),
            member("node-2", 7947, MemberRole::Follower),
            member("node-3", 7948, MemberRole::Follower),
        ],
        votes: Votes { have: 3, need: 2 },
        waiting_for: None,
        stopped: None,
    }
}

/// As [`healthy`], seen from node-2.
pub fn follower() -> View {
    View { node_id: id("node-2"), role: Some(MemberRole::Follower), ..healthy() }
}

/// node-3 is gone.
pub fn degraded() -> View {
    let mut view = View { votes: Votes { have: 2, need: 2 }, ..healthy() };
    view.members[2].state = MemberState::Failed;
    view
}

/// Only this node is left.
pub fn no_quorum() -> View {
    let mut view = View {
        role: Some(MemberRole::Follower),
        leader: None,
        leader_is_live: false,
        votes: Votes { have: 1, need: 2 },
        ..healthy()
    };
    view.members[0].role = MemberRole::Follower;
    view.members[1].state = MemberState::Failed;
    view.members[2].state = MemberState::Failed;
    view
}

/// Nobody found yet.
pub fn forming() -> View {
    View {
        cluster_id: None,
        role: None,
        term: Term(0),
        epoch: Epoch(0),
        leader: None,
        leader_is_live: false,
        members: vec![],
        votes: Votes::default(),
        waiting_for: Some("1 of 2 nodes found".to_owned()),
        ..healthy()
    }
}

/// The disk failed.
pub fn stopped() -> View {
    View { stopped: Some("the disk failed: I/O error".to_owned()), ..no_quorum() }
}
