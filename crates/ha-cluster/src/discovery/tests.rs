//! Plays in a world where names resolve and addresses answer as the test wants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ha_net::{Address, Incarnation, Introduction, NodeId, Refusal, RefusalCode};

use super::*;
use crate::Seed;

const HEARTBEAT: Duration = Duration::from_secs(5);
const LATENCY: Duration = Duration::from_millis(3);

struct World {
    now: Duration,
    discovery: Discovery,
    names: BTreeMap<String, Result<Vec<SocketAddr>, String>>,
    places: BTreeMap<Address, Greeting>,
    /// Results that never come.
    swallow: bool,
    results: Vec<(Duration, Input)>,
    said: Vec<String>,
    greeted: Vec<(Duration, Address)>,
    resolved: Vec<Duration>,
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn introduction(node: &str, incarnation: u64) -> Introduction {
    Introduction {
        cluster_name: "c".to_owned(),
        cluster_id: None,
        generation: 0,
        node_id: node.parse().unwrap(),
        incarnation: Incarnation(incarnation),
        address: address("x:1"),
        claims: BTreeMap::new(),
    }
}

fn found(node: &str) -> Greeting {
    Greeting::Found(introduction(node, 1))
}

fn addresses(list: &[&str]) -> Result<Vec<SocketAddr>, String> {
    Ok(list.iter().map(|text| text.parse().unwrap()).collect())
}

impl World {
    fn new(seeds: &[&str]) -> Self {
        let seeds: Vec<Seed> = seeds.iter().map(|seed| seed.parse().unwrap()).collect();
        let me = ("node-1".parse().unwrap(), Incarnation(4));
        let now = Duration::from_secs(77);
        Self {
            now,
            discovery: Discovery::new(Config::new(HEARTBEAT), me, address("me:1"), &seeds, now, 5),
            names: BTreeMap::new(),
            places: BTreeMap::new(),
            swallow: false,
            results: Vec::new(),
            said: Vec::new(),
            greeted: Vec::new(),
            resolved: Vec::new(),
        }
    }

    fn place(mut self, at: &str, greeting: Greeting) -> Self {
        self.places.insert(address(at), greeting);
        self
    }

    fn name(mut self, name: &str, result: Result<Vec<SocketAddr>, String>) -> Self {
        self.names.insert(name.to_owned(), result);
        self
    }

    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.discovery.step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Say(sentence) => self.said.push(sentence),
                Output::Resolve(seed) => {
                    self.resolved.push(self.now);
                    let result = self.names.get(&seed.to_string()).cloned();
                    let result = result.unwrap_or_else(|| Err("no such name".to_owned()));
                    self.results.push((self.now + LATENCY, Input::Resolved { seed, result }));
                }
                Output::Greet(address) => {
                    self.greeted.push((self.now, address.clone()));
                    let result = self.places.get(&address).cloned();
                    let result = result.unwrap_or_else(|| Greeting::Unreachable("connection refused".to_owned()));
                    self.results.push((self.now + LATENCY, Input::Greeted { address, result }));
                }
            }
        }
        if self.swallow {
            self.results.clear();
        }
        assert!(self.discovery.deadline().is_none_or(|at| at > self.now), "whatever is due is done");
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.step(Input::Timer);
        loop {
            self.results.sort_by_key(|(at, _)| *at);
            let result = self.results.first().map(|(at, _)| *at);
            let Some(at) = [result, self.discovery.deadline()].into_iter().flatten().min().filter(|at| *at <= end)
            else {
                break;
            };
            self.now = at;
            let input = if result == Some(at) { self.results.remove(0).1 } else { Input::Timer };
            self.step(input);
        }
        self.now = end;
    }

    fn nodes(&self) -> Vec<String> {
        self.discovery.listed().nodes().into_iter().map(NodeId::to_string).collect()
    }

    fn pauses(&self, at: &str) -> Vec<Duration> {
        let times: Vec<_> = self.greeted.iter().filter(|(_, to)| *to == address(at)).map(|(at, _)| *at).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

#[test]
fn seeds_are_greeted_at_once_and_found() {
    let mut world = World::new(&["a:1", "b:1"]).place("a:1", found("node-2")).place("b:1", found("node-3"));
    world.run(LATENCY);
    assert_eq!(world.nodes(), ["node-2", "node-3"]);
    assert_eq!(world.said, ["a:1 is node-2", "b:1 is node-3"]);
    assert_eq!(world.discovery.waiting_for(), None);
    let listed = world.discovery.listed();
    assert_eq!((listed.places(), listed.unresolved, listed.has_myself()), (2, 0, false));
}

#[test]
fn a_seed_that_is_another_service_is_told_from_one_that_is_silent() {
    let mut world = World::new(&["a:1"]).place("a:1", Greeting::NotANode("frame size too big".to_owned()));
    world.run(Duration::from_secs(60));
    let sentence =
        "what answers at a:1 is no node (frame size too big): a seed is the CLUSTER_PORT of a node, not its HTTP port";
    assert_eq!(
        (world.said.as_slice(), world.discovery.waiting_for()),
        ([sentence.to_owned()].as_slice(), Some(sentence.to_owned()))
    );
}

/// T49: all seeds are down at first, then one returns.
#[test]
fn attempts_become_rarer_and_never_end() {
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.run(Duration::from_secs(600));
    assert_eq!(world.said.len(), 3, "each reason is said once, not with each attempt: {:?}", world.said);
    assert_eq!(world.said[0], "nobody answers at a:1: connection refused");
    assert_eq!(
        world.discovery.waiting_for().unwrap(),
        "no other node was found at any of 3 addresses; for one, nobody answers at a:1: connection refused"
    );
    let pauses = world.pauses("a:1");
    assert!(pauses[0] < Duration::from_millis(110) && pauses[1] > pauses[0] / 2);
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(5) + LATENCY));
    assert!(pauses[8..].iter().all(|pause| *pause >= Duration::from_millis(2_400)));
    assert_ne!(world.pauses("a:1"), world.pauses("b:1"), "they drift apart");
    assert!(world.greeted.len() < 3 * 250);

    world.places.insert(address("b:1"), found("node-3"));
    world.run(Duration::from_secs(5));
    assert_eq!(world.nodes(), ["node-3"]);
    assert_eq!(world.discovery.waiting_for(), None);
}

