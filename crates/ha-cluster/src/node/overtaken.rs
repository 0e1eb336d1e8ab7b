//! Giving way to what the cluster became without this node, by force.

use super::driver::Driver;
use super::gate::gone_on;
use crate::cluster::AsideError;
use crate::identity::aside_directory;
use crate::{Epoch, Overtaken};

/// How long a node that leads itself may take to apply what it acknowledged before it gives way, in election timeouts.
const APPLIES_WITHIN: u32 = 3;

impl Driver {
    /// Keeps where this node's cluster left others, once that is known for certain: peers are told.
    pub(super) async fn remember_recovery(&mut self) {
        if !self.recovered.has_changed().unwrap_or(false) {
            return;
        }
        let recovered = *self.recovered.borrow_and_update();
        let mut lineage = self.cx.doorman.lineage();
        let (Some((generation, epoch)), Some(cluster_id)) = (recovered, self.cx.doorman.cluster_id()) else { return };
        let Some(fork) = lineage.forks.last_mut().filter(|fork| fork.generation == generation) else { return };
        if fork.forked_at.is_some_and(|known| known <= epoch.0) {
            return;
        }
        fork.forked_at = Some(epoch.0);
        match self.identity.save_lineage(&lineage).await {
            Ok(()) => drop(self.cx.doorman.belong(cluster_id, lineage)),
            Err(error) => tracing::warn!("where this cluster left others cannot be kept: {error}"),
        }
    }

    /// Takes part no more once a peer has shown that the cluster went on without this node.
    pub(super) fn give_way(&mut self) {
        let Some((lineage, by)) = self.cx.doorman.superseded() else { return };
        if self.overtaken.borrow().is_some() || self.stopping.is_some() {
            return;
        }
        let since = *self.overtaken_since.get_or_insert(self.cx.now());
        let patience = self.cx.engine.election_max() * APPLIES_WITHIN;
        if self.is_about_to_lead_itself() && self.cx.now() < since + patience {
            return;
        }
        let generation = lineage.generation;
        let directory = aside_directory(&self.cx.config.data_dir, self.cx.me.incarnation);
        let sentence = gone_on(&self.cx.me.node_id, &by, generation);
        self.cx.events.happened("overtaken", sentence.clone());
        let holds = |term, index| self.wal.term_at(index) == Some(term);
        let forked_at = lineage.shared_with(&self.cx.doorman.lineage(), holds).map(Epoch);
        self.overtaken.send_replace(Some(Overtaken { by, generation, forked_at, directory }));
        self.fail(sentence);
    }

    /// Whether this node is the only voter of a cluster and has not applied yet what it acknowledged before it started:
    /// that must be seen before it is set aside.
    fn is_about_to_lead_itself(&self) -> bool {
        let (status, me) = (&self.cx.status, &self.cx.me.node_id);
        let is_alone = status.voters.len() == 1 && status.voters.contains(me);
        let is_up_to_date = status.is_leader() && status.applied_index >= status.last_index;
        is_alone && self.failed.is_none() && !is_up_to_date
    }

    /// Orders that everything is set aside with the next start.
    pub(super) async fn order_aside(&mut self) -> Result<(), AsideError> {
        let superseded = self.cx.doorman.superseded().filter(|_| self.overtaken.borrow().is_some());
        let Some((lineage, _)) = superseded else {
            let reason = "the cluster has not gone on without this node".to_owned();
            return Err(AsideError::NotOvertaken { reason });
        };
        let kept = self.identity.order_aside(lineage).await;
        kept.map_err(|error| AsideError::NotKept { reason: error.to_string() })
    }
}
