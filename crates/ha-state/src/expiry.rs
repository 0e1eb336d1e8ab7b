//! When leases are over, as every node keeps count and the leader acts on.
//!
//! All of it is one node's opinion, in memory: nothing of it is sent or kept, and a node that begins to lead begins
//! every lease anew at full length. So no crash, pause or change of leader can end a lease early; it can only end late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::changes::LeaseChange;
use crate::limits::LEASES_PER_COMMAND_MAX;
use crate::{FencingToken, Key, LeaseId, terms};

/// A node that did not look for so long was itself frozen or starved: renewals may wait in its queues that it should
/// have seen. It begins all leases anew.
pub(crate) const AWAY_MAX: Duration = Duration::from_millis(500);

/// What happens.
#[derive(Debug)]
pub(crate) enum Input {
    /// This node leads from now on, or leads no more.
    Leads(bool),
    /// What was proposed has failed or is done.
    Proposed,
    /// The deadline may have passed.
    Tick,
}

/// What is known of leases.
#[derive(Debug)]
pub(crate) enum News {
    /// These changes were applied here.
    Changed(Vec<LeaseChange>),
    /// This is everything there is.
    All(Vec<LeaseChange>),
}

/// What the leader proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// End these leases, if they were renewed just so often.
    Expire(Vec<(LeaseId, u64)>),
    /// Give these locks to whoever is next.
    EndDelays(Vec<(Key, FencingToken)>),
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    ttl: Duration,
    renewals: u64,
    due: Duration,
}

/// The leases as one node counts them.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    leases: BTreeMap<LeaseId, Tracked>,
    delays: BTreeMap<Key, (FencingToken, Duration, Duration)>,
    by_time: BTreeSet<(Duration, Due)>,
    leads: bool,
    /// Something was proposed, and is on its way.
    proposing: bool,
    looked: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Lease(LeaseId),
    Delay(Key),
}

