//! Being turned away, and going in order.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use ha_net::{Address, NodeId, Refusal, RefusalCode};
use tokio::sync::oneshot;

use super::driver::Driver;
use crate::cluster::AloneError;
use crate::{Role, gossip};

/// How long a stopping leader waits for its successor, at most; shorter where elections are.
const SUCCESSION_MAX: Duration = Duration::from_secs(5);

/// Most places that are remembered for having turned this node away; more than any list of seeds.
const TURNED_AWAY_MAX: usize = 1024;

/// A stop on its way.
pub(super) struct Stopping {
    /// Resolved when everything has ended.
    pub(super) answers: Vec<oneshot::Sender<()>>,
    /// Not later than this, successor or not.
    pub(super) until: Duration,
}

impl Driver {
    /// Stops as soon as somebody else leads, or nobody can.
    pub(super) fn begin_stop(&mut self, answer: Option<oneshot::Sender<()>>) {
        if let Some(stopping) = &mut self.stopping {
            stopping.answers.extend(answer);
            return;
        }
        self.cx.events.happened("stopping", "leaves in order");
        let until = self.cx.now() + self.cx.engine.election_max().min(SUCCESSION_MAX);
        self.stopping = Some(Stopping { answers: answer.into_iter().collect(), until });
        if self.cx.status.is_leader() && !self.leading.is_handing_over() {
            self.begin_transfer(None, None);
        }
    }

    /// Whether everything that a stop waits for is over.
    pub(super) fn may_end(&self) -> bool {
        let Some(stopping) = &self.stopping else { return false };
        !self.leading.is_handing_over() || self.cx.now() >= stopping.until
    }

    /// The end of this node's life.
    pub(super) async fn end(mut self) {
        self.give_lease_up("it stops");
        self.gossip(gossip::Input::Leave);
        let engine = self.cx.engine.clone();
        // What is on its way goes on meanwhile: one of it may be the first to stop the engine, which this stop waits for.
        let doing = async {
            while self.cx.doing.next().await.is_some() {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = engine.stop() => {}
            () = doing => {}
        }
        self.cx.net.stop().await;
        self.wal.close().await;
        let answers = self.stopping.take().map(|stopping| stopping.answers);
        // Whoever hears that it has stopped may start another one at once, with the same data directory.
        drop(self);
        for answer in answers.into_iter().flatten() {
            // Whoever asked may not wait for it.
            let _ = answer.send(());
        }
    }

    /// Keeps the order for the next start; see [`crate::Cluster::go_on_alone`].
    pub(super) async fn order_to_go_on_alone(&mut self) -> Result<(), AloneError> {
        let refuse = |reason: &str| Err(AloneError::Refused { reason: reason.to_owned() });
        let status = &self.cx.status;
        if self.cx.config.role == Role::Witness {
            return refuse("a witness keeps no data: ask a node that does");
        }
        if self.cx.doorman.cluster_id().is_none() || !status.nodes.contains_key(&self.cx.me.node_id) {
            return refuse("this node is not a member of a cluster");
        }
        if self.failed.is_some() {
            return refuse("this node has stopped taking part");
        }
        let silence = self.leader_silence().filter(|_| status.leader.is_some());
        if silence.is_some_and(|silence| silence < self.cx.engine.election_max()) {
            return refuse("a leader is live: nothing needs force");
        }
        let order = bytes::Bytes::from(self.epoch.borrow().to_string());
        let kept = self.identity.write_slot(super::ALONE, order).await;
        kept.map_err(|error| AloneError::Refused { reason: format!("the order cannot be kept: {error}") })?;
        self.cx.events.happened("goes_on_alone", "this node is to go on without the voters that are lost");
        Ok(())
    }

    /// One side of a connection turned the other away.
    pub(super) fn refused(&mut self, address: Address, node: Option<NodeId>, refusal: Refusal, by_peer: bool) {
        let who = node.as_ref().map_or_else(|| address.to_string(), ToString::to_string);
        let (by, of) = if by_peer { (who.as_str(), "this node") } else { ("this node", who.as_str()) };
        if self.meeting.turned_away.get(&address) != Some(&refusal) {
            self.cx.events.happened("refused", format!("{by} turned {of} away: {refusal}"));
        }
        if !by_peer {
            // When it is the other one that this node should join anew, the next look sees to it.
            return self.look_soon();
        }
        if self.meeting.turned_away.len() < TURNED_AWAY_MAX {
            self.meeting.turned_away.insert(address, refusal.clone());
        }
        self.removed |= refusal.code == RefusalCode::Removed;
        if self.cannot_run(&refusal) {
            self.fail(refusal.message);
        }
    }

    /// Whether a refusal means that this node can never run as it was started. A node that has had a leader in this
    /// life is in its place: whoever refuses it is the one that does not fit.
    fn cannot_run(&self, refusal: &Refusal) -> bool {
        if matches!(refusal.code, RefusalCode::Removed | RefusalCode::Forgetful) {
            return true;
        }
        if self.leading.had_leader {
            return false;
        }
        match refusal.code {
            RefusalCode::NodeId => self.cx.doorman.cluster_id().is_none(),
            // The one that went on without this node says in its hello what there is to join.
            RefusalCode::Busy | RefusalCode::Generation => false,
            // Alone it does not count: the one that refuses may be the odd one. Too many, and no majority is left.
            _ => {
                let status = &self.cx.status;
                let voters = status.nodes.iter().filter(|(node, _)| status.voters.contains(*node));
                let known = voters.map(|(_, record)| &record.address).collect();
                let listed = self.meeting.discovery.listed().addresses;
                lack_a_majority(&known, &listed.keys().collect(), self.meeting.turned_away.keys())
            }
        }
    }
}

/// Whether too few are left to be a majority, of the voters where they are known or else of the seeds. Who came from
/// anywhere else is none of them, however often it comes.
fn lack_a_majority<'a>(
    known: &BTreeSet<&Address>,
    listed: &BTreeSet<&Address>,
    refusers: impl Iterator<Item = &'a Address>,
) -> bool {
    let counted = if known.is_empty() { listed } else { known };
    let refusers = refusers.filter(|address| counted.contains(address)).count();
    counted.len().saturating_sub(refusers) < counted.len() / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_and_seeds_can_keep_a_node_from_running() {
        let addresses: Vec<Address> = (1..=6).map(|port| Address::new("h", port).unwrap()).collect();
        let (listed, known): (BTreeSet<_>, BTreeSet<_>) = (addresses[..3].iter().collect(), BTreeSet::new());
        assert!(!lack_a_majority(&known, &listed, addresses[..1].iter()));
        assert!(lack_a_majority(&known, &listed, addresses[..2].iter()));
        assert!(!lack_a_majority(&known, &listed, addresses[2..].iter()), "callers from elsewhere, and one seed");
        let known: BTreeSet<_> = addresses[..5].iter().collect();
        assert!(!lack_a_majority(&known, &listed, addresses[..2].iter()));
        assert!(lack_a_majority(&known, &BTreeSet::new(), addresses[2..5].iter()));
        let (listed, known): (BTreeSet<_>, BTreeSet<_>) =
            (addresses[..].iter().collect(), addresses[..3].iter().collect());
        assert!(!lack_a_majority(&known, &listed, addresses[2..].iter()), "seeds that are no voters");
    }
}
