//! The nodes that this one can dial, and its links to each.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::limits::PEERS_MAX;
use crate::link::Link;
use crate::shared::Shared;
use crate::{Address, Lane, NodeId};

/// The table of known nodes. Never iterated, since its order is random.
#[derive(Default)]
pub(crate) struct Peers(DashMap<NodeId, Arc<Target>>);

/// A node at one address. A new address makes a new target.
pub(crate) struct Target {
    pub(crate) node_id: NodeId,
    pub(crate) address: Address,
    /// Cancelled when the node is forgotten, has moved, or this node stops.
    pub(crate) closed: CancellationToken,
    /// The control link, then the bulk ones.
    links: Vec<Link>,
}

impl Peers {
    /// What is known of a node.
    pub(crate) fn get(&self, node_id: &NodeId) -> Option<Arc<Target>> {
        self.0.get(node_id).map(|found| Arc::clone(&found))
    }

    /// Makes a node known at an address, and returns it, or None when the table is full. A target at another address
    /// is closed; if its control link was in use, the new one is dialled at once.
    pub(crate) fn learn(&self, shared: &Arc<Shared>, node_id: &NodeId, address: &Address) -> Option<Arc<Target>> {
        if !self.0.contains_key(node_id) && self.0.len() >= PEERS_MAX {
            if let Some(suppressed) = shared.warnings.allow(Instant::now()) {
                tracing::warn!(%node_id, %address, suppressed, "node not learnt: {PEERS_MAX} nodes are known already");
            }
            return None;
        }
        let (target, older) = match self.0.entry(node_id.clone()) {
            Entry::Occupied(known) if known.get().address == *address => return Some(Arc::clone(known.get())),
            Entry::Occupied(mut known) => {
                let target = Target::new(shared, node_id, address);
                let older = known.insert(Arc::clone(&target));
                (target, Some(older))
            }
            Entry::Vacant(place) => (Arc::clone(&place.insert(Target::new(shared, node_id, address))), None),
        };
        if let Some(older) = older {
            let was_used = older.link(Lane::Control).is_used();
            older.closed.cancel();
            if was_used {
                target.want(shared, Lane::Control);
            }
        }
        Some(target)
    }

    /// Forgets a node.
    pub(crate) fn forget(&self, node_id: &NodeId) {
        if let Some((_, target)) = self.0.remove(node_id) {
            target.closed.cancel();
        }
    }

    /// A node has just dialled this one.
    pub(crate) fn seen(&self, node_id: &NodeId) {
        if let Some(target) = self.get(node_id) {
            target.hurry();
        }
    }
}

impl Target {
    fn new(shared: &Shared, node_id: &NodeId, address: &Address) -> Arc<Self> {
        let bulk =
            (0..shared.config.bulk_connections).map(|number| Lane::Bulk(u8::try_from(number).unwrap_or(u8::MAX)));
        Arc::new(Self {
            node_id: node_id.clone(),
            address: address.clone(),
            closed: shared.stopped.child_token(),
            links: std::iter::once(Lane::Control).chain(bulk).map(Link::new).collect(),
        })
    }

    /// The link that carries this lane.
    pub(crate) fn link(&self, lane: Lane) -> &Link {
        &self.links[self.link_number(lane)]
    }

    fn link_number(&self, lane: Lane) -> usize {
        match lane {
            Lane::Control => 0,
            // There is at least one bulk link, as `start` has checked.
            Lane::Bulk(number) => 1 + usize::from(number) % (self.links.len() - 1),
        }
    }

    /// Asks for a connection on this lane, and starts the link's task when this is the first time.
    pub(crate) fn want(self: &Arc<Self>, shared: &Arc<Shared>, lane: Lane) {
        let number = self.link_number(lane);
        if self.links[number].want() {
            shared.tasks.spawn(crate::dialling::keep(Arc::clone(self), number, Arc::clone(shared)));
        }
    }

    /// The node is there: whichever link is down is dialled without a wait when it is wanted.
    pub(crate) fn hurry(&self) {
        self.links.iter().for_each(Link::hurry);
    }

    pub(crate) fn link_at(&self, number: usize) -> &Link {
        &self.links[number]
    }
}
