//! Who may talk to this node.

mod claims;
mod removed;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

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
    /// Members that were removed while this node led: they may not come back with what they have.
    removed: BTreeMap<NodeId, u64>,
    /// All that were ever removed, as the log says.
    recorded: RemovedMembers,
    /// Disks that have forgotten entries which their nodes acknowledged to this one.
    forgetful: BTreeMap<NodeId, u64>,
}

/// A process, from its start to its end.
#[derive(Clone, Copy, Debug)]
struct Life {
    disk: u64,
    incarnation: Incarnation,
}

/// Removed and forgetful members that are remembered; the first go first.
const REMOVED_MAX: usize = 256;
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

    /// This node belongs to a cluster now.
    pub(crate) fn belong(&self, cluster_id: ClusterId, lineage: Lineage) {
        self.write(|known| {
            known.cluster_id = Some(cluster_id);
            known.lineage = lineage;
        });
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
            while known.forgetful.len() > REMOVED_MAX {
                known.forgetful.pop_first();
            }
        });
    }

    /// Whether this node belongs to a cluster.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).cluster_id
    }

    /// The members are these now, each with the disk it joined with; these were removed for good.
    pub(crate) fn members(&self, disks: BTreeMap<NodeId, u64>, removed: &[NodeId]) {
        self.write(|known| {
            for node in removed {
                let introduced = known.introduced.get(node).map(|life| life.disk);
                if let Some(disk) = known.disks.get(node).copied().or(introduced) {
                    known.removed.insert(node.clone(), disk);
                }
            }
            while known.removed.len() > REMOVED_MAX {
                known.removed.pop_first();
            }
            known.removed.retain(|node, _| !disks.contains_key(node));
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
        let life = disk.map(|disk| Life { disk, incarnation: peer.incarnation });
        known.introduced.extend(life.map(|life| (peer.node_id.clone(), life)));
        while known.introduced.len() > INTRODUCED_MAX {
            known.introduced.pop_first();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::Fork;

    fn doorman(node: &str, disk: u64) -> Doorman {
        let address = "h:1".parse().unwrap();
        Doorman::new(&Config::default(), node.parse().unwrap(), Incarnation(1), address, disk)
    }

    fn code(gate: &Doorman, peer: &Introduction) -> Option<RefusalCode> {
        gate.admit(peer).err().map(|refusal| refusal.code)
    }

    #[test]
    fn nodes_of_one_cluster_are_admitted_before_and_after_it_formed() {
        let (a, b) = (doorman("a", 1), doorman("b", 2));
        assert_eq!(code(&a, &b.introduce()), None);
        a.belong(ClusterId(7), Lineage::default());
        assert_eq!(code(&a, &b.introduce()), None, "one that wants to join");
        assert_eq!(code(&b, &a.introduce()), None, "one to be joined");
        b.belong(ClusterId(8), Lineage::default());
        assert_eq!(code(&a, &b.introduce()), Some(RefusalCode::ClusterId));
    }

    #[test]
    fn another_name_other_timers_and_our_own_id_are_refused_with_both_values() {
        let a = doorman("a", 1);
        let mut peer = doorman("b", 2).introduce();
        peer.cluster_name = "other".to_owned();
        assert_eq!(code(&a, &peer), Some(RefusalCode::ClusterName));
        assert_eq!(code(&a, &doorman("a", 2).introduce()), Some(RefusalCode::NodeId));
        let mut peer = doorman("b", 2).introduce();
        peer.claims.insert("CLUSTER_NODE_TIMEOUT".to_owned(), "99".to_owned());
        let refusal = a.admit(&peer).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Claims);
        assert!(refusal.message.contains("99 s on b and 15 s on a"), "{refusal}");
    }

    #[test]
    fn a_disk_that_knows_less_than_it_did_is_refused() {
        let a = doorman("a", 1);
        let life = |disk, incarnation| Introduction {
            incarnation: Incarnation(incarnation),
            ..doorman("b", disk).introduce()
        };
        assert_eq!(code(&a, &life(2, 4)), None);
        assert_eq!(code(&a, &life(2, 3)), Some(RefusalCode::Forgetful), "an earlier life of the same disk");
        assert_eq!(code(&a, &life(2, 4)), None, "the same life");
        assert_eq!(code(&a, &life(2, 5)), None, "the next life");
        a.distrust(&"b".parse().unwrap());
        assert_eq!(code(&a, &life(2, 6)), Some(RefusalCode::Forgetful), "no life of it");
        assert_eq!(code(&a, &life(7, 1)), None, "a new disk has promised nothing");
    }

    fn recovered(generation: u64, index: u64) -> Lineage {
        let by = "b".parse().unwrap();
        Lineage::default().and(Fork { generation, term: 1, index, by, applied_at: Some(8), forked_at: Some(9) })
    }

    #[test]
    fn who_was_left_behind_by_force_is_refused_and_knows_it() {
        let (old, new) = (doorman("a", 1), doorman("b", 2));
        old.belong(ClusterId(7), Lineage::default());
        new.belong(ClusterId(7), recovered(1, 5));
        assert_eq!(code(&new, &old.introduce()), Some(RefusalCode::Generation));
        assert_eq!(new.superseded(), None);
        assert_eq!(code(&old, &new.introduce()), Some(RefusalCode::Busy));
        assert_eq!(old.superseded(), None, "its log is not read yet");
        old.members(BTreeMap::from([("a".parse().unwrap(), 1), ("b".parse().unwrap(), 2)]), &[]);
        assert_eq!(old.superseded(), Some((recovered(1, 5), "b".parse().unwrap())));
        let fresh = doorman("c", 3);
        assert_eq!((code(&fresh, &new.introduce()), code(&new, &fresh.introduce())), (None, None));
        assert_eq!((fresh.lineage_to_join(ClusterId(7)), fresh.superseded()), (recovered(1, 5), None));
    }

    /// One hello must not make a node give everything up that it has.
    #[test]
    fn that_the_cluster_went_on_by_force_is_not_believed_of_just_anybody() {
        let old = doorman("a", 1);
        old.belong(ClusterId(7), Lineage::default());
        let new = |node: &str, disk, lineage: Lineage| {
            let new = doorman(node, disk);
            new.belong(ClusterId(7), lineage);
            new.introduce()
        };
        let believed = |peer: &Introduction| (code(&old, peer), old.superseded().is_some());
        assert_eq!(
            believed(&new("b", 2, recovered(1, 5))),
            (Some(RefusalCode::Busy), false),
            "its log is not read yet"
        );
        old.members(BTreeMap::from([("a".parse().unwrap(), 1), ("c".parse().unwrap(), 3)]), &[]);
        let by = |by: &str, generation| {
            let fork = Fork { by: by.parse().unwrap(), ..recovered(1, 5).forks.remove(0) };
            (1..=generation)
                .map(|generation| Fork { generation, ..fork.clone() })
                .fold(Lineage::default(), Lineage::and)
        };
        for peer in [
            new("b", 2, by("b", 1)),
            new("c", 9, by("b", 1)),
            new("c", 3, Lineage::of_generation(1)),
            new("c", 3, Lineage::of_generation(u64::MAX)),
            new("c", 3, by("c", 1).and(Fork { generation: u64::MAX, ..recovered(1, 5).forks.remove(0) })),
        ] {
            assert_eq!(believed(&peer), (Some(RefusalCode::Busy), false), "{peer:?}");
        }
        // A node that joined a cluster which a member took on by force, while this one was away for twenty of them.
        for peer in [new("d", 4, by("c", 20)), new("c", 3, by("b", 1))] {
            let old = doorman("a", 1);
            old.belong(ClusterId(7), Lineage::default());
            old.members(BTreeMap::from([("a".parse().unwrap(), 1), ("c".parse().unwrap(), 3)]), &[]);
            assert_eq!((code(&old, &peer), old.superseded().is_some()), (Some(RefusalCode::Busy), true), "{peer:?}");
        }
    }

    #[test]
    fn what_is_not_believed_once_the_log_is_read_is_forgotten() {
        let (a, p) = (doorman("a", 1), doorman("p", 5));
        a.belong(ClusterId(7), Lineage::default());
        p.belong(
            ClusterId(7),
            Lineage::default().and(Fork { by: "p".parse().unwrap(), ..recovered(1, 5).forks.remove(0) }),
        );
        assert_eq!(code(&a, &p.introduce()), Some(RefusalCode::Busy));
        a.members(BTreeMap::from([("a".parse().unwrap(), 1)]), &[]);
        a.members(BTreeMap::from([("a".parse().unwrap(), 1), ("p".parse().unwrap(), 6)]), &[]);
        assert_eq!(a.superseded(), None, "it is a member now, with another disk");
    }

    #[test]
    fn the_lineage_to_join_is_that_of_the_cluster_to_join() {
        let (fresh, foreign) = (doorman("x", 1), doorman("p", 5));
        foreign.belong(ClusterId(8), recovered(1, 5));
        assert_eq!(code(&fresh, &foreign.introduce()), None);
        assert_eq!(fresh.lineage_to_join(ClusterId(8)), recovered(1, 5));
        assert_eq!(fresh.lineage_to_join(ClusterId(7)), Lineage::default());
    }

    #[test]
    fn of_two_that_went_on_without_each_other_exactly_one_is_refused() {
        let (old, new) = (doorman("a", 1), doorman("b", 2));
        old.belong(ClusterId(7), recovered(1, 5));
        new.belong(ClusterId(7), recovered(1, 6));
        // Whoever went on by force knows only itself.
        old.members(BTreeMap::from([("a".parse().unwrap(), 1)]), &[]);
        assert_eq!(code(&new, &old.introduce()), Some(RefusalCode::Generation));
        assert_eq!(code(&old, &new.introduce()), Some(RefusalCode::Busy));
        assert!(old.superseded().is_some() && new.superseded().is_none());
    }

    #[test]
    fn a_member_that_lost_its_disk_is_refused_and_so_is_one_that_was_removed() {
        let a = doorman("a", 1);
        a.members(BTreeMap::from([("b".parse().unwrap(), 2), ("c".parse().unwrap(), 3)]), &[]);
        assert_eq!(code(&a, &doorman("b", 2).introduce()), None);
        assert_eq!(code(&a, &doorman("b", 9).introduce()), Some(RefusalCode::NodeId));
        a.members(BTreeMap::from([("b".parse().unwrap(), 2)]), &["c".parse().unwrap()]);
        assert_eq!(code(&a, &doorman("c", 3).introduce()), Some(RefusalCode::Removed));
        assert_eq!(code(&a, &doorman("c", 4).introduce()), Some(RefusalCode::Removed), "its id is not used again");
    }

    #[test]
    fn who_the_log_says_was_removed_is_refused_also_if_it_was_admitted_before() {
        let (a, c) = (doorman("a", 1), "c".parse().unwrap());
        assert_eq!((code(&a, &doorman("c", 3).introduce()), a.may_join(&c)), (None, true));
        let mut recorded = RemovedMembers::default();
        recorded.follow(&BTreeMap::from([(c.clone(), 3)]), &BTreeMap::new());
        assert_eq!((a.removed(recorded), a.may_join(&c)), (vec![c.clone()], false));
        assert_eq!(code(&a, &doorman("c", 3).introduce()), Some(RefusalCode::Removed));
        assert_eq!(code(&a, &doorman("c", 4).introduce()), Some(RefusalCode::Removed), "with an empty disk, too");
        a.members(BTreeMap::from([(c.clone(), 3)]), &[]);
        assert_eq!(code(&a, &doorman("c", 3).introduce()), None, "a member is none of them");
        a.members(BTreeMap::from([(c, 4)]), &[]);
        assert_eq!(code(&a, &doorman("c", 3).introduce()), Some(RefusalCode::Removed), "it is one with another disk");
        assert_eq!(code(&a, &doorman("c", 5).introduce()), Some(RefusalCode::NodeId));
        assert_eq!(code(&a, &doorman("c", 4).introduce()), None);
    }
}
