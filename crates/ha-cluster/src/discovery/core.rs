//! The core: what to look up and whom to greet, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use ha_net::{Address, Incarnation, NodeId};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::pace::Pace;
use super::place::{Attempts, Name, Outcome, Place};
use super::{AddressReport, Behind, Config, Greeting, Listed, SeedReport};
use crate::Seed;

/// Greetings under way at once.
const GREETINGS_MAX: usize = 16;
/// Addresses taken from one name; any further ones are left out, in the order of addresses.
const ADDRESSES_PER_NAME_MAX: usize = 64;
/// Wait for a result before it is taken for lost. Longer than any lookup or greeting takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something happened. With each input, everything that is due by then is done as well.
#[derive(Clone, Debug)]
pub enum Input {
    /// What came of [`Output::Resolve`]: the addresses, or why there are none.
    Resolved {
        /// Which seed.
        seed: Seed,
        /// Its addresses.
        result: Result<Vec<SocketAddr>, String>,
    },
    /// What came of [`Output::Greet`].
    Greeted {
        /// Which address.
        address: Address,
        /// What came of it.
        result: Greeting,
    },
    /// Whether this node belongs to a cluster, from now on.
    Member(bool),
    /// Nothing happened, but the deadline has come.
    Timer,
}

/// Something to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Look up the addresses behind this seed, beside everything else, and bring the result back.
    Resolve(Seed),
    /// Greet this address, beside everything else, and bring the result back.
    Greet(Address),
    /// A sentence for the log.
    Say(String),
}

/// Finds nodes through seeds.
pub struct Discovery {
    pace: Pace,
    me: (NodeId, Incarnation),
    own: Address,
    seeds: Vec<Seed>,
    names: BTreeMap<String, Name>,
    places: BTreeMap<Address, Place>,
    is_member: bool,
    random: StdRng,
}

impl Discovery {
    /// Nothing is known yet. `own` is where other nodes dial this one; `now` is the time since any fixed instant, the
    /// same for all calls.
    pub fn new(
        config: Config,
        me: (NodeId, Incarnation),
        own: Address,
        seeds: &[Seed],
        now: Duration,
        seed: u64,
    ) -> Self {
        let mut discovery = Self {
            pace: Pace::from(config),
            me,
            own,
            seeds: Vec::new(),
            names: BTreeMap::new(),
            places: BTreeMap::new(),
            is_member: false,
            random: StdRng::seed_from_u64(seed),
        };
        for seed in seeds {
            if discovery.seeds.contains(seed) {
                continue;
            }
            discovery.seeds.push(seed.clone());
            if let Seed::Dns { .. } = seed {
                let name = Name {
                    attempts: Attempts::from(now),
                    addresses: BTreeSet::new(),
                    resolved_once: false,
                    sentence: format!("{seed} has not been looked up yet"),
                };
                discovery.names.insert(seed.to_string(), name);
            }
        }
        discovery.follow_list(now);
        discovery
    }

