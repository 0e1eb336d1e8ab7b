//! Who was heard from when, and how much this node may trust its own ears.
//!
//! After Lifeguard (Dadgar, Phillips and Currey, 2017): a node in trouble takes its own for that of others. So it looks
//! for signs of its own trouble, and stretches its timers by a multiplier. Lifeguard counts missed answers. Here it is
//! compared how many nodes miss and how many give them: in a healthy node that sees others die, the multiplier stays 1
//! as long as more answer than not, so that their failure is found in time.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_net::NodeId;

/// Most by which timers are stretched.
pub(super) const STRETCH_MAX: u32 = 8;

/// What this node hears.
#[derive(Default)]
pub(super) struct Health {
    nodes: BTreeMap<NodeId, Heard>,
    /// How often own timers were late of late.
    late: u32,
}

#[derive(Default)]
struct Heard {
    /// When anything came from it.
    last: Option<Duration>,
    /// When it proved that it hears us too.
    answered: Option<Duration>,
    probe: Option<Probe>,
}

struct Probe {
    number: u8,
    awaited: bool,
    /// Whether the last probe that is over was answered; kept while the next is under way.
    answered: Option<bool>,
}

impl Health {
    /// Anything came from a node.
    pub(super) fn heard(&mut self, node: &NodeId, now: Duration) {
        self.nodes.entry(node.clone()).or_default().last = Some(now);
    }

    /// This node probes another; a probe before it is over.
    pub(super) fn probed(&mut self, node: &NodeId, number: u8) {
        for probe in self.nodes.values_mut().filter_map(|heard| heard.probe.as_mut()) {
            if std::mem::take(&mut probe.awaited) {
                probe.answered = Some(false);
            }
        }
        let heard = self.nodes.entry(node.clone()).or_default();
        let answered = heard.probe.as_ref().and_then(|probe| probe.answered);
        heard.probe = Some(Probe { number, awaited: true, answered });
    }

    /// An answer to a probe; it counts only if it answers the last probe of that node, late or not.
    pub(super) fn answered(&mut self, node: &NodeId, number: u8, now: Duration) {
        if let Some(heard) = self.nodes.get_mut(node)
            && let Some(probe) = heard.probe.as_mut().filter(|probe| probe.number == number)
            && (probe.awaited || probe.answered == Some(false))
        {
            (probe.awaited, probe.answered) = (false, Some(true));
            heard.answered = Some(now);
            heard.last = Some(now);
            self.late = self.late.saturating_sub(1);
        }
    }

    /// Other traffic proved that a node answers.
    pub(super) fn seen(&mut self, node: &NodeId, now: Duration) {
        let heard = self.nodes.entry(node.clone()).or_default();
        (heard.last, heard.answered) = (Some(now), Some(now));
        if let Some(probe) = &mut heard.probe {
            (probe.awaited, probe.answered) = (false, Some(true));
        }
    }

    /// A timer of this node fired late.
    pub(super) fn was_late(&mut self) {
        self.late = (self.late + 1).min(STRETCH_MAX - 1);
    }

    /// Nothing more is expected of a node.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// When anything came from a node last.
    pub(super) fn last(&self, node: &NodeId) -> Option<Duration> {
        self.nodes.get(node).and_then(|heard| heard.last)
    }

    /// When a node proved last that it hears us.
    pub(super) fn last_answer(&self, node: &NodeId) -> Option<Duration> {
        self.nodes.get(node).and_then(|heard| heard.answered)
    }

    /// By how much this node's own timers are stretched: 1 while it is well.
    ///
    /// One node that misses answers says something about that node; only more than that, and more than answer, say
    /// something about this one.
    pub(super) fn stretch(&self) -> u32 {
        let count = |answered| {
            let probes = self.nodes.values().filter_map(|heard| heard.probe.as_ref());
            probes.filter(|probe| probe.answered == Some(answered)).count()
        };
        let doubt = count(false).saturating_sub(count(true) + 1);
        (1 + self.late + u32::try_from(doubt).unwrap_or(STRETCH_MAX).min(STRETCH_MAX)).min(STRETCH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeId {
        format!("node-{number}").parse().unwrap()
    }

    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn some_that_die_do_not_make_the_others_doubt_themselves() {
        let mut health = Health::default();
        for (number, alive) in [(0, true), (1, false), (2, true), (3, false)] {
            health.probed(&node(number), number as u8);
            if alive {
                health.answered(&node(number), number as u8, NOW);
            }
            assert_eq!(health.stretch(), 1);
        }
    }

    #[test]
    fn the_only_other_node_that_dies_is_not_excused() {
        let mut health = Health::default();
        for number in 0..9 {
            health.probed(&node(1), number);
            assert_eq!(health.stretch(), 1);
        }
    }

    #[test]
    fn a_deaf_node_doubts_itself_until_it_hears_again() {
        let mut health = Health::default();
        for number in 0..20_u8 {
            health.probed(&node(usize::from(number % 5)), number);
        }
        assert_eq!(health.stretch(), 5, "five are silent, nobody answers");
        for number in 15..20_u8 {
            health.answered(&node(usize::from(number % 5)), number, NOW);
        }
        assert_eq!(health.stretch(), 1);
    }

    #[test]
    fn late_timers_stretch_and_answers_restore() {
        let mut health = Health::default();
        (0..99).for_each(|_| health.was_late());
        assert_eq!(health.stretch(), STRETCH_MAX);
        for number in 0..7 {
            health.probed(&node(1), number);
            health.answered(&node(1), number, NOW);
            // A replay of the same answer is worth nothing.
            health.answered(&node(1), number, NOW);
            assert_eq!(health.stretch(), STRETCH_MAX - 1 - u32::from(number));
        }
    }

    #[test]
    fn an_answer_to_an_older_probe_proves_nothing() {
        let mut health = Health::default();
        health.probed(&node(1), 1);
        health.probed(&node(1), 2);
        health.answered(&node(1), 1, NOW);
        assert_eq!(health.last_answer(&node(1)), None);
        health.answered(&node(1), 2, NOW);
        assert_eq!(health.last_answer(&node(1)), Some(NOW));
    }
}
