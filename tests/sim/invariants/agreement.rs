//! What is applied is applied everywhere, in one order, once; and nothing acknowledged is lost (I2, I9).

use std::collections::{BTreeMap, BTreeSet};

use super::{Invariant, Moment};
use crate::sim::Name;
use crate::sim::history::{Answer, Operations, Request};

/// The list as the cluster applied it, put together from what every node showed.
#[derive(Default)]
pub struct Agreement {
    entries: Vec<u64>,
    known: BTreeSet<u64>,
    /// How far each life of a node was compared.
    compared: BTreeMap<(Name, u64), usize>,
    /// Answers looked at.
    judged: usize,
    /// Acknowledged writes that no node has shown yet: position and entry.
    awaited: BTreeMap<u64, u64>,
    refused: BTreeSet<u64>,
}

impl Agreement {
    fn compare(&mut self, name: Name, life: u64, shown: &[u64], operations: &Operations) -> Result<(), String> {
        let compared = self.compared.entry((name, life)).or_default();
        let from = (*compared).min(shown.len());
        *compared = shown.len();
        for (position, entry) in shown.iter().enumerate().skip(from) {
            match self.entries.get(position) {
                Some(agreed) if agreed == entry => {}
                Some(agreed) => {
                    return Err(format!(
                        "{name} applied {entry} at position {position}, where {agreed} was applied before"
                    ));
                }
                None => self.extend(name, position as u64, *entry, operations)?,
            }
        }
        Ok(())
    }

    fn extend(&mut self, name: Name, position: u64, entry: u64, operations: &Operations) -> Result<(), String> {
        if !self.known.insert(entry) {
            return Err(format!("{name} applied {entry} a second time, at position {position}"));
        }
        if operations.get(entry).is_none_or(|operation| operation.request != Request::Write) {
            return Err(format!("{name} applied {entry} at position {position}, which nobody asked for"));
        }
        if self.refused.contains(&entry) {
            return Err(format!(
                "{name} applied {entry} at position {position}: its client was told that it never will be"
            ));
        }
        if let Some(told) = self.awaited.remove(&position)
            && told != entry
        {
            return Err(format!("{told} was acknowledged at position {position}, where {name} applied {entry}"));
        }
        self.entries.push(entry);
        Ok(())
    }

    fn judge_answers(&mut self, operations: &Operations) -> Result<(), String> {
        for (_, operation, answer) in operations.answered_since(self.judged) {
            let entry = operation.number;
            match answer {
                Answer::Written { position, .. } => match self.entries.get(position as usize) {
                    Some(applied) if *applied == entry => {}
                    Some(applied) => {
                        return Err(format!(
                            "{entry} was acknowledged at position {position}, where {applied} was applied"
                        ));
                    }
                    None => {
                        if let Some(other) = self.awaited.insert(position, entry) {
                            return Err(format!("{other} and {entry} were both acknowledged at position {position}"));
                        }
                    }
                },
                Answer::NotApplied if operation.request == Request::Write => {
                    if self.known.contains(&entry) {
                        return Err(format!("{entry} was applied, and its client told that it never will be"));
                    }
                    self.refused.insert(entry);
                }
                _ => {}
            }
        }
        self.judged = operations.answered_count();
        Ok(())
    }
}

