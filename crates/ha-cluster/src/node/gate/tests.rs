//! Whom a node lets in.

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
    let life =
        |disk, incarnation| Introduction { incarnation: Incarnation(incarnation), ..doorman("b", disk).introduce() };
    assert_eq!(code(&a, &life(2, 4)), None);
    assert_eq!(code(&a, &life(2, 3)), Some(RefusalCode::Forgetful), "an earlier life of the same disk");
    assert_eq!(code(&a, &life(2, 4)), None, "the same life");
    assert_eq!(code(&a, &life(2, 5)), None, "the next life");
    a.distrust(&"b".parse().unwrap());
    assert_eq!(code(&a, &life(2, 6)), Some(RefusalCode::Forgetful), "no life of it");
    assert_eq!(code(&a, &life(7, 1)), None, "a new disk has promised nothing");
}

/// A node without a cluster talks to nodes of two, and decides for one.
#[test]
fn who_belongs_to_another_cluster_is_parted_with() {
    let (a, p, q) = (doorman("a", 1), doorman("p", 5), doorman("q", 9));
    a.belong(ClusterId(7), Lineage::default());
    p.belong(ClusterId(8), Lineage::default());
    let id: NodeId = "q".parse().unwrap();
    for gate in [&a, &p] {
        assert_eq!((code(gate, &q.introduce()), code(&q, &gate.introduce())), (None, None));
        assert!(!gate.may_join(&id));
    }
    assert_eq!(q.belong(ClusterId(7), Lineage::default()), ["p".parse().unwrap()]);
    assert_eq!(q.introduced(), ["a".parse().unwrap()]);
    assert_eq!([&a, &p].map(|gate| gate.belongs(&id, &(ClusterId(7), Lineage::default()))), [true, false]);
    assert_eq!(
        [&a, &p].map(|gate| (gate.may_join(&id), code(gate, &q.introduce()))),
        [(true, None), (false, Some(RefusalCode::ClusterId))]
    );
    // So is a node that follows what the cluster became by force, or was before.
    let forced = (ClusterId(7), recovered(1, 5));
    assert!(!a.belongs(&id, &forced) && !a.may_join(&id));
    assert_eq!(code(&a, &q.introduce()), None);
    // Also when the word of it is lost, and it comes again by itself.
    let r = doorman("r", 6);
    assert_eq!(code(&a, &r.introduce()), None);
    r.belong(ClusterId(8), Lineage::default());
    assert_eq!(code(&a, &r.introduce()), Some(RefusalCode::ClusterId));
    assert_eq!(a.introduced(), [id]);
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
    old.members(BTreeMap::from([("a".parse().unwrap(), 1), ("b".parse().unwrap(), 2)]));
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
    assert_eq!(believed(&new("b", 2, recovered(1, 5))), (Some(RefusalCode::Busy), false), "its log is not read yet");
    old.members(BTreeMap::from([("a".parse().unwrap(), 1), ("c".parse().unwrap(), 3)]));
    let by = |by: &str, generation| {
        let fork = Fork { by: by.parse().unwrap(), ..recovered(1, 5).forks.remove(0) };
        (1..=generation).map(|generation| Fork { generation, ..fork.clone() }).fold(Lineage::default(), Lineage::and)
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
        old.members(BTreeMap::from([("a".parse().unwrap(), 1), ("c".parse().unwrap(), 3)]));
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
    a.members(BTreeMap::from([("a".parse().unwrap(), 1)]));
    a.members(BTreeMap::from([("a".parse().unwrap(), 1), ("p".parse().unwrap(), 6)]));
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
    old.members(BTreeMap::from([("a".parse().unwrap(), 1)]));
    assert_eq!(code(&new, &old.introduce()), Some(RefusalCode::Generation));
    assert_eq!(code(&old, &new.introduce()), Some(RefusalCode::Busy));
    assert!(old.superseded().is_some() && new.superseded().is_none());
}

#[test]
fn a_member_that_lost_its_disk_is_refused_and_so_is_one_that_was_removed() {
    let a = doorman("a", 1);
    a.members(BTreeMap::from([("b".parse().unwrap(), 2), ("c".parse().unwrap(), 3)]));
    assert_eq!(code(&a, &doorman("b", 2).introduce()), None);
    assert_eq!(code(&a, &doorman("b", 9).introduce()), Some(RefusalCode::NodeId));
    a.members(BTreeMap::from([("b".parse().unwrap(), 2)]));
    let mut recorded = RemovedMembers::default();
    recorded.follow(&BTreeMap::from([("c".parse().unwrap(), 3)]), &BTreeMap::new());
    a.removed(recorded);
    assert_eq!(code(&a, &doorman("c", 3).introduce()), Some(RefusalCode::Removed));
    assert_eq!(code(&a, &doorman("c", 4).introduce()), Some(RefusalCode::Removed), "its id is not used again");
}

#[test]
fn who_the_log_says_was_removed_is_refused_also_if_it_was_admitted_before() {
    let (a, c) = (doorman("a", 1), "c".parse().unwrap());
    assert_eq!((code(&a, &doorman("c", 3).introduce()), a.may_join(&c)), (None, false), "it has not decided yet");
    a.belong(ClusterId(7), Lineage::default());
    assert!(a.belongs(&c, &(ClusterId(7), Lineage::default())) && a.may_join(&c));
    let mut recorded = RemovedMembers::default();
    recorded.follow(&BTreeMap::from([(c.clone(), 3)]), &BTreeMap::new());
    assert_eq!((a.removed(recorded), a.may_join(&c)), (vec![c.clone()], false));
    assert_eq!(code(&a, &doorman("c", 3).introduce()), Some(RefusalCode::Removed));
    assert_eq!(code(&a, &doorman("c", 4).introduce()), Some(RefusalCode::Removed), "with an empty disk, too");
    a.members(BTreeMap::from([(c.clone(), 3)]));
    assert_eq!(code(&a, &doorman("c", 3).introduce()), None, "a member is none of them");
    a.members(BTreeMap::from([(c, 4)]));
    assert_eq!(code(&a, &doorman("c", 3).introduce()), Some(RefusalCode::Removed), "it is one with another disk");
    assert_eq!(code(&a, &doorman("c", 5).introduce()), Some(RefusalCode::NodeId));
    assert_eq!(code(&a, &doorman("c", 4).introduce()), None);
}
