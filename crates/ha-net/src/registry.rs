//! All admitted connections of one node, dialled and accepted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::connection::{Connection, Side};
use crate::limits::CONNECTIONS_MAX;
use crate::sync::lock;
use crate::{Lane, NodeId, Refusal, RefusalCode};

/// Which connection this is: a peer has one of each. Ordered, so that all are ended in a fixed order.
type Key = (NodeId, bool, Lane);

/// The connections by what they are.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    connections: BTreeMap<Key, Arc<Connection>>,
    stopping: bool,
}

/// The node is stopping or has all the connections that it takes, so this one is not added.
#[derive(Debug)]
pub(crate) struct NoRoom;

fn key(connection: &Connection) -> Key {
    (connection.peer.node_id.clone(), connection.side == Side::Accepted, connection.lane)
}

impl Registry {
    /// Whether one more may be added. A peer that replaces its own connection needs no room, but this close to the
    /// bound it has to wait like all others.
    pub(crate) fn has_room(&self) -> Result<(), Refusal> {
        if lock(&self.0).connections.len() < CONNECTIONS_MAX {
            return Ok(());
        }
        let message = format!("this node has {CONNECTIONS_MAX} connections, which is all it takes");
        Err(Refusal { code: RefusalCode::Busy, message })
    }

    /// Adds a connection. An older one of the same peer, side and lane ends: whoever dialled anew has lost it.
    pub(crate) fn add(&self, connection: &Arc<Connection>) -> Result<(), NoRoom> {
        let mut table = lock(&self.0);
        let key = key(connection);
        if table.stopping || (table.connections.len() >= CONNECTIONS_MAX && !table.connections.contains_key(&key)) {
            return Err(NoRoom);
        }
        let older = table.connections.insert(key, Arc::clone(connection));
        drop(table);
        if let Some(older) = older {
            older.leave();
        }
        Ok(())
    }

    /// Removes a connection that has ended, unless a newer one has its place.
    pub(crate) fn remove(&self, connection: &Arc<Connection>) {
        let mut table = lock(&self.0);
        let key = key(connection);
        if table.connections.get(&key).is_some_and(|known| Arc::ptr_eq(known, connection)) {
            table.connections.remove(&key);
        }
    }

    /// The connections to and from one node.
    pub(crate) fn of(&self, node_id: &NodeId) -> Vec<Arc<Connection>> {
        let from = (node_id.clone(), false, Lane::Control);
        let to = (node_id.clone(), true, Lane::Bulk(u8::MAX));
        lock(&self.0).connections.range(from..=to).map(|(_, connection)| Arc::clone(connection)).collect()
    }

    /// Takes no more connections, and returns those there are.
    pub(crate) fn stop(&self) -> Vec<Arc<Connection>> {
        let mut table = lock(&self.0);
        table.stopping = true;
        table.connections.values().map(Arc::clone).collect()
    }
}
