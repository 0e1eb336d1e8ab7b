//! The book of components: everything the monitor thinks, without doing anything.

mod component;
mod recovery;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::limits::HISTORY_MAX;
use crate::{ComponentHealth, Transition};

use component::Component;
pub(crate) use component::{Input, Kind, Output, Rules};
pub(crate) use recovery::RecoveryRules;

/// All components, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Book {
    components: BTreeMap<String, Component>,
    history: VecDeque<Transition>,
    /// Transitions so far.
    told: u64,
    /// Checks and actions so far: their numbers are never used again, so that a late answer is recognised.
    numbers: u64,
}

/// What is to be done for a component.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Begin, or stop.
    Work { component: String, output: Output },
    /// Tell whoever follows.
    Tell(Transition),
}

impl Book {
    pub(crate) fn len(&self) -> usize {
        self.components.len()
    }

    /// Whether a component of that name reports by itself.
    pub(crate) fn takes_reports(&self, name: &str) -> bool {
        self.components.get(name).is_some_and(Component::takes_reports)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.components.contains_key(name)
    }

    /// Adds a component, or begins anew with one of that name.
    pub(crate) fn add(&mut self, now: Duration, name: &str, rules: Rules) {
        self.components.insert(name.to_owned(), Component::new(now, rules));
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.components.remove(name).is_some()
    }

    /// Takes in something about one component.
    pub(crate) fn step(&mut self, now: Duration, name: &str, input: Input, acts: &mut Vec<Act>) {
        let Some(component) = self.components.get_mut(name) else { return };
        let mut out = Vec::new();
        component.step(now, input, &mut self.numbers, &mut out);
        for output in out {
            let act = match output {
                Output::Tell { from, to, message } => {
                    self.told += 1;
                    let transition =
                        Transition { number: self.told, component: name.to_owned(), from, to, message, at: now };
                    if self.history.len() == HISTORY_MAX {
                        self.history.pop_front();
                    }
                    self.history.push_back(transition.clone());
                    Act::Tell(transition)
                }
                output => Act::Work { component: name.to_owned(), output },
            };
            acts.push(act);
        }
    }

    /// Does everything that is due.
    pub(crate) fn look(&mut self, now: Duration, acts: &mut Vec<Act>) {
        let due = self.components.iter().filter(|(_, component)| component.deadline() <= now);
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        for name in due {
            self.step(now, &name, Input::Look, acts);
        }
    }

    /// When to look at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.components.values().map(Component::deadline).min()
    }

    /// Every component, by name.
    pub(crate) fn health(&self, now: Duration) -> Vec<ComponentHealth> {
        self.components.iter().map(|(name, component)| component.health(name, now)).collect()
    }

    /// The last transitions, the oldest first.
    pub(crate) fn history(&self) -> Vec<Transition> {
        self.history.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
