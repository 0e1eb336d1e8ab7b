//! Whether this node is fit to lead, as far as it can see itself.

use super::driver::Driver;
use crate::gossip::{self, Suffrage, Traits};

/// Health of a node that sees nothing wrong with itself, in percent.
pub(super) const WELL: u8 = 100;
/// Health of a node whose disk does not answer, and of one that takes part no more.
pub(super) const UNFIT: u8 = 0;

impl Driver {
    /// A disk that does not answer makes a node unfit to lead: it says so to the others, and a leader hands over.
    pub(super) fn look_at_the_disk(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let waits = self.wal.sync_times().running;
        let stalled = waits.filter(|waits| *waits > self.cx.engine.election_max());
        let health = if stalled.is_some() { UNFIT } else { WELL };
        if health != self.health {
            self.health = health;
            let message = match stalled {
                Some(waits) => {
                    format!("the disk has not answered for {} ms: this node should not lead", waits.as_millis())
                }
                None => "the disk answers again".to_owned(),
            };
            self.cx.events.happened("disk", message);
            self.tell_traits();
        }
        if stalled.is_some() && self.cx.status.is_leader() && !self.leading.is_handing_over() {
            self.begin_transfer(None, None);
        }
    }

    /// Tells the others what this node is like now.
    pub(super) fn tell_traits(&mut self) {
        let (status, me) = (&self.cx.status, &self.cx.me.node_id);
        let suffrage = match (status.nodes.contains_key(me), status.voters.contains(me)) {
            (_, true) => Suffrage::Voter,
            (true, false) => Suffrage::Learner,
            (false, false) => Suffrage::None,
        };
        let traits = Traits { suffrage, health: self.health, ..own_traits(&self.cx.config) };
        self.gossip(gossip::Input::Update(traits));
    }
}

/// What a node tells others about itself before it knows more.
pub(super) fn own_traits(config: &crate::Config) -> Traits {
    Traits {
        priority: config.priority,
        role: config.role,
        version: gossip::ProgramVersion::new(env!("CARGO_PKG_VERSION")),
        suffrage: Suffrage::None,
        health: WELL,
    }
}
