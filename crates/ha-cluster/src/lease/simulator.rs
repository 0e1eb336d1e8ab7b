//! Two leaders and a holder, three clocks, one seed.
//!
//! It steps through true time by the millisecond. Each machine reads a clock of its own rate and offset, is paused at
//! times, and its messages are late, lost or out of order. What is checked at each step: the holder never believes in
//! a lease after an expiry that it has not applied was committed, since from that moment on others may act.

use std::collections::BTreeSet;
use std::time::Duration;

use ha_net::{Incarnation, NodeId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::terms::{RenewalId, Terms};
use super::{grant, hold};
use crate::Term;

/// Mistakes that the simulator must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    None,
    CountsFromTheAnswer,
    IgnoresWhatItHasNotApplied,
    GrantsWithoutQuorum,
    NewLeaderKeepsNothing,
    TrustsClocks,
}

impl Mutant {
    pub(super) fn counted_from(self, left: Duration, now: Duration) -> Duration {
        if self == Self::CountsFromTheAnswer { now } else { left }
    }

    pub(super) fn after(self, after: u64) -> u64 {
        if self == Self::IgnoresWhatItHasNotApplied { 0 } else { after }
    }

    pub(super) fn lead_counts_from(self, now: Duration) -> Duration {
        if self == Self::NewLeaderKeepsNothing { now.saturating_sub(Duration::from_secs(3600)) } else { now }
    }
}

const TTL: Duration = Duration::from_millis(500);
const HEARTBEAT: Duration = Duration::from_millis(50);

struct Clock {
    /// Parts per million.
    rate: i64,
    offset: Duration,
    /// The machine does nothing until then.
    paused_until: u64,
}

impl Clock {
    fn read(&self, millisecond: u64) -> Duration {
        let micros = i128::from(millisecond) * (1_000_000 + i128::from(self.rate)) / 1000;
        self.offset + Duration::from_micros(u64::try_from(micros).unwrap())
    }
}

enum Letter {
    Ask(RenewalId),
    Granted { renewal: RenewalId, after: u64 },
    RoundEnds { leader: usize, round: u64, acknowledged_at: u64 },
    Commits { leader: usize, term: u64 },
    Settled { leader: usize, index: Option<u64> },
    HolderApplies(u64),
}

pub(super) struct Simulator {
    random: StdRng,
    now: u64,
    clocks: [Clock; 3],
    holder: hold::Holder,
    leaders: [grant::Grantor; 2],
    /// Who led since when, in true time.
    reigns: Vec<(u64, usize)>,
    pub(super) letters_lost: f64,
    letters: Vec<(u64, usize, Letter)>,
    applied_by_holder: u64,
    /// The log: the last index, and the last one that took the holder's lease.
    last_index: u64,
    expiry: u64,
    notices: Vec<(u64, usize, Notice)>,
    /// How long the holder held, how many expiries were committed, for proof that the run was not idle.
    pub(super) held: u64,
    pub(super) expiries: u64,
}

#[derive(Clone, Copy)]
enum Notice {
    Lead(u64),
    FirstEntry(u64),
    StepDown(u64),
}

fn holder_id() -> NodeId {
    "holder".parse().unwrap()
}

impl Simulator {
    pub(super) fn new(mutant: Mutant, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let terms = if mutant == Mutant::TrustsClocks { Terms::trusting_clocks(TTL) } else { Terms::new(TTL) };
        let mut clock = |_| Clock {
            // The worst that is allowed, or anything between.
            rate: *[10_000, -10_000, random.random_range(-10_000..=10_000)].get(random.random_range(0..3)).unwrap(),
            offset: Duration::from_millis(random.random_range(0..1_000_000)),
            paused_until: 0,
        };
        let clocks = [0, 1, 2].map(&mut clock);
        let grantor = |_| {
            let mut grantor = grant::Grantor::new(terms, HEARTBEAT);
            grantor.mutant = mutant;
            grantor.step(Duration::ZERO, grant::Input::Nodes(BTreeSet::from([holder_id()])), &mut Vec::new());
            grantor
        };
        let mut holder = hold::Holder::new(terms, HEARTBEAT, Incarnation(1));
        holder.mutant = mutant;
        Self {
            random,
            now: 0,
            clocks,
            holder,
            leaders: [0, 1].map(grantor),
            reigns: Vec::new(),
            letters_lost: 0.05,
            letters: Vec::new(),
            applied_by_holder: 0,
            last_index: 0,
            expiry: 0,
            notices: Vec::new(),
            held: 0,
            expiries: 0,
        }
    }

    /// Runs for so many milliseconds; the instant of the first violation, if there is one.
    pub(super) fn run(&mut self, milliseconds: u64) -> Option<u64> {
        self.change_leader();
        while self.now < milliseconds {
            if self.random.random_bool(0.0007) {
                self.change_leader();
            }
            if self.random.random_bool(0.0012) {
                let machine = self.random.random_range(0..3);
                self.clocks[machine].paused_until = self.now + self.random.random_range(1..1200);
            }
            self.deliver();
            self.tick();
            let held = self.holder.held(self.clocks[0].read(self.now));
            self.held += u64::from(held);
            if held && self.expiry > self.applied_by_holder {
                return Some(self.now);
            }
            self.now += 1;
        }
        None
    }

    fn led_at(&self, time: u64) -> Option<(usize, u64)> {
        let term = self.reigns.iter().rposition(|(since, _)| *since <= time)?;
        Some((self.reigns[term].1, term as u64))
    }