/// T49: a seed is this node itself.
#[test]
fn a_node_knows_itself_in_the_list() {
    let mut world = World::new(&["me:1", "alias:1"]).place("alias:1", Greeting::Found(introduction("node-1", 4)));
    world.run(HEARTBEAT);
    assert!(world.greeted.iter().all(|(_, to)| *to != address("me:1")), "its own address needs no greeting");
    assert_eq!(world.said, ["alias:1 is this node itself"]);
    let listed = world.discovery.listed();
    assert_eq!((listed.places(), listed.addresses.len(), listed.has_myself()), (1, 2, true));
    assert_eq!(world.discovery.waiting_for().unwrap(), "the only seed is this node itself: list the other nodes too");
    let report = world.discovery.report();
    assert_eq!(report[0].outcome, "me:1 is this node itself");
    assert_eq!(report[0].attempts, 0);
    assert!(report[1].attempts > 0);
}

#[test]
fn no_seeds_is_said() {
    let mut world = World::new(&[]);
    world.run(HEARTBEAT);
    assert_eq!(world.discovery.deadline(), None);
    assert_eq!(world.discovery.waiting_for().unwrap(), "no seeds are listed: other nodes must find this one");
}

#[test]
fn another_process_with_this_nodes_id_is_named() {
    let mut world = World::new(&["a:1"]).place("a:1", Greeting::Found(introduction("node-1", 9)));
    world.run(HEARTBEAT);
    let sentence = "another process, at a:1, uses this node's own id node-1, in its life 9: give each node an id and a \
                    data directory of its own";
    assert_eq!(world.said, [sentence]);
    assert_eq!(world.discovery.waiting_for().unwrap(), sentence);
    assert_eq!(world.discovery.listed().addresses[&address("a:1")], Behind::Unknown);
}

#[test]
fn a_refusal_is_said_with_its_reason() {
    let refusal = Refusal { code: RefusalCode::ClusterName, message: "its cluster is called \"other\"".to_owned() };
    let mut world = World::new(&["a:1"]).place("a:1", Greeting::Refused(refusal));
    world.run(HEARTBEAT);
    assert_eq!(world.said, ["a:1 and this node do not belong together: its cluster is called \"other\""]);
    assert_eq!(world.discovery.listed().addresses[&address("a:1")], Behind::Unknown);
}