impl Invariant for Agreement {
    fn claim(&self) -> &'static str {
        "every node applies the same entries in the same order, each once, and those that clients were told"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        self.judge_answers(moment.operations)?;
        let counts = |seen: &super::Seen| seen.up && !seen.witness && !seen.left_behind;
        for (name, seen) in moment.nodes.iter().filter(|(_, seen)| counts(seen)) {
            let compared = self.compared.get(&(*name, seen.life)).copied().unwrap_or(0);
            if seen.entries.len() != compared {
                self.compare(*name, seen.life, &seen.entries, moment.operations)?;
            }
        }
        Ok(())
    }

    fn forked(&mut self, moment: &Moment<'_>, survivor: Name) {
        self.entries = moment.nodes.get(&survivor).map(|seen| seen.entries.clone()).unwrap_or_default();
        self.known = self.entries.iter().copied().collect();
        self.awaited.clear();
        self.judged = moment.operations.answered_count();
    }

    fn check_end(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        // From the first entry on: a snapshot may have replaced what was compared before.
        self.compared.clear();
        self.check(moment)?;
        if let Some((position, entry)) = self.awaited.first_key_value() {
            return Err(format!("{entry} was acknowledged at position {position}, and no node has it"));
        }
        for (name, seen) in moment.nodes.iter().filter(|(_, seen)| seen.up && !seen.witness && !seen.stopped) {
            if seen.entries.len() != self.entries.len() {
                return Err(format!("{name} has {} entries in the end, of {}", seen.entries.len(), self.entries.len()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, seconds};
    use super::*;

    /// Writes 0, 1, 2 asked for and acknowledged at positions 0, 1, 2, and applied everywhere.
    fn told() -> (Story, Agreement) {
        let mut story = Story::new(3);
        for position in 0..3 {
            let number = story.operations.ask(Name(1), Request::Write, seconds(0.0));
            story.operations.answer(number, Answer::Written { position, epoch: position + 1 }, seconds(0.1));
        }
        let mut judge = Agreement::default();
        story.pass(0.1, &mut judge).unwrap();
        for name in 1..=3 {
            story.node(name).entries = vec![0, 1, 2];
        }
        (story, judge)
    }

    #[test]
    fn a_good_end_is_good() {
        let (mut story, mut judge) = told();
        story.pass(0.1, &mut judge).unwrap();
        judge.check_end(&story.moment()).unwrap();
    }

    #[test]
    fn a_lost_acknowledgement_is_noticed() {
        let (mut story, mut judge) = told();
        for name in 1..=3 {
            story.node(name).entries = vec![0, 1];
        }
        story.pass(0.1, &mut judge).unwrap();
        assert!(judge.check_end(&story.moment()).unwrap_err().contains("no node has it"));
    }

    #[test]
    fn a_node_that_is_behind_in_the_end_is_noticed() {
        let (mut story, mut judge) = told();
        story.node(3).entries = vec![0, 1];
        story.pass(0.1, &mut judge).unwrap();
        assert!(judge.check_end(&story.moment()).is_err());
    }

    #[test]
    fn an_entry_that_was_applied_twice_is_noticed() {
        let (mut story, mut judge) = told();
        story.node(2).entries = vec![0, 1, 2, 1];
        assert!(story.pass(0.1, &mut judge).unwrap_err().contains("second time"));
    }

    #[test]
    fn nodes_that_differ_are_noticed() {
        let (mut story, mut judge) = told();
        story.node(2).entries = vec![0, 2, 1];
        assert!(story.pass(0.1, &mut judge).is_err());
    }

    #[test]
    fn a_restart_that_comes_back_with_something_else_is_noticed() {
        let (mut story, mut judge) = told();
        story.pass(0.1, &mut judge).unwrap();
        story.node(2).life = 2;
        story.node(2).entries = vec![0];
        story.pass(0.1, &mut judge).unwrap();
        story.node(2).entries = vec![0, 2];
        assert!(story.pass(0.1, &mut judge).is_err());
    }

    #[test]
    fn what_was_refused_for_good_must_not_appear() {
        let (mut story, mut judge) = told();
        let number = story.operations.ask(Name(1), Request::Write, seconds(0.2));
        story.operations.answer(number, Answer::NotApplied, seconds(0.3));
        story.pass(0.1, &mut judge).unwrap();
        story.node(1).entries.push(number);
        assert!(story.pass(0.1, &mut judge).unwrap_err().contains("never will be"));
    }

    #[test]
    fn what_a_survivor_by_force_lacks_is_lost_and_those_left_behind_do_not_count() {
        let (mut story, mut judge) = told();
        story.pass(0.1, &mut judge).unwrap();
        story.node(1).entries = vec![0, 1];
        story.node(2).left_behind = true;
        story.node(3).entries.clear();
        judge.forked(&story.moment(), Name(1));
        let number = story.operations.ask(Name(1), Request::Write, seconds(1.0));
        story.operations.answer(number, Answer::Written { position: 2, epoch: 1 << 40 }, seconds(1.1));
        story.node(1).entries.push(number);
        story.pass(0.1, &mut judge).unwrap();
        story.node(2).left_behind = false;
        story.node(2).life = 2;
        assert!(story.pass(0.1, &mut judge).is_err(), "it kept what the survivor lacks");
    }

    #[test]
    fn two_acknowledgements_for_one_position_are_noticed() {
        let (mut story, mut judge) = told();
        let number = story.operations.ask(Name(1), Request::Write, seconds(0.2));
        story.operations.answer(number, Answer::Written { position: 1, epoch: 9 }, seconds(0.3));
        assert!(story.pass(0.1, &mut judge).is_err());
    }
}
