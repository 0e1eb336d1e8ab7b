//! What a follower does when its leader's process is gone.

use std::time::Duration;

use ha_net::NodeId;

use super::driver::{Done, Driver};

impl Driver {
    pub(super) fn crashed(&mut self, node: &NodeId) {
        self.cx.status = self.cx.engine.status();
        if self.cx.status.leader.as_ref() != Some(node) || self.cx.status.is_leader() {
            return;
        }
        let engine = self.cx.engine.clone();
        let dead = node.clone();
        let rank = self.cx.status.voters.iter().filter(|n| *n != &dead).position(|n| *n == self.cx.me.node_id).unwrap_or(0);
        self.cx.begin(async move {
            engine.drop_lease(&dead).await;
            tokio::time::sleep(Duration::from_millis(2 + 30 * rank as u64)).await;
            for _ in 0..20 {
                let status = engine.status();
                if status.leader.is_some() && status.leader.as_ref() != Some(&dead) { break; }
                engine.campaign().await;
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            Done::Nothing
        });
    }

    pub(super) fn campaign_leader(&mut self, _known: bool) {}
}