#[test]
fn a_node_that_was_found_stays_known_while_it_is_away() {
    let mut world = World::new(&["a:1"]).place("a:1", found("node-2"));
    world.run(HEARTBEAT);
    world.places.clear();
    world.run(HEARTBEAT * 2);
    let behind = Behind::Node { node_id: "node-2".parse().unwrap(), reachable: false };
    assert_eq!(world.discovery.listed().addresses[&address("a:1")], behind);
    assert_eq!(world.discovery.waiting_for().unwrap(), "nobody answers at a:1: connection refused");
    world.places.insert(address("a:1"), Greeting::Myself);
    world.run(HEARTBEAT * 2);
    assert_eq!(world.discovery.listed().addresses[&address("a:1")], Behind::Myself);
}

#[test]
fn a_member_greets_now_and_then() {
    let mut world = World::new(&["a:1", "dns:n:1"]).place("a:1", found("node-2"));
    world.run(HEARTBEAT);
    world.step(Input::Member(true));
    world.greeted.clear();
    world.resolved.clear();
    world.run(Duration::from_secs(3_000));
    let greeted = world.greeted.len();
    assert!((100..=205).contains(&greeted), "each 15 to 30 s: {greeted}");
    assert!((100..=205).contains(&world.resolved.len()));
    world.step(Input::Member(false));
    world.greeted.clear();
    world.run(HEARTBEAT);
    assert!(!world.greeted.is_empty(), "at once when it is cast out");
}

#[test]
fn a_name_stands_for_all_its_addresses() {
    let both = addresses(&["10.0.0.1:1", "10.0.0.2:1", "[::ffff:10.0.0.2]:1"]);
    let mut world = World::new(&["dns:n:1"])
        .name("dns:n:1", both)
        .place("10.0.0.1:1", Greeting::Myself)
        .place("10.0.0.2:1", found("node-2"));
    assert_eq!(world.discovery.listed().unresolved, 1);
    world.run(LATENCY * 2);
    assert_eq!(world.nodes(), ["node-2"]);
    let listed = world.discovery.listed();
    assert_eq!((listed.places(), listed.addresses.len(), listed.unresolved), (2, 2, 0));
    assert_eq!(world.said[0], "dns:n:1 resolves to 10.0.0.1:1, 10.0.0.2:1");
    let report = &world.discovery.report()[0];
    assert_eq!((report.outcome.as_str(), report.attempts), (world.said[0].as_str(), 1));
    assert_eq!(report.addresses[1].outcome, "10.0.0.2:1 is node-2");
}

/// T51: one node with an IPv4 and an IPv6 address is one node.
#[test]
fn two_addresses_of_one_node_are_one_place() {
    let mut world = World::new(&["dns:n:1"])
        .name("dns:n:1", addresses(&["10.0.0.2:1", "[fd00::2]:1"]))
        .place("10.0.0.2:1", found("node-2"))
        .place("[fd00::2]:1", found("node-2"));
    world.run(LATENCY * 2);
    assert_eq!(world.discovery.listed().places(), 1);
}

/// T51: the set behind a name changes.
#[test]
fn addresses_come_and_go_with_the_name() {
    let mut world = World::new(&["dns:n:1", "10.0.0.3:1"])
        .name("dns:n:1", addresses(&["10.0.0.1:1", "10.0.0.3:1"]))
        .place("10.0.0.2:1", found("node-2"));
    world.run(HEARTBEAT);
    world.names.insert("dns:n:1".to_owned(), addresses(&["10.0.0.2:1"]));
    world.run(HEARTBEAT);
    let listed = world.discovery.listed();
    let addresses: Vec<_> = listed.addresses.keys().map(Address::to_string).collect();
    assert_eq!(addresses, ["10.0.0.2:1", "10.0.0.3:1"], "one gone, one new, one still listed by itself");
    assert_eq!(world.nodes(), ["node-2"]);
}

