//! Whether the others take what this node stamps. Pure.

use std::collections::BTreeMap;
use std::fmt;

use ha_cluster::NodeId;

/// What the others said last of this node's time.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// By how many milliseconds it is too far ahead of theirs; 0 when it is not.
    told: BTreeMap<NodeId, u64>,
}

/// Most of those that answered turn away what this node stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AheadOfMost {
    pub(super) milliseconds: u64,
    pub(super) turned_away_by: usize,
    pub(super) answered: usize,
}

impl fmt::Display for AheadOfMost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { milliseconds, turned_away_by, answered } = self;
        write!(
            f,
            "the time of this machine is {milliseconds} ms ahead of that of {turned_away_by} of {answered} copies, which \
             turn away what is written here: set it right, then restart this node"
        )
    }
}

impl Ahead {
    pub(super) fn tell(&mut self, node: &NodeId, milliseconds: u64) {
        self.told.insert(node.clone(), milliseconds);
    }

    /// Those that are no members any more count no more.
    pub(super) fn retain(&mut self, others: &[NodeId]) {
        self.told.retain(|node, _| others.contains(node));
    }

    /// Nobody has said anything yet.
    pub(super) fn is_unknown(&self) -> bool {
        self.told.is_empty()
    }

    /// `None` while as many take it as turn it away, and while nobody has answered.
    pub(super) fn of_most(&self) -> Option<AheadOfMost> {
        let turned_away = self.told.values().filter(|milliseconds| **milliseconds > 0);
        let (answered, turned_away_by) = (self.told.len(), turned_away.clone().count());
        let milliseconds = *turned_away.min()?;
        (turned_away_by * 2 > answered).then_some(AheadOfMost { milliseconds, turned_away_by, answered })
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
        ahead.tell(&a, 900);
        assert_eq!(ahead.of_most(), Some(AheadOfMost { milliseconds: 900, turned_away_by: 1, answered: 1 }));
        ahead.tell(&b, 0);
        assert_eq!(ahead.of_most(), None);
        ahead.tell(&c, 800);
        assert_eq!(ahead.of_most(), Some(AheadOfMost { milliseconds: 800, turned_away_by: 2, answered: 3 }));
        ahead.tell(&c, 0);
        assert_eq!(ahead.of_most(), None, "the time was set right");
        ahead.retain(&[a]);
        assert!(ahead.of_most().is_some());
    }
}
