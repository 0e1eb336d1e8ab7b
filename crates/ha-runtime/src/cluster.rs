//! The cluster's place in a node, also when the cluster is off.

use std::sync::Arc;

use futures::future::BoxFuture;
use ha_cluster::wal::SyncTimes;
use ha_cluster::{
    Archive, Cluster, ClusterInfo, Event, Events, LeaveError, Member, MemberRole, Node, NodeId, Overtaken,
    PriorityError, RestoreError, SaveError, TransferError, View,
};
use ha_net::Traffic;
use tokio::sync::{broadcast, watch};

/// What a node can see and ask of its cluster. The seam between the outside of a node (HTTP, the program) and the
/// cluster: [`Cluster`] implements it, and tests do.
pub trait ClusterSeat: Send + Sync + 'static {
    /// Everything this node knows, to follow.
    fn watch(&self) -> watch::Receiver<Arc<View>>;

    /// The stream of events itself: for what has happened, and to tell there what happens beside the cluster.
    fn event_stream(&self) -> Events;

    /// What happens from now on.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// Whether this node holds its lease at this instant, whatever the view says: asked of the clock, so that a process
    /// that was frozen answers rightly before it has caught up.
    fn holds_lease(&self) -> bool;

    /// What has gone between this node and others; `None` where there is no network.
    fn traffic(&self) -> Option<Traffic>;

    /// See [`Cluster::transfer_leader`].
    fn transfer_leader(&self, to: Option<NodeId>) -> BoxFuture<'_, Result<Node, TransferError>>;

    /// See [`Cluster::remove`].
    fn remove(&self, node: NodeId) -> BoxFuture<'_, Result<(), LeaveError>>;

    /// See [`Cluster::disk_times`]; `None` where there is no log.
    fn disk_times(&self) -> Option<SyncTimes>;

    /// See [`Cluster::set_priority`].
    fn set_priority(&self, priority: u16) -> BoxFuture<'_, Result<(), PriorityError>>;

    /// See [`Cluster::overtaken`].
    fn overtaken(&self) -> Option<Overtaken> {
        None
    }

    /// See [`Cluster::stop`].
    fn stop(&self) -> BoxFuture<'_, ()>;

    /// See [`Cluster::save`].
    fn save(&self) -> BoxFuture<'_, Result<Archive, SaveError>> {
        let reason = "there is no cluster here".to_owned();
        Box::pin(std::future::ready(Err(SaveError::Failed { reason })))
    }

    /// See [`Cluster::restore`].
    fn restore(&self, archive: Archive, overwrite: bool) -> BoxFuture<'_, Result<(), RestoreError>> {
        let _ = (archive, overwrite);
        let reason = "there is no cluster here".to_owned();
        Box::pin(std::future::ready(Err(RestoreError::NotRestored { reason })))
    }
}

impl ClusterSeat for Cluster {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        Cluster::watch(self)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        Cluster::events(self)
    }

    fn event_stream(&self) -> Events {
        Cluster::event_stream(self)
    }

    fn disk_times(&self) -> Option<SyncTimes> {
        Some(Cluster::disk_times(self))
    }

    fn set_priority(&self, priority: u16) -> BoxFuture<'_, Result<(), PriorityError>> {
        Box::pin(Cluster::set_priority(self, priority))
    }

    fn holds_lease(&self) -> bool {
        self.lease().is_held()
    }

    fn overtaken(&self) -> Option<Overtaken> {
        Cluster::overtaken(self).borrow().clone()
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(Cluster::traffic(self))
    }

    fn transfer_leader(&self, to: Option<NodeId>) -> BoxFuture<'_, Result<Node, TransferError>> {
        Box::pin(Cluster::transfer_leader(self, to))
    }

    fn remove(&self, node: NodeId) -> BoxFuture<'_, Result<(), LeaveError>> {
        Box::pin(Cluster::remove(self, node))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(Cluster::stop(self))
    }

    fn save(&self) -> BoxFuture<'_, Result<Archive, SaveError>> {
        Box::pin(Cluster::save(self))
    }

    fn restore(&self, archive: Archive, overwrite: bool) -> BoxFuture<'_, Result<(), RestoreError>> {
        Box::pin(async move { Cluster::restore(self, &archive, overwrite).await })
    }
}

/// The cluster as this node sees it. Cheap to clone.
///
/// With the cluster off (`CLUSTER_ENABLED=false`) the node is alone, and the handle answers as a node that has found
/// nobody: no members, no leader, state `forming`, and no event of a cluster ever. So a program asks the same questions in both
/// cases, and [`Self::enabled`] tells them apart.
#[derive(Clone)]
pub struct ClusterHandle {
    enabled: bool,
    view: watch::Receiver<Arc<View>>,
    seat: Arc<dyn ClusterSeat>,
}

