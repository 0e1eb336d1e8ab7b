//! Whether enough disks hold a log entry: what an acknowledgement waits for beyond the commit.

use std::collections::BTreeSet;

use ha_cluster::{HeldBy, NodeId};

use crate::message::NotHeld;
use crate::store::SyncSet;
use crate::{Consistency, SyncLoss};

/// How many copies make a majority.
pub(crate) fn majority(copies: usize) -> usize {
    copies / 2 + 1
}

/// Fewest members of the sync set, unless the loss of more is put on the log.
pub(crate) fn sync_min(copies: usize) -> usize {
    majority(copies).max(2).min(copies)
}

/// How many copies are enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) on_sync_loss: SyncLoss,
    /// At the level of a quorum, so many at least, and a majority in any case.
    pub(crate) quorum_size: usize,
}

impl Rules {
    /// How many of so many copies hold what is acknowledged, while none is lost.
    pub(crate) fn needed(self, level: Consistency, copies: usize) -> usize {
        match level {
            Consistency::Eventual => 1,
            Consistency::Quorum => majority(copies).max(self.quorum_size.min(copies)),
            Consistency::Strong => sync_min(copies),
        }
    }
}

/// The copies whose disks hold a log entry, when they are enough.
pub(crate) fn judge(
    held: &HeldBy,
    sync: &SyncSet,
    rules: Rules,
    level: Consistency,
    index: u64,
) -> Result<BTreeSet<NodeId>, NotHeld> {
    let copies = held.members.iter().filter(|(_, held)| held.is_copy);
    let total = copies.clone().count();
    let by: BTreeSet<NodeId> = copies.filter(|(_, held)| held.index >= index).map(|(node, _)| node.clone()).collect();
    let wait = |needed, reason| Err(NotHeld { by: by.clone(), needed, reason, elsewhere: false });
    match level {
        Consistency::Eventual => Ok(by),
        Consistency::Quorum => {
            let mut needed = rules.needed(level, total);
            if rules.on_sync_loss == SyncLoss::Degrade && !sync.members.is_empty() {
                needed = needed.min(sync.members.len());
            }
            if by.len() >= needed {
                return Ok(by);
            }
            wait(needed, format!("{} of {total} copies have it on disk, {needed} are needed", by.len()))
        }
        Consistency::Strong => {
            let least = rules.needed(level, total);
            if sync.members.len() < least && rules.on_sync_loss == SyncLoss::Block {
                let reason = format!("{} copies are in step, {least} are needed", sync.members.len());
                return wait(least, reason);
            }
            if sync.members.is_empty() {
                return wait(1, "no copy is in step yet".to_owned());
            }
            if sync.members.is_subset(&by) {
                return Ok(by);
            }
            let missing: Vec<&str> = sync.members.difference(&by).map(NodeId::as_str).collect();
            wait(sync.members.len(), format!("{} do not have it on disk yet", missing.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use ha_cluster::{Held, Term};
    use proptest::prelude::*;

    use super::*;

    fn id(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn held(members: &[(&str, u64, bool)]) -> HeldBy {
        let member = |(node, index, is_copy): &(&str, u64, bool)| {
            (id(node), Held { index: *index, is_copy: *is_copy, is_voter: true })
        };
        HeldBy { term: Term(1), members: members.iter().map(member).collect() }
    }

    fn sync(members: &[&str]) -> SyncSet {
        SyncSet { generation: 1, members: members.iter().map(|name| id(name)).collect() }
    }

    const BLOCK: Rules = Rules { on_sync_loss: SyncLoss::Block, quorum_size: 1 };
    const DEGRADE: Rules = Rules { on_sync_loss: SyncLoss::Degrade, quorum_size: 1 };

    #[test]
    fn a_quorum_is_a_majority_or_what_was_asked_for_as_far_as_there_are_copies() {
        let held = held(&[("a", 9, true), ("b", 9, true), ("c", 8, true), ("w", 9, false)]);
        let needed = |quorum_size| {
            let quorum = |index| judge(&held, &sync(&[]), Rules { quorum_size, ..BLOCK }, Consistency::Quorum, index);
            (quorum(9).map(|by| by.len()).map_err(|told| told.needed), quorum(8).is_ok())
        };
        assert_eq!((needed(1), needed(2)), ((Ok(2), true), (Ok(2), true)));
        assert_eq!((needed(3), needed(4)), ((Err(3), true), (Err(3), true)));
    }

    #[test]
    fn what_is_acknowledged_is_on_so_many_copies_of_all() {
        for (copies, quorum, strong) in [(1, 1, 1), (2, 2, 2), (3, 2, 2), (5, 3, 3)] {
            let needed = |level| BLOCK.needed(level, copies);
            let all = [Consistency::Eventual, Consistency::Quorum, Consistency::Strong].map(needed);
            assert_eq!(all, [1, quorum, strong], "of {copies}");
        }
    }

    #[test]
    fn a_witness_is_no_copy() {
        let held = held(&[("a", 9, true), ("b", 3, true), ("w", 9, false)]);
        let quorum = |index| judge(&held, &sync(&["a", "b"]), BLOCK, Consistency::Quorum, index);
        assert_eq!(quorum(3).unwrap(), BTreeSet::from([id("a"), id("b")]));
        let refused = quorum(4).unwrap_err();
        assert_eq!((refused.by, refused.needed), (BTreeSet::from([id("a")]), 2));
    }

    #[test]
    fn strong_waits_for_every_copy_in_step_and_quorum_for_a_majority() {
        let held = held(&[("a", 9, true), ("b", 9, true), ("c", 8, true)]);
        let all = sync(&["a", "b", "c"]);
        assert!(judge(&held, &all, BLOCK, Consistency::Strong, 9).is_err());
        assert_eq!(judge(&held, &all, BLOCK, Consistency::Quorum, 9).unwrap().len(), 2);
        assert_eq!(judge(&held, &sync(&["a", "b"]), BLOCK, Consistency::Strong, 9).unwrap().len(), 2);
        let alone = sync(&["a"]);
        assert!(judge(&held, &alone, BLOCK, Consistency::Strong, 9).is_err(), "too few are in step");
        assert!(judge(&held, &alone, DEGRADE, Consistency::Strong, 9).is_ok());
        assert!(judge(&held, &sync(&[]), DEGRADE, Consistency::Strong, 9).is_err());
    }

    proptest! {
        /// However the disks stand, what was acknowledged survives the loss of any set of copies smaller than the level.
        #[test]
        fn an_acknowledged_entry_survives_the_losses_of_its_level(
            indexes in prop::collection::vec(0_u64..4, 1..7),
            index in 0_u64..4,
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let members: Vec<_> = names.iter().zip(&indexes).map(|(name, index)| (*name, *index, true)).collect();
            let held = held(&members);
            let none = sync(&[]);
            if let Ok(by) = judge(&held, &none, BLOCK, Consistency::Quorum, index) {
                prop_assert!(by.len() >= majority(members.len()));
                for node in by {
                    prop_assert!(held.members[&node].index >= index);
                }
            }
        }
    }
}