impl Expiry {
    /// When [`Input::Tick`] is due at the latest. While something is on its way nothing else is proposed: then it only
    /// shows that this node looks.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.leads && self.proposing { Some(self.looked + AWAY_MAX / 2) } else { self.first_due() }
    }

    fn first_due(&self) -> Option<Duration> {
        self.by_time.first().filter(|_| self.leads).map(|(due, _)| *due)
    }

    /// How long a lease lasts from now on if it is not renewed, as counted here.
    pub(crate) fn remaining(&self, now: Duration, lease: LeaseId) -> Option<Duration> {
        let tracked = self.leases.get(&lease)?;
        Some(tracked.due.saturating_sub(now).min(tracked.ttl))
    }

    /// Notes what is there, without doing anything about it.
    pub(crate) fn note(&mut self, now: Duration, news: News) {
        match news {
            News::Changed(changes) => changes.into_iter().for_each(|change| self.change(now, change)),
            News::All(all) => self.begin_with(now, all),
        }
    }

    /// Takes one input in.
    pub(crate) fn step(&mut self, now: Duration, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Leads(leads) => {
                self.leads = leads;
                self.proposing = false;
                self.begin_anew(now);
            }
            Input::Proposed => self.proposing = false,
            Input::Tick => {}
        }
        let overdue = self.first_due().is_some_and(|due| due + AWAY_MAX < now);
        if overdue && now > self.looked + AWAY_MAX {
            self.begin_anew(now);
        }
        self.looked = now;
        if self.leads && !self.proposing {
            self.propose(now, outputs);
        }
    }

    fn change(&mut self, now: Duration, change: LeaseChange) {
        match change {
            LeaseChange::Granted { lease, ttl_ms, renewals } => {
                self.forget(lease);
                let ttl = terms::from_millis(ttl_ms);
                let due = now + terms::others(ttl);
                self.leases.insert(lease, Tracked { ttl, renewals, due });
                self.by_time.insert((due, Due::Lease(lease)));
            }
            LeaseChange::Renewed { lease, renewals } => {
                let Some(tracked) = self.leases.get_mut(&lease) else { return };
                self.by_time.remove(&(tracked.due, Due::Lease(lease)));
                tracked.renewals = renewals;
                tracked.due = now + terms::others(tracked.ttl);
                self.by_time.insert((tracked.due, Due::Lease(lease)));
            }
            LeaseChange::Ended { lease } => self.forget(lease),
            LeaseChange::Holds { .. } => {}
            LeaseChange::DelayBegan { lock, token, delay_ms } => {
                self.forget_delay(&lock);
                let delay = terms::others(terms::from_millis(delay_ms));
                self.by_time.insert((now + delay, Due::Delay(lock.clone())));
                self.delays.insert(lock, (token, delay, now + delay));
            }
            LeaseChange::DelayEnded { lock } => self.forget_delay(&lock),
        }
    }

    fn forget(&mut self, lease: LeaseId) {
        if let Some(tracked) = self.leases.remove(&lease) {
            self.by_time.remove(&(tracked.due, Due::Lease(lease)));
        }
    }

    fn forget_delay(&mut self, lock: &Key) {
        if let Some((_, _, due)) = self.delays.remove(lock) {
            self.by_time.remove(&(due, Due::Delay(lock.clone())));
        }
    }

    /// Looks through everything: what is known with the same number of renewals keeps its time.
    fn begin_with(&mut self, now: Duration, all: Vec<LeaseChange>) {
        let before = std::mem::take(&mut self.leases);
        self.delays.clear();
        self.by_time.clear();
        all.into_iter().for_each(|change| self.change(now, change));
        for (lease, tracked) in &mut self.leases {
            let known = before.get(lease).filter(|known| known.renewals == tracked.renewals);
            if let Some(known) = known {
                self.by_time.remove(&(tracked.due, Due::Lease(*lease)));
                tracked.due = known.due;
                self.by_time.insert((tracked.due, Due::Lease(*lease)));
            }
        }
    }

    /// Begins every lease and every delay at full length.
    fn begin_anew(&mut self, now: Duration) {
        self.by_time.clear();
        for (lease, tracked) in &mut self.leases {
            tracked.due = now + terms::others(tracked.ttl);
            self.by_time.insert((tracked.due, Due::Lease(*lease)));
        }
        for (lock, (_, delay, due)) in &mut self.delays {
            *due = now + *delay;
            self.by_time.insert((*due, Due::Delay(lock.clone())));
        }
    }

    fn propose(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let (mut leases, mut locks) = (Vec::new(), Vec::new());
        for (_, due) in self.by_time.iter().take_while(|(due, _)| *due <= now).take(LEASES_PER_COMMAND_MAX) {
            match due {
                Due::Lease(lease) => leases.extend(self.leases.get(lease).map(|tracked| (*lease, tracked.renewals))),
                Due::Delay(lock) => locks.extend(self.delays.get(lock).map(|(token, ..)| (lock.clone(), *token))),
            }
        }
        self.proposing = !leases.is_empty() || !locks.is_empty();
        if !leases.is_empty() {
            outputs.push(Output::Expire(leases));
        }
        if !locks.is_empty() {
            outputs.push(Output::EndDelays(locks));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);
    const ONE: LeaseId = LeaseId(1);

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn step(expiry: &mut Expiry, at: f64, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        expiry.step(secs(at), input, &mut outputs);
        outputs
    }

    fn note(expiry: &mut Expiry, at: f64, news: News) {
        expiry.note(secs(at), news);
    }

    fn granted() -> News {
        News::Changed(vec![LeaseChange::Granted { lease: ONE, ttl_ms: terms::millis(TTL), renewals: 0 }])
    }

    fn leading() -> Expiry {
        let mut expiry = Expiry::default();
        step(&mut expiry, 0.0, Input::Leads(true));
        note(&mut expiry, 0.0, granted());
        expiry
    }

    /// Looks often, as the driver does.
    fn first_expiry(expiry: &mut Expiry, from: f64) -> f64 {
        for tenth in 0..1000 {
            let at = from + f64::from(tenth) / 10.0;
            if !step(expiry, at, Input::Tick).is_empty() {
                return at;
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn a_lease_ends_after_its_length_drift_and_margin_and_is_proposed_once() {
        let mut expiry = leading();
        assert_eq!(expiry.deadline(), Some(terms::others(TTL)));
        assert_eq!(first_expiry(&mut expiry, 0.0), 10.6);
        assert_eq!(step(&mut expiry, 10.7, Input::Tick), [], "it is on its way");
        assert_eq!(step(&mut expiry, 10.8, Input::Proposed), [Output::Expire(vec![(ONE, 0)])], "it failed");
        note(&mut expiry, 10.9, News::Changed(vec![LeaseChange::Ended { lease: ONE }]));
        assert_eq!(step(&mut expiry, 11.0, Input::Proposed), []);
    }

    #[test]
    fn a_renewal_begins_it_anew_and_is_named_when_it_ends() {
        let mut expiry = leading();
        for tenth in 0..80 {
            step(&mut expiry, f64::from(tenth) / 10.0, Input::Tick);
        }
        note(&mut expiry, 8.0, News::Changed(vec![LeaseChange::Renewed { lease: ONE, renewals: 1 }]));
        assert_eq!(expiry.remaining(secs(9.0), ONE), Some(secs(9.6)));
        assert_eq!(first_expiry(&mut expiry, 8.0), 18.6);
        assert_eq!(step(&mut expiry, 18.7, Input::Proposed), [Output::Expire(vec![(ONE, 1)])]);
    }

    #[test]
    fn a_new_leader_begins_every_lease_at_full_length_and_others_end_none() {
        let mut expiry = Expiry::default();
        note(&mut expiry, 0.0, granted());
        for second in 0..30 {
            assert_eq!(step(&mut expiry, f64::from(second), Input::Tick), [], "it does not lead");
        }
        step(&mut expiry, 30.0, Input::Leads(true));
        assert_eq!(first_expiry(&mut expiry, 30.0), 40.6);
        step(&mut expiry, 41.0, Input::Leads(false));
        assert_eq!(step(&mut expiry, 41.1, Input::Proposed), []);
        assert_eq!(expiry.deadline(), None);
    }

    #[test]
    fn a_leader_that_was_away_ends_nothing_at_its_return() {
        let mut expiry = leading();
        step(&mut expiry, 1.0, Input::Tick);
        assert_eq!(step(&mut expiry, 60.0, Input::Tick), []);
        assert_eq!(first_expiry(&mut expiry, 60.0), 70.6);
    }

    #[test]
    fn a_slow_proposal_gives_the_others_no_more_time() {
        let mut expiry = leading();
        let other = LeaseChange::Granted { lease: LeaseId(2), ttl_ms: terms::millis(TTL), renewals: 0 };
        note(&mut expiry, 0.1, News::Changed(vec![other]));
        assert_eq!(first_expiry(&mut expiry, 0.0), 10.6);
        // As the driver: whenever it is due.
        let mut at = 10.6;
        while at < 11.3 {
            assert_eq!(step(&mut expiry, at, Input::Tick), [], "it is on its way");
            let due = expiry.deadline().map_or(f64::MAX, |due| due.as_secs_f64());
            assert!(due > at, "{due} after {at}");
            at = due;
        }
        note(&mut expiry, 11.3, News::Changed(vec![LeaseChange::Ended { lease: ONE }]));
        assert_eq!(step(&mut expiry, 11.3, Input::Proposed), [Output::Expire(vec![(LeaseId(2), 0)])]);
    }

    #[test]
    fn a_leader_that_was_away_while_it_proposed_ends_nothing_more_at_its_return() {
        let mut expiry = leading();
        let other = LeaseChange::Granted { lease: LeaseId(2), ttl_ms: terms::millis(2 * TTL), renewals: 0 };
        note(&mut expiry, 0.0, News::Changed(vec![other]));
        assert_eq!(first_expiry(&mut expiry, 0.0), 10.6);
        assert_eq!(step(&mut expiry, 60.0, Input::Tick), []);
        note(&mut expiry, 60.1, News::Changed(vec![LeaseChange::Ended { lease: ONE }]));
        assert_eq!(step(&mut expiry, 60.1, Input::Proposed), []);
        assert_eq!(expiry.remaining(secs(60.1), LeaseId(2)), Some(2 * TTL));
    }

    #[test]
    fn a_look_through_everything_keeps_what_is_known() {
        let mut expiry = leading();
        let all = |renewals| {
            News::All(vec![
                LeaseChange::Granted { lease: ONE, ttl_ms: terms::millis(TTL), renewals },
                LeaseChange::Granted { lease: LeaseId(2), ttl_ms: 1000, renewals: 0 },
            ])
        };
        for tenth in 0..50 {
            step(&mut expiry, f64::from(tenth) / 10.0, Input::Tick);
        }
        note(&mut expiry, 5.0, all(0));
        assert_eq!(expiry.remaining(secs(5.0), ONE), Some(secs(5.6)));
        assert_eq!(expiry.remaining(secs(5.0), LeaseId(2)), Some(secs(1.0)));
        note(&mut expiry, 5.1, all(1));
        assert_eq!(expiry.remaining(secs(5.1), ONE), Some(TTL));
    }

    #[test]
    fn a_delay_ends_by_proposal_and_begins_anew_with_a_new_leader() {
        let mut expiry = Expiry::default();
        let (lock, token) = (Key::new("l").unwrap(), FencingToken(7));
        step(&mut expiry, 0.0, Input::Leads(true));
        let began = LeaseChange::DelayBegan { lock: lock.clone(), token, delay_ms: 1000 };
        note(&mut expiry, 0.0, News::Changed(vec![began]));
        step(&mut expiry, 0.9, Input::Leads(true));
        assert_eq!(first_expiry(&mut expiry, 1.0), 2.0);
        note(&mut expiry, 2.1, News::Changed(vec![LeaseChange::DelayEnded { lock }]));
        assert_eq!(step(&mut expiry, 2.2, Input::Proposed), []);
    }
}
