//! Who may talk to this node.

mod belonging;
mod claims;
mod removed;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use belonging::Belonging;
use claims::Claim;
use ha_net::{Address, ClusterId, Gate, Incarnation, Introduction, NodeId, Refusal, RefusalCode};

use crate::Config;
use crate::lineage::Lineage;
use crate::machine::RemovedMembers;

/// The claim that tells one disk of a node id from another.
const DISK: &str = "disk";

/// What the gate decides by; the driver keeps it current. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Doorman {
    me: Arc<Introduction>,
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    cluster_id: Option<ClusterId>,
    lineage: Lineage,
    /// What peers said of themselves, as far as it may be so.
    claims: BTreeMap<NodeId, Claim>,
    /// The disk with which each member joined.
    disks: BTreeMap<NodeId, u64>,
    /// Whether these are known: not before the log was read.
    is_read: bool,
    /// What each admitted peer said of itself last.
    introduced: BTreeMap<NodeId, Life>,
    /// Where this node really listens, when the system chose the port.
    address: Option<Address>,
    /// Members that were removed, as the log says: neither they nor their disks come back.
    recorded: RemovedMembers,
    /// Disks that have forgotten entries which their nodes acknowledged to this one.
    forgetful: BTreeMap<NodeId, u64>,
}

/// A process, from its start to its end.
#[derive(Clone, Debug)]
struct Life {
    disk: u64,
    incarnation: Incarnation,
    /// Where it belongs, as far as it has said.
    belongs_to: Option<Belonging>,
}

/// Forgetful members that are remembered; the first go first.
const FORGETFUL_MAX: usize = 256;
/// Admitted peers whose disk is remembered; the first go first.
const INTRODUCED_MAX: usize = 4096;

impl Doorman {
    pub(crate) fn new(config: &Config, node_id: NodeId, incarnation: Incarnation, address: Address, disk: u64) -> Self {
        let mut claims = timers(config);
        claims.insert(DISK.to_owned(), format!("{disk:016x}"));
        let cluster_name = config.name.clone();
        let me = Introduction { cluster_name, cluster_id: None, generation: 0, node_id, incarnation, address, claims };
        Self { me: Arc::new(me), known: Arc::default() }
    }

    fn write(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// How this node's cluster was recovered by force.
    pub(crate) fn lineage(&self) -> Lineage {
        self.known.read().unwrap_or_else(PoisonError::into_inner).lineage.clone()
    }

    /// The lineage of the cluster that this node joins, as its members named it.
    pub(crate) fn lineage_to_join(&self, cluster_id: ClusterId) -> Lineage {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let believed = known.believed(&self.me.node_id, cluster_id);
        believed.map(|(_, claim)| claim.lineage.clone()).unwrap_or_default()
    }

    /// What this node's cluster became without it, by force, and a node of that.
    pub(crate) fn superseded(&self) -> Option<(Lineage, NodeId)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (by, claim) = known.believed(&self.me.node_id, known.cluster_id?)?;
        claim.lineage.compare(&known.lineage).is_gt().then(|| (claim.lineage.clone(), by.clone()))
    }

    /// This node listens here.
    pub(crate) fn listens_at(&self, address: Address) {
        self.write(|known| known.address = Some(address));
    }

    /// The disk that an admitted peer named.
    pub(crate) fn disk(&self, peer: &NodeId) -> Option<u64> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).introduced.get(peer).map(|life| life.disk)
    }

    /// This peer's log is shorter than what it acknowledged to this node: it is not to be talked to with that disk.
    pub(crate) fn distrust(&self, peer: &NodeId) {
        self.write(|known| {
            if let Some(life) = known.introduced.get(peer) {
                known.forgetful.insert(peer.clone(), life.disk);
            }
            while known.forgetful.len() > FORGETFUL_MAX {
                known.forgetful.pop_first();
            }
        });
    }

    /// Whether this node belongs to a cluster.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).cluster_id
    }

    /// The members are these now, each with the disk it joined with.
    pub(crate) fn members(&self, disks: BTreeMap<NodeId, u64>) {
        self.write(|known| {
            known.disks = disks;
            known.is_read = true;
            // Whoever is not believed now is not believed later either, be it a member by then: it may say so again.
            let claims = std::mem::take(&mut known.claims);
            let believed = claims.into_iter().filter(|(peer, claim)| known.believes(&self.me.node_id, peer, claim));
            known.claims = believed.collect();
        });
    }
}

/// Values that must be equal on all nodes: leases and elections are safe only then.
fn timers(config: &Config) -> BTreeMap<String, String> {
    let seconds = |d: std::time::Duration| d.as_secs_f64().to_string();
    BTreeMap::from([
        ("CLUSTER_HEARTBEAT_INTERVAL".to_owned(), seconds(config.heartbeat_interval)),
        ("CLUSTER_NODE_TIMEOUT".to_owned(), seconds(config.node_timeout)),
        ("CLUSTER_ELECTION_TIMEOUT".to_owned(), seconds(config.election_timeout)),
    ])
}

/// The disk that a node says it has.
fn disk_of(peer: &Introduction) -> Option<u64> {
    u64::from_str_radix(peer.claims.get(DISK)?, 16).ok()
}

/// What a peer claims, as a part of one line of a log.
fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(32).collect()
}