impl ClusterHandle {
    /// The handle of a running cluster node.
    pub fn new(seat: Arc<dyn ClusterSeat>) -> Self {
        Self { enabled: true, view: seat.watch(), seat }
    }

    /// The handle of a node whose cluster is off. The view says who it would be, and stays as it is.
    pub(crate) fn off(view: View) -> Self {
        let seat = Arc::new(Alone { view: watch::Sender::new(Arc::new(view)), events: Events::new() });
        Self { enabled: false, view: seat.watch(), seat }
    }

    /// Where questions go that this crate asks.
    pub(crate) fn seat(&self) -> &dyn ClusterSeat {
        &*self.seat
    }

    /// False when the cluster is off.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// The cluster at a glance.
    pub fn info(&self) -> ClusterInfo {
        self.view().info()
    }

    /// The leader, if one is known.
    pub fn leader(&self) -> Option<Node> {
        self.view.borrow().leader.clone()
    }

    /// All members, by id.
    pub fn members(&self) -> Vec<Member> {
        self.view.borrow().members.clone()
    }

    /// Everything this node knows at this moment.
    ///
    /// A leader without its node lease does not call itself live here: the view that is followed is as old as the last
    /// thing that happened, and a leader that was frozen must not claim in its first instant what it has lost.
    pub fn view(&self) -> Arc<View> {
        let view = self.view.borrow().clone();
        if view.role != Some(MemberRole::Leader) || !view.leader_is_live || self.seat.holds_lease() {
            return view;
        }
        Arc::new(View { leader_is_live: false, ..(*view).clone() })
    }

    /// Everything this node knows, to follow.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// What happens from now on. A reader that falls too far behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.seat.events()
    }

    /// What has happened on this node lately, the oldest first.
    pub fn past_events(&self) -> Vec<Event> {
        self.seat.event_stream().last()
    }

    pub(crate) fn event_stream(&self) -> Events {
        self.seat.event_stream()
    }

    /// How long the disk of the log takes; `None` with the cluster off.
    pub fn disk_times(&self) -> Option<SyncTimes> {
        self.seat.disk_times()
    }

    /// Gives this node another priority, until it starts again. See [`Cluster::set_priority`].
    pub async fn set_priority(&self, priority: u16) -> Result<(), PriorityError> {
        self.seat.set_priority(priority).await
    }

    /// What has gone between this node and others, counted from its start; `None` with the cluster off.
    pub fn traffic(&self) -> Option<Traffic> {
        self.seat.traffic()
    }

    /// Hands leadership to a node, or to the best candidate; returns once it leads. Any node may be asked. Cancel-safe
    /// in that dropping the future only gives up waiting: leadership may still move.
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<Node, TransferError> {
        self.seat.transfer_leader(to).await
    }

    /// Removes a member for good; any node may be asked. Neither its id nor its data directory can be used in this
    /// cluster again. Cancel-safe in that dropping the future only gives up waiting: the member may still be removed.
    pub async fn remove(&self, node: NodeId) -> Result<(), LeaveError> {
        self.seat.remove(node).await
    }

    /// Set once the cluster went on by force without this node: its data is being set aside then, and it must be started
    /// anew; see [`crate::Ha::restart_wanted`].
    pub fn overtaken(&self) -> Option<Overtaken> {
        self.seat.overtaken()
    }

    pub(crate) async fn stop(&self) {
        self.seat.stop().await;
    }
}

/// A node whose cluster is off. It holds the sending ends, so that those who follow wait instead of being told of an end.
struct Alone {
    view: watch::Sender<Arc<View>>,
    events: Events,
}

impl ClusterSeat for Alone {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    fn event_stream(&self) -> Events {
        self.events.clone()
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.follow()
    }

    fn disk_times(&self) -> Option<SyncTimes> {
        None
    }

    fn set_priority(&self, _priority: u16) -> BoxFuture<'_, Result<(), PriorityError>> {
        Box::pin(std::future::ready(Err(PriorityError::Stopped)))
    }

    fn holds_lease(&self) -> bool {
        false
    }

    fn traffic(&self) -> Option<Traffic> {
        None
    }

    fn transfer_leader(&self, _to: Option<NodeId>) -> BoxFuture<'_, Result<Node, TransferError>> {
        Box::pin(std::future::ready(Err(TransferError::NoLeader)))
    }

    fn remove(&self, _node: NodeId) -> BoxFuture<'_, Result<(), LeaveError>> {
        let reason = "the cluster of this node is off".to_owned();
        Box::pin(std::future::ready(Err(LeaveError::Refused { reason })))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
