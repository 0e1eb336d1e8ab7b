//! Which copies are in step: the decision of the leader that becomes a command. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ha_cluster::NodeId;

use crate::SyncLoss;
use crate::held::sync_min;

/// Log entries that a copy may be behind when it is taken into the set.
pub(crate) const BEHIND_MAX: u64 = 1_000;

/// What the leader knows of one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How far its disk holds the log.
    pub(crate) index: u64,
    /// Gossip does not believe that it has failed, and it makes progress.
    pub(crate) is_alive: bool,
    /// It has said that it holds everything, close to the end of the log.
    pub(crate) is_complete: bool,
}

/// The set that should be agreed on now, and why; `None` when the present one is right.
pub(crate) fn decide(
    copies: &BTreeMap<NodeId, Seen>,
    present: &BTreeSet<NodeId>,
    last_index: u64,
    on_sync_loss: SyncLoss,
) -> Option<(BTreeSet<NodeId>, String)> {
    let fit = |node: &&NodeId| {
        let seen = copies.get(*node);
        seen.is_some_and(|seen| seen.is_alive && seen.is_complete && seen.index + BEHIND_MAX >= last_index)
    };
    let stays = |node: &&NodeId| copies.get(*node).is_some_and(|seen| seen.is_alive);
    let joined: BTreeSet<NodeId> = copies.keys().filter(|node| !present.contains(*node)).filter(fit).cloned().collect();
    let kept: BTreeSet<NodeId> = present.iter().filter(stays).cloned().collect();
    let wanted: BTreeSet<NodeId> = kept.union(&joined).cloned().collect();
    // Members of the cluster only: a node that was removed holds nothing that counts.
    let members: BTreeSet<NodeId> = present.iter().filter(|node| copies.contains_key(*node)).cloned().collect();
    // One that lacks changes cannot stand for those that leave.
    let holds_all = wanted.iter().any(|node| copies.get(node).is_some_and(|seen| seen.is_complete));
    let enough = holds_all && (wanted.len() >= sync_min(copies.len()) || on_sync_loss == SyncLoss::Degrade);
    let wanted = if enough { wanted } else { members.union(&joined).cloned().collect() };
    if wanted == *present || wanted.is_empty() {
        return None;
    }
    let names = |set: BTreeSet<&NodeId>| set.into_iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ");
    let (out, into) = (names(present.difference(&wanted).collect()), names(wanted.difference(present).collect()));
    let why = match (out.is_empty(), into.is_empty()) {
        (true, _) => format!("{into}: in step"),
        (_, true) => format!("{out}: no longer in step"),
        _ => format!("{into}: in step; {out}: no longer"),
    };
    Some((wanted, why))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn set(names: &[&str]) -> BTreeSet<NodeId> {
        names.iter().map(|name| id(name)).collect()
    }

    const WELL: Seen = Seen { index: 5_000, is_alive: true, is_complete: true };

    fn next(copies: &[(&str, Seen)], present: &[&str], on_sync_loss: SyncLoss) -> Option<BTreeSet<NodeId>> {
        let copies = copies.iter().map(|(name, seen)| (id(name), *seen)).collect();
        decide(&copies, &set(present), 5_000, on_sync_loss).map(|(set, _)| set)
    }

    #[test]
    fn a_lost_copy_leaves_only_while_enough_are_left() {
        let dead = Seen { is_alive: false, ..WELL };
        assert_eq!(
            next(&[("a", WELL), ("b", WELL), ("c", dead)], &["a", "b", "c"], SyncLoss::Block),
            Some(set(&["a", "b"]))
        );
        let two_dead = [("a", WELL), ("b", dead), ("c", dead)];
        assert_eq!(next(&two_dead, &["a", "b", "c"], SyncLoss::Block), None);
        assert_eq!(next(&two_dead, &["a", "b", "c"], SyncLoss::Degrade), Some(set(&["a"])));
        assert_eq!(next(&[("a", dead)], &["a"], SyncLoss::Degrade), None, "never nobody");
    }

    #[test]
    fn the_last_one_that_holds_everything_does_not_leave() {
        let (dead, lacks) = (Seen { is_alive: false, ..WELL }, Seen { is_complete: false, ..WELL });
        for policy in [SyncLoss::Block, SyncLoss::Degrade] {
            assert_eq!(next(&[("a", dead), ("b", lacks), ("c", lacks)], &["a", "b", "c"], policy), None);
        }
        assert_eq!(next(&[("a", dead), ("b", lacks)], &["a", "b"], SyncLoss::Degrade), None);
        assert_eq!(next(&[("a", dead), ("b", WELL)], &["a", "b"], SyncLoss::Degrade), Some(set(&["b"])));
    }

    #[test]
    fn a_copy_joins_once_it_is_complete_and_close() {
        for (seen, joins) in [
            (WELL, true),
            (Seen { index: 4_000, ..WELL }, true),
            (Seen { index: 3_999, ..WELL }, false),
            (Seen { is_complete: false, ..WELL }, false),
            (Seen { is_alive: false, ..WELL }, false),
        ] {
            let next = next(&[("a", WELL), ("b", WELL), ("c", seen)], &["a", "b"], SyncLoss::Block);
            assert_eq!(next.is_some(), joins, "{seen:?}");
        }
    }

    #[test]
    fn a_removed_member_leaves_in_any_case() {
        assert_eq!(next(&[("a", WELL)], &["a", "gone"], SyncLoss::Block), Some(set(&["a"])));
    }

    proptest! {
        #[test]
        fn it_settles_and_never_takes_in_what_is_not_fit(
            seen in prop::collection::vec((3_000_u64..5_000, any::<bool>(), any::<bool>()), 1..6),
            present in prop::collection::btree_set(0_usize..7, 0..6),
            degrade in any::<bool>(),
        ) {
            let names = ["a", "b", "c", "d", "e", "f", "g"];
            let copies: BTreeMap<NodeId, Seen> = names.iter().zip(&seen)
                .map(|(name, (index, is_alive, is_complete))| (id(name), Seen { index: *index, is_alive: *is_alive, is_complete: *is_complete }))
                .collect();
            let present: BTreeSet<NodeId> = present.iter().map(|n| id(names[*n])).collect();
            let policy = if degrade { SyncLoss::Degrade } else { SyncLoss::Block };
            if let Some((wanted, _)) = decide(&copies, &present, 5_000, policy) {
                for node in wanted.difference(&present) {
                    let seen = copies[node];
                    prop_assert!(seen.is_alive && seen.is_complete && seen.index >= 4_000);
                }
                prop_assert!(!wanted.is_empty());
                prop_assert_eq!(decide(&copies, &wanted, 5_000, policy), None, "it settles");
            }
        }
    }
}