/// What a node is told whose cluster went on without it.
pub(super) fn gone_on(old: &NodeId, new: &NodeId, generation: u64) -> String {
    format!(
        "the cluster went on by force without {old}, with {new} in generation {generation}: what {old} holds may differ. \
         It is set aside, and {old} joins anew"
    )
}

impl Gate for Doorman {
    fn introduce(&self) -> Introduction {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut me = (*self.me).clone();
        me.cluster_id = known.cluster_id;
        known.lineage.introduce(&mut me);
        if let Some(address) = &known.address {
            me.address = address.clone();
        }
        me
    }

    fn admit(&self, peer: &Introduction) -> Result<(), Refusal> {
        let refuse = |code, message: String| Err(Refusal { code, message });
        let me = &self.me;
        if peer.cluster_name != me.cluster_name {
            return refuse(
                RefusalCode::ClusterName,
                format!(
                    "{} is of cluster {:?}, {} of {:?}: give both the same CLUSTER_NAME, or correct the seeds",
                    peer.node_id, peer.cluster_name, me.node_id, me.cluster_name
                ),
            );
        }
        if peer.node_id == me.node_id {
            return refuse(
                RefusalCode::NodeId,
                format!(
                    "two processes call themselves {}: this one at {}, the other at {}; give each its own CLUSTER_NODE_ID",
                    me.node_id, me.address, peer.address
                ),
            );
        }
        for (option, ours) in &me.claims {
            let theirs = peer.claims.get(option);
            if option != DISK && theirs != Some(ours) {
                let theirs = theirs.map_or_else(|| "none".to_owned(), |theirs| brief(theirs));
                return refuse(
                    RefusalCode::Claims,
                    format!(
                        "{option} is {theirs} s on {} and {ours} s on {}: it must be the same on all nodes",
                        peer.node_id, me.node_id
                    ),
                );
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let (Some(ours), Some(theirs)) = (known.cluster_id, peer.cluster_id)
            && ours != theirs
        {
            known.leave_out(&peer.node_id, disk_of(peer));
            return refuse(
                RefusalCode::ClusterId,
                format!(
                    "{} belongs to cluster {theirs}, {} to cluster {ours}, both named {:?}: one of them has a foreign \
                     data directory or seed",
                    peer.node_id, me.node_id, me.cluster_name
                ),
            );
        }
        if let Some(cluster_id) = peer.cluster_id {
            let theirs = Lineage::of(peer);
            let order = theirs.compare(&known.lineage);
            let (generation, is_read) = (theirs.generation, known.is_read);
            let claim = Claim { cluster_id, lineage: theirs, disk: disk_of(peer) };
            let believes = known.hear(&me.node_id, &peer.node_id, claim);
            match order {
                _ if known.cluster_id.is_none() => {}
                Ordering::Equal => {}
                Ordering::Less => {
                    let generation = known.lineage.generation;
                    return refuse(RefusalCode::Generation, gone_on(&peer.node_id, &me.node_id, generation));
                }
                Ordering::Greater => {
                    let (they, we) = (&peer.node_id, &me.node_id);
                    let message = if believes {
                        // This node stops by itself; the other need not know why.
                        format!("the cluster went on without {we}, which stops")
                    } else if !is_read {
                        format!("{we} has not read its log yet")
                    } else {
                        format!(
                            "{they} says that the cluster went on by force, in generation {generation}, and {we} knows of \
                             no member that did. If it is so all the same, give {we} an empty data directory"
                        )
                    };
                    return refuse(RefusalCode::Busy, message);
                }
            }
        }
        let disk = disk_of(peer);
        if known.is_removed(&peer.node_id, disk) {
            return refuse(
                RefusalCode::Removed,
                format!(
                    "{} was removed from this cluster: to join anew, give it an empty data directory and another id",
                    peer.node_id
                ),
            );
        }
        if let Some(joined) = known.disks.get(&peer.node_id)
            && Some(*joined) != disk
        {
            return refuse(
                RefusalCode::NodeId,
                format!(
                    "{} is a member with another data directory: what it promised there would be forgotten. Start it \
                     with that directory; if it is lost, start this one with another CLUSTER_NODE_ID",
                    peer.node_id
                ),
            );
        }
        let before = known.introduced.get(&peer.node_id).filter(|life| Some(life.disk) == disk);
        let is_older = before.is_some_and(|life| peer.incarnation < life.incarnation);
        if is_older || (disk.is_some() && known.forgetful.get(&peer.node_id).copied() == disk) {
            return refuse(
                RefusalCode::Forgetful,
                format!(
                    "the data directory of {} is an older copy of what it was: what it promised since is forgotten. \
                     Remove it from the cluster, and start it with an empty directory and another CLUSTER_NODE_ID",
                    peer.node_id
                ),
            );
        }
        let told = peer.cluster_id.map(|cluster_id| (cluster_id, Lineage::of(peer)));
        // A hello may come later than what was told after it.
        let same_life = before.filter(|life| life.incarnation == peer.incarnation);
        let belongs_to = told.or_else(|| same_life?.belongs_to.clone());
        let life = disk.map(|disk| Life { disk, incarnation: peer.incarnation, belongs_to });
        known.introduced.extend(life.map(|life| (peer.node_id.clone(), life)));
        while known.introduced.len() > INTRODUCED_MAX {
            known.introduced.pop_first();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
