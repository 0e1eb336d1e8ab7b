//! The plays, by the scenario that each one plays.

mod crash;

use super::Scene;

/// All of them.
pub const ALL: &[Scene] = &[Scene {
    name: "T01",
    summary: "the leader is killed under load, at any point of its lease, again and again",
    play: crash::leader_killed_under_load,
}];
