//! Which of the clusters that one has become by force.
//!
//! Whoever goes on by force, without voters that may live on, makes a second cluster out of one. When the two meet, one
//! of them must give way, and both must agree on which: the higher generation stays, and of equal ones that whose log was
//! newer when it went on. Compared are only values that were fixed at that moment.

use std::cmp::Ordering;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ha_net::{Introduction, NodeId};
use serde::{Deserialize, Serialize};

use crate::view::Epoch;

/// The claim by which a node names the forced recoveries of its cluster, once there was one.
const LINEAGE: &str = "lineage";
/// Recoveries that are remembered; the first go first.
const FORKS_MAX: usize = 8;
/// So many bits of an epoch count within a generation: more than any cluster uses up.
const GENERATION_SHIFT: u32 = 40;
/// The highest generation that is believed: more would not leave room for the epochs that each of them begins.
const GENERATION_MAX: u64 = 1 << 12;

/// Where epochs go on after a forced recovery, of which the last one before is `before`: above all that a node can have
/// come to which is lost, also where saved states had been brought back.
pub(crate) fn first_epoch(generation: u64, before: u64) -> u64 {
    generation.max((before >> GENERATION_SHIFT) + 1) << GENERATION_SHIFT
}

/// One forced recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fork {
    /// Which one; counts up from 1.
    pub(crate) generation: u64,
    /// The last entry of the log that went on.
    pub(crate) term: u64,
    pub(crate) index: u64,
    /// Whose log it was.
    pub(crate) by: NodeId,
    /// The last epoch that was applied there when it was ordered: everybody shares it.
    pub(crate) applied_at: Option<u64>,
    /// The last epoch before it, which whoever has that last entry shares; `None` while it is not known.
    pub(crate) forked_at: Option<u64>,
}

impl Fork {
    fn is(&self, other: &Self) -> bool {
        self.order() == other.order()
    }

    fn order(&self) -> (u64, u64, u64, &NodeId) {
        (self.generation, self.term, self.index, &self.by)
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = |epoch: Option<u64>| epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        let (applied_at, forked_at) = (epoch(self.applied_at), epoch(self.forked_at));
        write!(f, "{}.{}.{}.{applied_at}.{forked_at}.{}", self.generation, self.term, self.index, self.by)
    }
}

impl FromStr for Fork {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(6, '.');
        let mut number = || parts.next().ok_or(()).map(|part| part.parse::<u64>().ok());
        let (generation, term, index) = (number()?.ok_or(())?, number()?.ok_or(())?, number()?.ok_or(())?);
        let (applied_at, forked_at) = (number()?, number()?);
        let by = parts.next().ok_or(())?.parse().map_err(drop)?;
        Ok(Self { generation, term, index, by, applied_at, forked_at })
    }
}

/// The forced recoveries that a cluster has behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    /// How many.
    pub(crate) generation: u64,
    /// The last ones, the newest last; fewer where they are not known.
    pub(crate) forks: Vec<Fork>,
}

impl Lineage {
    /// So many recoveries, of which nothing more is known.
    pub(crate) fn of_generation(generation: u64) -> Self {
        Self { generation, forks: Vec::new() }
    }

    /// And one more.
    pub(crate) fn and(mut self, fork: Fork) -> Self {
        self.generation = fork.generation;
        self.forks.push(fork);
        let surplus = self.forks.len().saturating_sub(FORKS_MAX);
        self.forks.drain(..surplus);
        self
    }

    /// Before the last one.
    pub(crate) fn without_the_last(mut self) -> Self {
        self.forks.pop();
        self.generation = self.generation.saturating_sub(1);
        self
    }

    /// What a peer says of itself.
    pub(crate) fn of(peer: &Introduction) -> Self {
        let generation = peer.generation;
        let named = || {
            let forks: Vec<Fork> =
                peer.claims.get(LINEAGE)?.split(' ').map(str::parse).collect::<Result<_, ()>>().ok()?;
            let fits = forks.last().is_some_and(|last| last.generation == generation) && forks.len() <= FORKS_MAX;
            fits.then_some(Self { generation, forks })
        };
        named().unwrap_or(Self::of_generation(generation))
    }

    /// Says so of this node.
    pub(crate) fn introduce(&self, me: &mut Introduction) {
        me.generation = self.generation;
        if !self.forks.is_empty() {
            let forks: Vec<String> = self.forks.iter().map(Fork::to_string).collect();
            me.claims.insert(LINEAGE.to_owned(), forks.join(" "));
        }
    }

