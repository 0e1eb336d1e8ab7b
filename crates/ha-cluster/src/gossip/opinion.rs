//! What this node believes of another.

use std::time::Duration;

use ha_net::{Address, Incarnation};

use super::Traits;
use crate::MemberState;

/// What this node believes of another, or of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Whether it is there.
    pub state: MemberState,
    /// Since when, on the clock that is given as `now`.
    pub since: Duration,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Where it can be dialled.
    pub address: Address,
    /// What it is like; `None` until that has reached this node.
    pub traits: Option<Traits>,
}