    /// When to call [`Self::step`] at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        let greetings_full = self.greetings_under_way() >= GREETINGS_MAX;
        let places = self
            .places
            .iter()
            .filter(|(address, place)| **address != self.own && (place.attempts.under_way || !greetings_full));
        let places = places.map(|(_, place)| place.attempts.next);
        self.names.values().map(|name| name.attempts.next).chain(places).min()
    }

    /// Takes an input in, and does all that is due.
    pub fn step(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Resolved { seed, result } => self.resolved(now, &seed, result, out),
            Input::Greeted { address, result } => self.greeted(now, address, result, out),
            Input::Member(is_member) => self.set_member(now, is_member),
            Input::Timer => {}
        }
        self.look_up(now, out);
        self.greet(now, out);
    }

    /// Every listed address and who is behind it.
    pub fn listed(&self) -> Listed {
        let behind = |place: &Place| match (&place.outcome, &place.node_id) {
            (Outcome::Myself, _) => Behind::Myself,
            (outcome, Some(node_id)) => {
                Behind::Node { node_id: node_id.clone(), reachable: matches!(outcome, Outcome::Found { .. }) }
            }
            (_, None) => Behind::Unknown,
        };
        Listed {
            addresses: self.places.iter().map(|(address, place)| (address.clone(), behind(place))).collect(),
            unresolved: self.names.values().filter(|name| !name.resolved_once).count(),
        }
    }

    /// Every seed and how it went, for people.
    pub fn report(&self) -> Vec<SeedReport> {
        let report = |seed: &Seed| match (seed, self.names.get(&seed.to_string())) {
            (Seed::Address(address), _) => {
                let own = self.address_report(address);
                SeedReport {
                    seed: seed.to_string(),
                    outcome: own.outcome.clone(),
                    attempts: own.attempts,
                    addresses: vec![own],
                }
            }
            (Seed::Dns { .. }, name) => SeedReport {
                seed: seed.to_string(),
                outcome: name.map(|name| name.sentence.clone()).unwrap_or_default(),
                attempts: name.map_or(0, |name| name.attempts.count),
                addresses: name.iter().flat_map(|n| &n.addresses).map(|a| self.address_report(a)).collect(),
            },
        };
        self.seeds.iter().map(report).collect()
    }

    /// Why no other node was found so far, as one sentence; `None` when one was.
    pub fn waiting_for(&self) -> Option<String> {
        let found = |place: &Place| matches!(place.outcome, Outcome::Found { .. });
        if self.places.values().any(found) {
            return None;
        }
        let others: Vec<_> = self.places.iter().filter(|(_, place)| place.outcome != Outcome::Myself).collect();
        let failed_name = self.names.values().find(|name| name.attempts.failures > 0 || !name.resolved_once);
        Some(match (others.as_slice(), failed_name) {
            _ if self.seeds.is_empty() => "no seeds are listed: other nodes must find this one".to_owned(),
            ([], Some(name)) => name.sentence.clone(),
            ([], None) => "the only seed is this node itself: list the other nodes too".to_owned(),
            ([(address, place)], _) => place.outcome.sentence(address),
            (others, _) => {
                let untried = |outcome: &Outcome| *outcome == Outcome::Untried;
                let shown = others.iter().find(|(_, place)| !untried(&place.outcome)).unwrap_or(&others[0]);
                let sentence = shown.1.outcome.sentence(shown.0);
                format!("no other node was found at any of {} addresses; for one, {sentence}", others.len())
            }
        })
    }

    fn address_report(&self, address: &Address) -> AddressReport {
        let place = self.places.get(address);
        AddressReport {
            address: address.to_string(),
            outcome: place.map_or(&Outcome::Untried, |place| &place.outcome).sentence(address),
            attempts: place.map_or(0, |place| place.attempts.count),
            node_id: place.and_then(|place| place.node_id.clone()),
        }
    }

    fn greetings_under_way(&self) -> usize {
        self.places.values().filter(|place| place.attempts.under_way).count()
    }

    /// Brings the places in line with the addresses that are listed now.
    fn follow_list(&mut self, now: Duration) {
        let single = self.seeds.iter().filter_map(|seed| match seed {
            Seed::Address(address) => Some(address),
            Seed::Dns { .. } => None,
        });
        let behind_names = self.names.values().flat_map(|name| &name.addresses);
        let listed: BTreeSet<Address> = single.chain(behind_names).cloned().collect();
        self.places.retain(|address, _| listed.contains(address));
        for address in listed {
            let outcome = if address == self.own { Outcome::Myself } else { Outcome::Untried };
            let place = Place { outcome, attempts: Attempts::from(now), node_id: None };
            self.places.entry(address).or_insert(place);
        }
    }

    fn resolved(&mut self, now: Duration, seed: &Seed, result: Result<Vec<SocketAddr>, String>, out: &mut Vec<Output>) {
        let Some(name) = self.names.get_mut(&seed.to_string()).filter(|name| name.attempts.under_way) else {
            return;
        };
        let canonical = |found: SocketAddr| SocketAddr::new(found.ip().to_canonical(), found.port());
        let result = result.and_then(|found| match found.len() {
            0 => Err("it has no addresses".to_owned()),
            _ => Ok(found.into_iter().map(canonical).collect::<BTreeSet<_>>()),
        });
        name.attempts.end(result.is_ok());
        let sentence = match result {
            Ok(found) => {
                let all = found.len();
                name.addresses = found.into_iter().take(ADDRESSES_PER_NAME_MAX).map(Address::from).collect();
                name.resolved_once = true;
                let listed: Vec<_> = name.addresses.iter().map(Address::to_string).collect();
                let left_out = match all - listed.len() {
                    0 => String::new(),
                    rest => format!(" and {rest} more, which are left out"),
                };
                format!("{seed} resolves to {}{left_out}", listed.join(", "))
            }
            Err(reason) if name.addresses.is_empty() => format!("{seed} does not resolve: {reason}"),
            Err(reason) => {
                let kept = name.addresses.len();
                format!("{seed} does not resolve now: {reason}; the {kept} found before are kept")
            }
        };
        name.attempts.next = now + self.pace.pause(name.attempts.failures, self.is_member, &mut self.random);
        if name.sentence != sentence {
            name.sentence.clone_from(&sentence);
            out.push(Output::Say(sentence));
        }
        self.follow_list(now);
    }

    fn greeted(&mut self, now: Duration, address: Address, result: Greeting, out: &mut Vec<Output>) {
        let Some(place) = self.places.get_mut(&address).filter(|place| place.attempts.under_way) else {
            return;
        };
        let outcome = match result {
            Greeting::Found(other) if other.node_id != self.me.0 => Outcome::Found { node_id: other.node_id },
            Greeting::Found(other) if other.incarnation == self.me.1 => Outcome::Myself,
            Greeting::Found(other) => Outcome::Twin { node_id: other.node_id, incarnation: other.incarnation },
            Greeting::Myself => Outcome::Myself,
            Greeting::Unreachable(reason) => Outcome::Unreachable { reason },
            Greeting::NotANode(reason) => Outcome::NotANode { reason },
            Greeting::Refused(refusal) => Outcome::Refused { message: refusal.message },
        };
        place.attempts.end(outcome.is_good());
        place.attempts.next = now + self.pace.pause(place.attempts.failures, self.is_member, &mut self.random);
        match &outcome {
            Outcome::Found { node_id } => place.node_id = Some(node_id.clone()),
            // Whoever was there before is there no more.
            Outcome::Myself | Outcome::NotANode { .. } | Outcome::Refused { .. } | Outcome::Twin { .. } => {
                place.node_id = None;
            }
            Outcome::Unreachable { .. } | Outcome::Untried => {}
        }
        if place.outcome != outcome {
            out.push(Output::Say(outcome.sentence(&address)));
            place.outcome = outcome;
        }
    }

    fn set_member(&mut self, now: Duration, is_member: bool) {
        if self.is_member == is_member {
            return;
        }
        self.is_member = is_member;
        let attempts = self.names.values_mut().map(|name| &mut name.attempts);
        for attempts in attempts.chain(self.places.values_mut().map(|place| &mut place.attempts)) {
            if !attempts.under_way {
                // Who was cast out starts over; who came in has time.
                attempts.failures = attempts.failures.min(1);
                attempts.next = now + self.pace.pause(1, is_member, &mut self.random);
            }
        }
    }

    fn look_up(&mut self, now: Duration, out: &mut Vec<Output>) {
        let due: Vec<_> = self.seeds.iter().filter(|seed| matches!(seed, Seed::Dns { .. })).cloned().collect();
        for seed in due {
            let Some(name) = self.names.get_mut(&seed.to_string()).filter(|name| name.attempts.next <= now) else {
                continue;
            };
            if name.attempts.under_way {
                self.resolved(now, &seed, Err("the lookup never ended".to_owned()), out);
            } else {
                name.attempts.begin(now, PATIENCE);
                out.push(Output::Resolve(seed));
            }
        }
    }

    fn greet(&mut self, now: Duration, out: &mut Vec<Output>) {
        let due = |place: &Place| place.attempts.next <= now;
        let lost: Vec<_> = self.places.iter().filter(|(_, place)| due(place) && place.attempts.under_way).collect();
        for address in lost.into_iter().map(|(address, _)| address.clone()).collect::<Vec<_>>() {
            self.greeted(now, address, Greeting::Unreachable("the greeting never ended".to_owned()), out);
        }
        let room = GREETINGS_MAX.saturating_sub(self.greetings_under_way());
        let own = &self.own;
        let waiting = |(address, place): &(&Address, &mut Place)| due(place) && *address != own;
        let mut waiting: Vec<_> = self.places.iter_mut().filter(waiting).collect();
        // The one that has waited longest first.
        waiting.sort_by_key(|(_, place)| place.attempts.next);
        for (address, place) in waiting.into_iter().take(room) {
            place.attempts.begin(now, PATIENCE);
            out.push(Output::Greet(address.clone()));
        }
    }
}
