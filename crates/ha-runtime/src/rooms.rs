//! Which rooms of a node are on.

use serde::Serialize;

/// Which rooms of a node are on, as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rooms {
    /// Discovery, membership, leader election (`CLUSTER_ENABLED`).
    pub cluster: bool,
    /// Roles that move (`FAILOVER_ENABLED`).
    pub failover: bool,
    /// Records on every copy (`REPLICATION_ENABLED`).
    pub replication: bool,
    /// Shared keys and locks (`STATE_ENABLED`).
    pub state: bool,
    /// Checked components (`HEALTH_MONITOR_ENABLED`).
    pub health_monitor: bool,
}

impl Rooms {
    /// True when at least one room is on: the `ha_enabled` of the health document.
    pub fn any(&self) -> bool {
        self.cluster || self.failover || self.replication || self.state || self.health_monitor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_rooms_is_off_and_any_one_room_turns_it_on() {
        assert!(!Rooms::default().any());
        for rooms in [
            Rooms { cluster: true, ..Rooms::default() },
            Rooms { failover: true, ..Rooms::default() },
            Rooms { replication: true, ..Rooms::default() },
            Rooms { state: true, ..Rooms::default() },
            Rooms { health_monitor: true, ..Rooms::default() },
        ] {
            assert!(rooms.any(), "{rooms:?}");
        }
    }
}
