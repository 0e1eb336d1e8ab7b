//! Whether the times of this node and of the others go together: whether they take what it stamps, and it what they do.
//! Pure.

use std::collections::BTreeMap;

use ha_cluster::NodeId;

use crate::Alarm;

/// What the others said last of this node's stamps, or this node of theirs.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    told: BTreeMap<NodeId, Told>,
}

/// What another copy said of a stamp of this node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// By how many milliseconds it is too far ahead of its time; 0 when it is not.
    pub(super) milliseconds: u64,
    /// By as many it is ahead of this node's own time now.
    pub(super) agrees: bool,
}

impl Ahead {
    pub(super) fn tell(&mut self, node: &NodeId, told: Told) {
        self.told.insert(node.clone(), told);
    }

    /// What was said is true no more.
    pub(super) fn forget(&mut self) {
        self.told.clear();
    }

    /// Those that are no members any more count no more.
    pub(super) fn retain(&mut self, others: &[NodeId]) {
        self.told.retain(|node, _| others.contains(node));
    }

    /// Nobody has said anything yet.
    pub(super) fn is_unknown(&self) -> bool {
        self.told.is_empty()
    }

    /// That most of those that answered turn it away; `None` while as many take it as turn it away, and while nobody has
    /// answered.
    pub(super) fn of_most(&self) -> Option<Alarm> {
        let (milliseconds, turned_away_by, answered) = self.most()?;
        Some(Alarm::TimeAhead { milliseconds, turned_away_by, answered })
    }

    /// Of what this node said of the others: that it turns most of them away, and more than one, so that it is this node
    /// that is behind.
    pub(super) fn behind_most(&self) -> Option<Alarm> {
        let (milliseconds, ahead, answered) = self.most().filter(|(_, ahead, _)| *ahead > 1)?;
        Some(Alarm::TimeBehind { milliseconds, ahead, answered })
    }

    /// By how much most are turned away at least, how many those are, and of how many.
    fn most(&self) -> Option<(u64, usize, usize)> {
        let milliseconds = self.turned_away().map(|told| told.milliseconds).min()?;
        let (count, all) = (self.turned_away().count(), self.told.len());
        (count * 2 > all).then_some((milliseconds, count, all))
    }

    /// Whether this node had the wrong time, and has that of most of those that answered now.
    pub(super) fn is_over(&self) -> bool {
        self.turned_away().filter(|told| told.agrees).count() * 2 > self.told.len()
    }

    fn turned_away(&self) -> impl Iterator<Item = &Told> {
        self.told.values().filter(|told| told.milliseconds > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copy_that_is_behind_says_nothing_of_this_node() {
        let [a, b, c] = ["a", "b", "c"].map(|node| -> NodeId { node.parse().unwrap() });
        let mut ahead = Ahead::default();
        assert!(ahead.is_unknown() && ahead.of_most().is_none(), "alone it goes on");
        let told = |milliseconds| Told { milliseconds, agrees: false };
        ahead.tell(&a, told(900));
        assert_eq!(ahead.of_most(), Some(Alarm::TimeAhead { milliseconds: 900, turned_away_by: 1, answered: 1 }));
        ahead.tell(&b, told(0));
        assert_eq!(ahead.of_most(), None);
        ahead.tell(&c, told(800));
        assert_eq!(ahead.of_most(), Some(Alarm::TimeAhead { milliseconds: 800, turned_away_by: 2, answered: 3 }));
        ahead.tell(&c, told(0));
        assert_eq!(ahead.of_most(), None, "the time was set right");
        ahead.retain(&[a]);
        assert!(ahead.of_most().is_some());
    }

    #[test]
    fn who_turns_most_of_several_away_is_behind_itself() {
        let [a, b, c] = ["a", "b", "c"].map(|node| -> NodeId { node.parse().unwrap() });
        let mut others = Ahead::default();
        let told = |milliseconds| Told { milliseconds, agrees: false };
        others.tell(&a, told(900));
        assert_eq!(others.behind_most(), None, "one of two is wrong, and nobody knows which");
        others.tell(&b, told(800));
        assert_eq!(others.behind_most(), Some(Alarm::TimeBehind { milliseconds: 800, ahead: 2, answered: 2 }));
        others.tell(&a, told(0));
        others.tell(&c, told(0));
        assert_eq!(others.behind_most(), None);
    }

    #[test]
    fn a_node_whose_time_was_set_right_finds_it_as_the_others_do() {
        let [a, b, c] = ["a", "b", "c"].map(|node| -> NodeId { node.parse().unwrap() });
        let mut ahead = Ahead::default();
        assert!(!ahead.is_over());
        ahead.tell(&a, Told { milliseconds: 900, agrees: false });
        assert!(!ahead.is_over(), "its own time is ahead as well");
        ahead.tell(&a, Told { milliseconds: 900, agrees: true });
        assert!(ahead.is_over());
        ahead.tell(&b, Told { milliseconds: 0, agrees: true });
        assert!(!ahead.is_over(), "who is wrong is not known");
        ahead.tell(&c, Told { milliseconds: 900, agrees: true });
        assert!(ahead.is_over());
        ahead.forget();
        assert!(!ahead.is_over() && ahead.is_unknown());
    }
}
