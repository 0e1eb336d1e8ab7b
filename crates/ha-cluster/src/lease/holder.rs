//! The side that acts while it holds a lease.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_net::Incarnation;

use super::terms::{RenewalId, Terms};

/// Requests and answers that are remembered at once. Older requests could only yield leases that are nearly over.
const REMEMBERED_MAX: usize = 16;

/// What happens to the holder.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The leader granted a request.
    Granted {
        /// Which request.
        renewal: RenewalId,
        /// Counts only once this node has applied this entry.
        after: u64,
    },
    /// This node has applied the log up to here.
    Applied(u64),
    /// Another leader is known: a good moment to ask.
    LeaderChanged,
    /// This node must not act any more in this life (its disk failed, it stops).
    GiveUp {
        /// For the log.
        why: String,
    },
    /// The deadline may have passed.
    Tick,
}

/// What the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send this to the leader now, or drop it if there is none. Its clock has started.
    Ask(RenewalId),
    /// The lease began, or began anew.
    Held(String),
    /// The lease ended: whatever depends on it must have stopped by now.
    Lost(String),
}

/// A node's own lease. A new life of the node begins with none.
#[derive(Debug)]
pub(crate) struct Holder {
    terms: Terms,
    every: Duration,
    incarnation: Incarnation,
    asked: u64,
    /// When the requests left that may still be answered.
    left: BTreeMap<u64, Duration>,
    /// Granted, but this node has not applied that entry yet.
    unapplied: BTreeMap<u64, Duration>,
    applied: u64,
    valid_until: Option<Duration>,
    told_held: bool,
    gave_up: bool,
    ask_at: Duration,
    #[cfg(test)]
    pub(super) mutant: super::simulator::Mutant,
}

impl Holder {
    /// A node without a lease.
    pub(crate) fn new(terms: Terms, heartbeat: Duration, incarnation: Incarnation) -> Self {
        Self {
            terms,
            every: terms.renew_every(heartbeat),
            incarnation,
            asked: 0,
            left: BTreeMap::new(),
            unapplied: BTreeMap::new(),
            applied: 0,
            valid_until: None,
            told_held: false,
            gave_up: false,
            ask_at: Duration::ZERO,
            #[cfg(test)]
            mutant: super::simulator::Mutant::None,
        }
    }

    /// Whether this node may act at this instant. Read the clock *for this call*; also after a suspend no tick is
    /// needed first.
    pub(crate) fn held(&self, now: Duration) -> bool {
        self.valid_until.is_some_and(|until| now < until)
    }

    /// Until when it may act, if it ever held a lease in this life.
    pub(crate) fn valid_until(&self) -> Option<Duration> {
        self.valid_until
    }

    /// When [`Input::Tick`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let asks = (!self.gave_up).then_some(self.ask_at);
        let ends = self.valid_until.filter(|_| self.told_held);
        asks.into_iter().chain(ends).min()
    }

    /// Takes one input in.
    pub(crate) fn step(&mut self, now: Duration, input: Input, outputs: &mut Vec<Output>) {
        // First, so that an answer which comes after the end does not hide that there was an end.
        self.notice_end(now, outputs);
        match input {
            Input::Granted { renewal, after } => self.granted(now, renewal, after),
            Input::Applied(index) => self.applied(index),
            Input::LeaderChanged => self.ask_at = now,
            Input::GiveUp { why } => self.give_up(&why, outputs),
            Input::Tick => {}
        }
        if self.held(now) && !self.told_held {
            self.told_held = true;
            outputs.push(Output::Held("holds its node lease".to_owned()));
        }
        if self.ask_at <= now && !self.gave_up {
            self.ask(now, outputs);
        }
    }

    fn notice_end(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if let Some(until) = self.valid_until.filter(|until| self.told_held && *until <= now) {
            self.told_held = false;
            let late = now - until;
            outputs.push(Output::Lost(format!(
                "lost its node lease: no renewal was granted in time (noticed {} ms after its end)",
                late.as_millis()
            )));
        }
    }

    fn granted(&mut self, now: Duration, renewal: RenewalId, after: u64) {
        if renewal.incarnation != self.incarnation || self.gave_up {
            return;
        }
        let Some(left) = self.left.remove(&renewal.number) else { return };
        #[cfg(test)]
        let left = self.mutant.counted_from(left, now);
        #[cfg(test)]
        let after = self.mutant.after(after);
        let until = left + self.terms.holder();
        if until <= now {
            return;
        }
        if after <= self.applied {
            self.valid_until = self.valid_until.max(Some(until));
        } else {
            let waiting = self.unapplied.entry(after).or_insert(until);
            *waiting = until.max(*waiting);
            bound(&mut self.unapplied);
        }
    }

    fn applied(&mut self, index: u64) {
        self.applied = self.applied.max(index);
        let later = self.applied.checked_add(1).map(|next| self.unapplied.split_off(&next)).unwrap_or_default();
        let counting = std::mem::replace(&mut self.unapplied, later);
        self.valid_until = self.valid_until.max(counting.into_values().max());
    }

    fn give_up(&mut self, why: &str, outputs: &mut Vec<Output>) {
        self.gave_up = true;
        self.valid_until = None;
        self.unapplied.clear();
        if std::mem::take(&mut self.told_held) {
            outputs.push(Output::Lost(format!("gave up its node lease: {why}")));
        }
    }

    fn ask(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        self.ask_at = now + self.every;
        self.asked += 1;
        self.left.insert(self.asked, now);
        bound(&mut self.left);
        outputs.push(Output::Ask(RenewalId { incarnation: self.incarnation, number: self.asked }));
    }
}

/// Forgets the oldest.
fn bound(map: &mut BTreeMap<u64, Duration>) {
    while map.len() > REMEMBERED_MAX {
        map.pop_first();
    }
}