    /// Which of two clusters stays: the greater one.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let last = |lineage: &Self| lineage.forks.last().cloned();
        let (ours, theirs) = (last(self), last(other));
        let forks = ours.as_ref().map(Fork::order).cmp(&theirs.as_ref().map(Fork::order));
        self.generation.cmp(&other.generation).then(forks)
    }

    /// Whether it can be that of a cluster: it names every recovery that is remembered.
    pub(crate) fn is_sound(&self) -> bool {
        let generations = self.forks.iter().map(|fork| fork.generation);
        let kept = self.forks.len() as u64;
        self.generation <= GENERATION_MAX
            && kept == self.generation.min(FORKS_MAX as u64)
            && generations.eq(self.generation - kept + 1..=self.generation)
    }

    /// Whether what came at an epoch may be what a recovery undid: not all that came then is still there.
    pub(crate) fn may_have_undone(&self, epoch: u64) -> bool {
        self.forks.iter().any(|fork| {
            let shared = fork.forked_at.or(fork.applied_at).unwrap_or_default();
            epoch > shared && epoch < first_epoch(fork.generation, shared)
        })
    }

    /// The first recovery of this cluster that another one does not have; `None` when it has, or may have, all of them. What
    /// that other one has in its place comes with it.
    pub(crate) fn first_beyond<'a>(&'a self, other: &'a Self) -> Option<(&'a Fork, Option<&'a Fork>)> {
        let at = |generation| other.forks.iter().find(|fork| fork.generation == generation);
        let is_beyond = |fork: &&Fork| match at(fork.generation) {
            Some(theirs) => !theirs.is(fork),
            None => fork.generation > other.generation,
        };
        self.forks.iter().find(is_beyond).map(|fork| (fork, at(fork.generation)))
    }

    /// The last epoch that this cluster shares with another one; `None` when nobody knows. `holds` says whether the log of
    /// that other one has an entry of a term at an index.
    pub(crate) fn shared_with(&self, other: &Self, holds: impl Fn(u64, u64) -> bool) -> Option<u64> {
        let all_known = |lineage: &Self| lineage.forks.len() as u64 == lineage.generation;
        if !all_known(self) || !all_known(other) {
            return None;
        }
        let common = self.forks.iter().zip(&other.forks).take_while(|(one, other)| one.is(other)).count();
        match (self.forks.get(common), other.forks.get(common)) {
            (Some(one), Some(other)) => Some(one.forked_at?.min(other.forked_at?)),
            // It has all that was before the fork, or some of that is not from both: what was not applied by then.
            (Some(fork), None) if holds(fork.term, fork.index) => fork.forked_at.or(fork.applied_at),
            (Some(fork), None) => fork.applied_at,
            (None, _) => None,
        }
    }
}

