//! Which copies take part, and when that may change. Pure; decided by the leader, put on the log.

use std::collections::BTreeSet;

use ha_cluster::NodeId;

use super::round::majority;

/// The next set of copies, if it should change now.
///
/// It changes by one copy at a time, so that majorities before and after share a copy, and only when a majority of the
/// present set has caught up with what the set before it had acknowledged.
pub(crate) fn next(
    present: &BTreeSet<NodeId>,
    wanted: &BTreeSet<NodeId>,
    settled: &BTreeSet<NodeId>,
) -> Option<(BTreeSet<NodeId>, String)> {
    if present.is_empty() {
        return (!wanted.is_empty()).then(|| (wanted.clone(), "the first copies".to_owned()));
    }
    if present.intersection(settled).count() < majority(present.len()) {
        return None;
    }
    let mut next = present.clone();
    if let Some(comes) = wanted.difference(present).next() {
        next.insert(comes.clone());
        return Some((next, format!("{comes} takes part")));
    }
    let goes = present.difference(wanted).next()?;
    next.remove(goes);
    (!next.is_empty()).then(|| (next, format!("{goes} takes part no more")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(names: &[u8]) -> BTreeSet<NodeId> {
        names.iter().map(|name| format!("n{name}").parse().unwrap()).collect()
    }

    #[test]
    fn one_copy_at_a_time_once_the_present_ones_have_settled() {
        let (present, wanted) = (set(&[1, 2, 3]), set(&[2, 3, 4, 5]));
        assert_eq!(next(&present, &wanted, &set(&[3])), None);
        let (four, why) = next(&present, &wanted, &set(&[2, 3])).unwrap();
        assert_eq!((four.clone(), why.as_str()), (set(&[1, 2, 3, 4]), "n4 takes part"));
        assert_eq!(next(&four, &wanted, &set(&[1, 2])), None, "two of four are no majority");
        assert_eq!(next(&set(&[1, 2, 3, 4, 5]), &wanted, &set(&[2, 3, 4])).unwrap().0, wanted);
        assert_eq!(next(&wanted, &wanted, &wanted), None);
        assert_eq!(next(&set(&[]), &wanted, &set(&[])).unwrap().0, wanted);
    }

    proptest! {
        /// What was acknowledged before a change meets every majority after it.
        #[test]
        fn majorities_before_and_after_share_a_copy(
            present in prop::collection::btree_set(0..7_u8, 1..7),
            wanted in prop::collection::btree_set(0..7_u8, 0..7),
        ) {
            let of = |names: &BTreeSet<u8>| set(&names.iter().copied().collect::<Vec<_>>());
            let (present, wanted) = (of(&present), of(&wanted));
            if let Some((next, _)) = next(&present, &wanted, &present) {
                let all = present.union(&next).count();
                prop_assert!(majority(present.len()) + majority(next.len()) > all);
            }
        }
    }
}
