//! Five copies, whose questions and answers are late, lost or cut short, on one record: what was acknowledged is never
//! lost, and reads never go back.

use std::collections::BTreeMap;

use bytes::Bytes;
use ha_cluster::NodeId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::round::{Peeked, Round, Standing, majority, read, replaced, write};
use super::siblings::Siblings;
use crate::Version;

const COPIES: usize = 5;

/// How the product is broken on purpose.
#[derive(Clone, Copy, PartialEq)]
enum Mutant {
    None,
    NoVersionRead,
    NoReadRepair,
}

/// A read or a write under way.
struct Call {
    node: usize,
    /// What is written; `None` for a read.
    data: Option<Option<Bytes>>,
    began: usize,
    /// Copies that have not answered yet.
    open: Vec<usize>,
    round: Round<Peeked>,
    /// What the copies are to keep, in the second part.
    keeps: Option<Siblings>,
    version: Option<Version>,
}

/// A call that has ended well.
struct Done {
    began: usize,
    ended: usize,
    /// Of a write.
    version: Option<Version>,
    state: Siblings,
}

struct World {
    rng: StdRng,
    mutant: Mutant,
    step: usize,
    copies: Vec<Siblings>,
    clocks: Vec<u64>,
    offsets: Vec<u64>,
    calls: Vec<Call>,
    done: Vec<Done>,
}

fn id(copy: usize) -> NodeId {
    format!("n{copy}").parse().unwrap()
}