/// T51: NXDOMAIN, before and after it resolved.
#[test]
fn a_name_that_does_not_resolve_keeps_its_last_addresses() {
    let mut world = World::new(&["dns:n:1"]);
    world.run(HEARTBEAT);
    assert_eq!(world.said, ["dns:n:1 does not resolve: no such name"]);
    assert_eq!(world.discovery.waiting_for().unwrap(), "dns:n:1 does not resolve: no such name");
    assert_eq!(world.discovery.listed().unresolved, 1);
    assert!((3..20).contains(&world.resolved.len()), "with growing pauses: {}", world.resolved.len());

    world.places.insert(address("10.0.0.2:1"), found("node-2"));
    world.names.insert("dns:n:1".to_owned(), addresses(&["10.0.0.2:1"]));
    world.run(HEARTBEAT * 2);
    assert_eq!(world.nodes(), ["node-2"]);
    for failure in [Err("server failure".to_owned()), Ok(Vec::new())] {
        world.names.insert("dns:n:1".to_owned(), failure);
        world.run(HEARTBEAT * 2);
        assert_eq!(world.nodes(), ["node-2"]);
        assert_eq!(world.discovery.listed().unresolved, 0);
    }
    assert!(
        world.said.contains(&"dns:n:1 does not resolve now: server failure; the 1 found before are kept".to_owned())
    );
    assert!(
        world
            .said
            .contains(&"dns:n:1 does not resolve now: it has no addresses; the 1 found before are kept".to_owned())
    );
}

/// T51: a lookup or a greeting that takes for ever holds nothing else up, and is tried again.
#[test]
fn results_that_never_come_hold_nothing_up() {
    let mut world = World::new(&["dns:n:1", "a:1"]);
    world.swallow = true;
    world.run(Duration::from_secs(29));
    assert_eq!((world.resolved.len(), world.greeted.len()), (1, 1), "one at a time");
    world.run(Duration::from_secs(40));
    assert_eq!(
        world.said,
        ["dns:n:1 does not resolve: the lookup never ended", "nobody answers at a:1: the greeting never ended"]
    );
    assert!(world.resolved.len() > 1 && world.greeted.len() > 1);
}

#[test]
fn a_slow_name_does_not_delay_other_seeds() {
    let mut world = World::new(&["dns:n:1", "a:1"]).place("a:1", found("node-2"));
    let mut out = Vec::new();
    world.discovery.step(world.now, Input::Timer, &mut out);
    assert_eq!(out, [Output::Resolve("dns:n:1".parse().unwrap()), Output::Greet(address("a:1"))]);
}

#[test]
fn results_that_nobody_asked_for_change_nothing() {
    let mut world = World::new(&["a:1", "dns:n:1"]);
    world.swallow = true;
    world.run(LATENCY);
    world.step(Input::Greeted { address: address("b:1"), result: found("node-2") });
    world.step(Input::Resolved { seed: "dns:m:1".parse().unwrap(), result: addresses(&["10.0.0.2:1"]) });
    world.step(Input::Resolved { seed: "a:1".parse().unwrap(), result: addresses(&["10.0.0.2:1"]) });
    assert!(world.said.is_empty());
    let listed = world.discovery.listed();
    assert_eq!((listed.addresses.len(), listed.unresolved), (1, 1));
}

#[test]
fn greetings_and_addresses_are_bounded() {
    let many: Vec<SocketAddr> = (0..100).map(|host| SocketAddr::from(([10, 0, 0, host], 1))).collect();
    let mut world = World::new(&["dns:n:1", "dns:n:1", "dns:m:1"]).name("dns:n:1", Ok(many));
    world.swallow = true;
    world.run(Duration::ZERO);
    assert_eq!(world.resolved.len(), 2, "a seed that is listed twice counts once");
    let result = world.names["dns:n:1"].clone();
    world.step(Input::Resolved { seed: "dns:n:1".parse().unwrap(), result });
    assert_eq!(world.discovery.listed().addresses.len(), 64);
    assert!(world.said[0].ends_with(" and 36 more, which are left out"));
    assert_eq!(world.greeted.len(), 16);
    world.step(Input::Greeted { address: address("10.0.0.0:1"), result: found("node-2") });
    assert_eq!(world.greeted.len(), 17, "the next one has its turn");
    world.swallow = false;
    world.run(Duration::from_secs(60));
    assert_eq!(world.greeted.iter().map(|(_, to)| to).collect::<std::collections::BTreeSet<_>>().len(), 64);
}

#[test]
fn one_seed_is_one_history() {
    let history = || {
        let mut world = World::new(&["a:1", "b:1", "dns:n:1"]);
        world.run(Duration::from_secs(60));
        (world.greeted, world.resolved)
    };
    assert_eq!(history(), history());
}
