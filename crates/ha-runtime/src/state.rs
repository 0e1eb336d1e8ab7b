//! The place of shared state in a node.

use std::sync::Arc;

use ha_cluster::clock::Clock;
use ha_cluster::{Cluster, Machines, Role};
use ha_state::{StartError, State, Store};

use crate::Rooms;

/// Every node keeps a copy, also one whose own room is off: the log is one for all, and each node must be able to
/// follow all of it.
pub(crate) fn machines(machines: Machines) -> Machines {
    machines.with(Store::new())
}

/// Starts the room on a cluster that runs.
pub(crate) fn start(rooms: Rooms, role: Role, cluster: &Cluster, clock: Arc<dyn Clock>) -> Result<State, StartError> {
    if role == Role::Witness {
        return Ok(State::off("a witness keeps no shared state: ask another node"));
    }
    // Started in any case: as the leader, this node ends the leases of all.
    let state = ha_state::start(ha_state::Config::default(), cluster, clock)?;
    Ok(if rooms.state { state } else { state.closed(OFF) })
}

/// Why the room does not answer.
const OFF: &str = "shared state is off on this node: set STATE_ENABLED=true";

/// The handle where the room is off.
pub(crate) fn off() -> State {
    State::off(OFF)
}