/// The cluster of this node went on by force without it: it takes part no more, until its data is set aside and it joins
/// anew. See [`crate::Cluster::overtaken`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overtaken {
    /// A node of the cluster that went on.
    pub by: NodeId,
    /// How often that was recovered by force.
    pub generation: u64,
    /// The last epoch that it shares with this node; `None` when nobody knows. What this node has applied above it, no
    /// node of that cluster has.
    pub forked_at: Option<Epoch>,
    /// Where the data of this node will be set aside.
    pub directory: PathBuf,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ha_net::Incarnation;

    use super::*;

    fn fork(generation: u64, term: u64, index: u64, by: &str, forked_at: u64) -> Fork {
        let (by, applied_at) = (by.parse().unwrap(), Some(forked_at - 1));
        Fork { generation, term, index, by, applied_at, forked_at: Some(forked_at) }
    }

    fn after(forks: &[Fork]) -> Lineage {
        forks.iter().cloned().fold(Lineage::default(), Lineage::and)
    }

    #[test]
    fn the_higher_generation_stays_and_of_equal_ones_that_with_the_newer_log() {
        let ordered = [
            Lineage::default(),
            Lineage::of_generation(1),
            after(&[fork(1, 3, 90, "b", 9)]),
            after(&[fork(1, 4, 80, "a", 8)]),
            after(&[fork(1, 4, 81, "a", 7)]),
            after(&[fork(1, 4, 81, "b", 6)]),
            after(&[fork(1, 1, 1, "b", 6), fork(2, 1, 1, "a", 6)]),
        ];
        assert!(ordered.is_sorted_by(|one, other| one.compare(other).is_lt()));
        // What is learnt later does not change who stays.
        let unsure = after(&[Fork { forked_at: None, ..fork(1, 3, 90, "b", 9) }]);
        assert!(unsure.compare(&ordered[2]).is_eq());
    }

    #[test]
    fn two_clusters_share_what_was_before_the_first_fork_that_is_not_of_both() {
        let first = after(&[]);
        let (a, b) = (after(&[fork(1, 1, 5, "a", 5)]), after(&[fork(1, 1, 7, "b", 7)]));
        let (holds, lacks) = (|_, _| true, |_, _| false);
        assert_eq!((a.shared_with(&first, holds), b.shared_with(&first, holds)), (Some(5), Some(7)));
        assert_eq!(b.shared_with(&first, lacks), Some(6), "only what was applied is certainly of both");
        assert_eq!((a.shared_with(&b, holds), b.shared_with(&a, lacks)), (Some(5), Some(5)));
        let later = b.clone().and(fork(2, 3, 20, "c", 1 << 41));
        assert_eq!(later.shared_with(&b, holds), Some(1 << 41));
        assert_eq!((later.shared_with(&a, holds), later.shared_with(&first, holds)), (Some(5), Some(7)));
        assert_eq!(Lineage::of_generation(2).shared_with(&a, holds), None);
        let long = (3..30).fold(later, |lineage, generation| lineage.and(fork(generation, 1, 1, "a", 1)));
        assert_eq!((long.forks.len(), long.shared_with(&a, holds)), (FORKS_MAX, None));
    }

    #[test]
    fn what_came_between_the_last_that_is_shared_and_the_first_after_it_may_be_undone() {
        let once = after(&[fork(1, 1, 5, "a", 5)]);
        let first = first_epoch(1, 6);
        assert_eq!(
            [0, 5, 6, 1 << 39, first - 1, first, u64::MAX].map(|epoch| once.may_have_undone(epoch)),
            [false, false, true, true, true, false, false]
        );
        let unsure = after(&[Fork { forked_at: None, ..fork(1, 1, 5, "a", 5) }]);
        assert_eq!((unsure.may_have_undone(4), unsure.may_have_undone(5)), (false, true), "what was applied is shared");
        let twice = once.and(fork(2, 3, 20, "c", first + 10));
        assert_eq!([6, first + 10, first + 11].map(|epoch| twice.may_have_undone(epoch)), [true, false, true]);
        assert!(!Lineage::default().may_have_undone(7));
    }

    #[test]
    fn epochs_go_on_above_all_that_a_lost_node_can_have_seen() {
        use crate::archive::{FOREIGN_GAP, RESTORED_GAP};
        let restored = |epoch: u64| epoch + RESTORED_GAP;
        let foreign = |epoch: u64| epoch + FOREIGN_GAP;
        for before in [0, 1 << 20, restored(7), restored(restored(9)), restored(1 << 40), foreign(7)] {
            let seen = [restored, foreign].map(|restore| restore(before + (1 << 35)));
            assert!(seen.iter().all(|seen| first_epoch(1, before) > *seen), "{before}: it had seen a restore");
        }
        assert!(foreign(7) > restored(restored(restored(7 + (1 << 35)))), "the other cluster was restored since");
        assert_eq!((first_epoch(1, 5), first_epoch(2, 5)), (1 << 40, 2 << 40), "one that went on itself is passed too");
        assert!(first_epoch(GENERATION_MAX, 0) < crate::machine::EPOCH_MAX);
    }

    #[test]
    fn a_node_is_taken_for_what_it_says_of_itself() {
        let mut me = Introduction {
            cluster_name: "c".to_owned(),
            cluster_id: None,
            generation: 0,
            node_id: "a".parse().unwrap(),
            incarnation: Incarnation(1),
            address: "h:1".parse().unwrap(),
            claims: BTreeMap::new(),
        };
        assert_eq!(Lineage::of(&me), Lineage::default());
        let unsure = Fork { forked_at: None, ..fork(1, 4, 80, "b", 1) };
        let lineage = after(&[unsure, fork(2, 5, 90, "node.with.dots", 77)]);
        lineage.introduce(&mut me);
        assert_eq!(Lineage::of(&me), lineage);
        for nonsense in ["nonsense", "", "1.2.3.4.5", "9.5.90.76.77.b"] {
            me.claims.insert(LINEAGE.to_owned(), nonsense.to_owned());
            assert_eq!(Lineage::of(&me), Lineage::of_generation(2), "{nonsense}");
        }
    }
}