    fn change_leader(&mut self) {
        let now = self.now;
        let term = self.reigns.len() as u64;
        let next = term as usize % 2;
        self.last_index += 1;
        let index = self.last_index;
        self.reigns.push((now, next));
        self.notices.push((now + 1, next, Notice::Lead(term)));
        let first = now + 1 + self.random.random_range(0..50);
        self.notices.push((first, next, Notice::FirstEntry(index)));
        self.apply_later(index);
        if term > 0 {
            // The old one is the last to know.
            let late = now + self.random.random_range(1..2000);
            self.notices.push((late, 1 - next, Notice::StepDown(term - 1)));
        }
    }

    fn post(&mut self, to: usize, slow: u64, letter: Letter) {
        let delay = if self.random.random_bool(0.1) { slow } else { 10 };
        let at = self.now + 1 + self.random.random_range(0..delay);
        self.letters.push((at, to, letter));
    }

    fn apply_later(&mut self, index: u64) {
        let delay = if self.random.random_bool(0.3) { 1500 } else { 20 };
        let at = self.now + 1 + self.random.random_range(0..delay);
        self.letters.push((at, 0, Letter::HolderApplies(index)));
    }

    fn awake(&self, machine: usize) -> bool {
        self.clocks[machine].paused_until <= self.now
    }

    fn deliver(&mut self) {
        let ready = |clocks: &[Clock; 3], at: u64, to: usize, now: u64| at <= now && clocks[to].paused_until <= now;
        while let Some(at) = self.notices.iter().position(|(at, l, _)| ready(&self.clocks, *at, l + 1, self.now)) {
            let (_, leader, notice) = self.notices.remove(at);
            match notice {
                Notice::Lead(term) => self.lead_step(leader, grant::Input::Lead { term: Term(term) }),
                Notice::FirstEntry(index) => self.lead_step(leader, grant::Input::FirstEntryApplied { index }),
                // Only of the leadership that it is about.
                Notice::StepDown(term) if self.reigns.len() as u64 <= term + 2 => {
                    self.lead_step(leader, grant::Input::StepDown);
                }
                Notice::StepDown(_) => {}
            }
        }
        while let Some(at) = self.letters.iter().position(|(at, to, _)| ready(&self.clocks, *at, *to, self.now)) {
            let (_, to, letter) = self.letters.remove(at);
            self.open(to, letter);
        }
    }

    fn open(&mut self, to: usize, letter: Letter) {
        match letter {
            Letter::Ask(renewal) => self.lead_step(to - 1, grant::Input::Renewal { node: holder_id(), renewal }),
            Letter::Granted { renewal, after } => self.hold_step(hold::Input::Granted { renewal, after }),
            Letter::HolderApplies(index) => {
                // Applied in the order of the log, whichever letter comes first.
                self.applied_by_holder = self.applied_by_holder.max(index);
                let applied = self.applied_by_holder;
                self.hold_step(hold::Input::Applied(applied));
            }
            Letter::RoundEnds { leader, round, acknowledged_at } => {
                let led = self.led_at(acknowledged_at).is_some_and(|(who, _)| who == leader);
                let input = if led { grant::Input::Confirmed { round } } else { grant::Input::Unconfirmed { round } };
                self.lead_step(leader, input);
            }
            Letter::Commits { leader, term } => {
                // The proposal is fenced by its term, and leaders of one machine differ by their term.
                let committed = self.led_at(self.now) == Some((leader, term));
                let index = committed.then(|| {
                    self.last_index += 1;
                    self.expiry = self.last_index;
                    self.expiries += 1;
                    self.last_index
                });
                index.into_iter().for_each(|index| self.apply_later(index));
                if committed {
                    self.post(leader + 1, 100, Letter::Settled { leader, index });
                }
            }
            Letter::Settled { leader, index } => {
                self.lead_step(leader, grant::Input::ExpirySettled { node: holder_id(), applied: index });
            }
        }
    }

    fn tick(&mut self) {
        let due = |deadline: Option<Duration>, clock: &Clock, now| deadline.is_some_and(|d| d <= clock.read(now));
        if self.awake(0) && due(self.holder.deadline(), &self.clocks[0], self.now) {
            self.hold_step(hold::Input::Tick);
        }
        for leader in 0..2 {
            if self.awake(leader + 1) && due(self.leaders[leader].deadline(), &self.clocks[leader + 1], self.now) {
                self.lead_step(leader, grant::Input::Tick);
            }
        }
    }

    fn hold_step(&mut self, input: hold::Input) {
        let mut outputs = Vec::new();
        self.holder.step(self.clocks[0].read(self.now), input, &mut outputs);
        for output in outputs {
            if let hold::Output::Ask(renewal) = output
                && !self.random.random_bool(self.letters_lost)
            {
                // It may also believe in the leader before.
                let believed = if self.random.random_bool(0.8) { self.reigns.len() + 1 } else { self.reigns.len() };
                self.post(believed % 2 + 1, 700, Letter::Ask(renewal));
            }
        }
    }

    fn lead_step(&mut self, leader: usize, input: grant::Input) {
        let mut outputs = Vec::new();
        self.leaders[leader].step(self.clocks[leader + 1].read(self.now), input, &mut outputs);
        for output in outputs {
            match output {
                grant::Output::ConfirmQuorum { round } => {
                    let took = self.random.random_range(1..30);
                    let acknowledged_at = self.now + self.random.random_range(0..=took);
                    let end = Letter::RoundEnds { leader, round, acknowledged_at };
                    self.letters.push((self.now + took, leader + 1, end));
                }
                grant::Output::Grant { renewal, after, .. } => {
                    if !self.random.random_bool(self.letters_lost) {
                        self.post(0, 700, Letter::Granted { renewal, after });
                    }
                }
                grant::Output::Expire { term, .. } => {
                    self.post(leader + 1, 100, Letter::Commits { leader, term: term.0 });
                }
                grant::Output::Refuse { .. } => {}
            }
        }
    }
}