impl World {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let offsets = (0..COPIES).map(|_| rng.random_range(0..400)).collect();
        let (copies, clocks) = (vec![Siblings::default(); COPIES], vec![0; COPIES]);
        Self { rng, mutant, step: 0, copies, clocks, offsets, calls: Vec::new(), done: Vec::new() }
    }

    fn begin(&mut self) {
        let node = self.rng.random_range(0..COPIES);
        let data = match self.rng.random_range(0..10_u32) {
            0..5 => None,
            5 => Some(None),
            _ => Some(Some(Bytes::from(self.step.to_string()))),
        };
        // Writes of one record by one node follow one another.
        if data.is_some() && self.calls.iter().any(|call| call.node == node && call.data.is_some()) {
            return;
        }
        let round = Round::new(COPIES, majority(COPIES));
        let open = (0..COPIES).collect();
        self.calls.push(Call { node, data, began: self.step, open, round, keeps: None, version: None });
        if self.mutant == Mutant::NoVersionRead && self.calls.last().is_some_and(|call| call.data.is_some()) {
            let last = self.calls.len() - 1;
            self.keep(last, Siblings::default());
        }
    }

    /// The second part of a write.
    fn keep(&mut self, call: usize, found: Siblings) {
        let node = self.calls[call].node;
        let (clock, now) = (&mut self.clocks[node], self.step as u64 + self.offsets[node]);
        let stamp = |time: u64| {
            *clock = now.max(time + 1).max(*clock + 1);
            Version { time: *clock, tie: Version::STAMPED | node as u64 }
        };
        let data = self.calls[call].data.clone().flatten();
        let (version, state) = write(found, data, stamp);
        // Its own copy knows it at once.
        self.copies[node] = self.copies[node].clone().join(state.clone());
        let call = &mut self.calls[call];
        (call.version, call.keeps) = (Some(version), Some(state));
        call.round = Round::new(COPIES, majority(COPIES));
        call.open = (0..COPIES).collect();
    }

    /// A copy is reached, or not.
    fn deliver(&mut self, index: usize) {
        let call = &mut self.calls[index];
        if call.open.is_empty() {
            // It has been waiting for copies that never answered.
            self.calls.swap_remove(index);
            return;
        }
        let copy = call.open.swap_remove(self.rng.random_range(0..call.open.len()));
        let lost = self.rng.random_bool(0.25);
        let answer = if lost {
            // The question was lost, or the answer.
            if let Some(state) = call.keeps.as_ref().filter(|_| self.rng.random_bool(0.5)) {
                self.copies[copy] = self.copies[copy].clone().join(state.clone());
            }
            Err("lost".to_owned())
        } else if let Some(state) = &call.keeps {
            self.copies[copy] = self.copies[copy].clone().join(state.clone());
            Ok(Peeked { state: Siblings::default(), is_stored: true })
        } else {
            Ok(Peeked { state: self.copies[copy].clone(), is_stored: true })
        };
        match call.round.step(id(copy), answer) {
            Standing::Open => {}
            Standing::TooFew => drop(self.calls.swap_remove(index)),
            Standing::Enough => self.enough(index),
        }
    }

    fn enough(&mut self, index: usize) {
        let call = &mut self.calls[index];
        if let Some(state) = call.keeps.clone() {
            let Call { began, version, .. } = self.calls.swap_remove(index);
            return self.end(Done { began, ended: self.step, version, state });
        }
        let answers = std::mem::replace(&mut call.round, Round::new(0, 0)).into_given();
        if call.data.is_some() {
            return self.keep(index, replaced(answers));
        }
        let reading = read(answers);
        let needed = majority(COPIES);
        if reading.held_by.len() >= needed || self.mutant == Mutant::NoReadRepair {
            let began = self.calls.swap_remove(index).began;
            return self.end(Done { began, ended: self.step, version: None, state: reading.state });
        }
        let call = &mut self.calls[index];
        call.open = (0..COPIES).filter(|copy| !reading.held_by.contains(&id(*copy))).collect();
        call.round = Round::new(call.open.len(), needed - reading.held_by.len());
        call.keeps = Some(reading.state);
    }

    fn end(&mut self, done: Done) {
        self.done.push(done);
    }

    fn run(&mut self) {
        for step in 1..400 {
            self.step = step;
            match self.rng.random_range(0..20_u32) {
                0..3 => self.begin(),
                3 if !self.calls.is_empty() => {
                    // Whoever asked has died.
                    let index = self.rng.random_range(0..self.calls.len());
                    self.calls.swap_remove(index);
                }
                4 => {
                    // Two copies are compared.
                    let (one, other) = (self.rng.random_range(0..COPIES), self.rng.random_range(0..COPIES));
                    self.copies[one] = self.copies[one].clone().join(self.copies[other].clone());
                }
                _ if !self.calls.is_empty() => {
                    let index = self.rng.random_range(0..self.calls.len());
                    self.deliver(index);
                }
                _ => {}
            }
        }
        let end = self.copies.iter().fold(Siblings::default(), |all, copy| all.join(copy.clone()));
        self.done.push(Done { began: 400, ended: 401, version: None, state: end });
    }

    /// What was promised and not kept.
    fn broken(&self) -> Option<String> {
        let versions: BTreeMap<Version, &Done> =
            self.done.iter().filter_map(|done| Some((done.version?, done))).collect();
        for later in &self.done {
            for before in self.done.iter().filter(|before| before.ended < later.began) {
                let both = later.state.clone().join(before.state.clone());
                if both != later.state {
                    return Some(format!("{:?} came after {:?} and does not know it", later.state, before.state));
                }
            }
            // A value that was there when a later write began, and both were acknowledged, is replaced.
            for (version, _) in later.state.values() {
                let Some(written) = versions.get(version) else { continue };
                let replaces =
                    |done: &&Done| done.version.is_some() && done.began > written.ended && done.ended < later.began;
                if self.done.iter().any(|done| replaces(&done)) {
                    return Some(format!("{version} was replaced, and is read again"));
                }
            }
        }
        None
    }
}

fn first_broken(mutant: Mutant, seeds: std::ops::Range<u64>) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| {
        let mut world = World::new(seed, mutant);
        world.run();
        Some(seed).zip(world.broken())
    })
}

#[test]
fn every_read_knows_all_that_was_acknowledged_or_read_before() {
    assert_eq!(first_broken(Mutant::None, 0..400), None);
}

#[test]
fn a_write_that_does_not_ask_what_it_replaces_is_noticed() {
    assert!(first_broken(Mutant::NoVersionRead, 0..400).is_some());
}

#[test]
fn a_read_that_does_not_repair_is_noticed() {
    assert!(first_broken(Mutant::NoReadRepair, 0..400).is_some());
}
