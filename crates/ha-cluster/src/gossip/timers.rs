//! What is to be done when: at most one entry per slot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::swim::{Slot, Timer, slot};

/// The reminders that are set.
#[derive(Default)]
pub(super) struct Timers {
    due: BTreeSet<(Duration, Slot)>,
    timers: BTreeMap<Slot, (Duration, Timer)>,
}

impl Timers {
    /// Sets a reminder, in place of an earlier one of its slot.
    pub(super) fn set(&mut self, at: Duration, timer: Timer) {
        let slot = slot(&timer);
        self.cancel(&slot);
        self.due.insert((at, slot.clone()));
        self.timers.insert(slot, (at, timer));
    }

    /// Takes a reminder back.
    pub(super) fn cancel(&mut self, slot: &Slot) {
        if let Some((at, _)) = self.timers.remove(slot) {
            self.due.remove(&(at, slot.clone()));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out the first that is due by now.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Timer> {
        let (at, slot) = self.due.first().filter(|(at, _)| *at <= now).cloned()?;
        self.due.remove(&(at, slot.clone()));
        self.timers.remove(&slot).map(|(_, timer)| timer)
    }
}
