//! What the cores make of faults, each as a short play.

use std::time::Duration;

use ha_cluster::NodeId;
use proptest::prelude::*;

use super::World;
use super::node::Manners;
use crate::config::{Config, Failback, Mode, Strategy as Lie};
use crate::fitness::Fitness;
use crate::role::{GroupId, RoleId};
use crate::roster::{Ask, Command, Outcome, Phase, RequestId};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn config() -> Config {
    Config {
        lease: super::LEASE,
        stop_time: Config::stop_time_of(super::LEASE),
        timeout: seconds(5),
        check_interval: Duration::from_millis(500),
        ..Config::default()
    }
}

fn role() -> RoleId {
    GroupId::default().into()
}

fn three(seed: u64, config: &Config) -> World {
    let mut world = World::new(seed, config, &[("a", 200), ("b", 100), ("c", 50)], &[]);
    world.run(seconds(10));
    assert_eq!(world.primary(&role()).as_deref(), Some("a"));
    world
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

#[test]
fn the_primary_dies_and_the_next_best_takes_over_after_its_lease() {
    let mut world = three(1, &config());
    world.node("a").crash();
    world.run(seconds(8));
    assert_eq!((world.primary(&role()).as_deref(), world.moves), (Some("b"), 1));
    world.node("a").start(seconds(18));
    world.run(seconds(600));
    assert_eq!((world.primary(&role()).as_deref(), world.moves), (Some("b"), 1), "nothing moves without need");
}

#[test]
fn a_primary_that_restarts_at_once_is_not_started_beside_its_former_life() {
    let mut world = three(2, &config());
    world.node("a").crash();
    let now = world.now;
    world.node("a").start(now);
    world.run(seconds(12));
    assert!(world.primary(&role()).is_some());
}

#[test]
fn a_node_that_flaps_every_twenty_seconds_for_an_hour_moves_the_role_once() {
    let config = Config { failback: Failback::Automatic, ..config() };
    let mut world = three(3, &config);
    for _ in 0..90 {
        world.node("a").crash();
        world.run(seconds(20));
        let now = world.now;
        world.node("a").start(now);
        world.run(seconds(20));
    }
    assert_eq!((world.primary(&role()).as_deref(), world.moves), (Some("b"), 1));
    // Once it stays, it has to be well for as long as any node that lost the role.
    world.run(seconds(30));
    assert_eq!(world.moves, 1);
    world.run(seconds(60));
    assert_eq!((world.primary(&role()).as_deref(), world.moves), (Some("a"), 2));
}

#[test]
fn each_loss_doubles_the_wait_for_the_way_back() {
    let config = Config { failback: Failback::Automatic, ..config() };
    let mut world = three(17, &config);
    let mut waits = Vec::new();
    for _ in 0..2 {
        world.node("a").crash();
        world.run(seconds(20));
        assert_eq!(world.primary(&role()).as_deref(), Some("b"));
        let now = world.now;
        world.node("a").start(now);
        let mut told = None;
        while world.primary(&role()).as_deref() == Some("b") {
            let next = world.next_scheduled();
            // At first the node is not known to be well yet, and the wait has not begun.
            told = told.or_else(|| Some((world.now, next.clone()?.in_seconds)).filter(|(_, left)| *left <= 50));
            assert!(next.is_none_or(|next| (next.role, next.to) == (role(), node("a"))));
            world.run(seconds(1));
        }
        let (at, left) = told.expect("it was said before it came");
        assert!((world.now - at).as_secs().abs_diff(left) <= 2, "{left} s were said, {:?} were left", world.now - at);
        while world.primary(&role()).as_deref() != Some("a") {
            world.run(seconds(1));
        }
        waits.push((world.now - now).as_secs());
    }
    assert!((60..70).contains(&waits[0]) && (120..130).contains(&waits[1]), "{waits:?}");
    // Two moves back within an hour are all.
    world.node("a").crash();
    world.run(seconds(20));
    let now = world.now;
    world.node("a").start(now);
    world.run(seconds(600));
    assert_eq!((world.primary(&role()).as_deref(), world.next_scheduled()), (Some("b"), None));
}

#[test]
fn ten_per_cent_loss_for_ten_minutes_moves_nothing() {
    for seed in 0..5 {
        let mut world = three(seed, &config());
        world.loss = 0.1;
        world.run(seconds(600));
        assert_eq!((world.primary(&role()).as_deref(), world.moves), (Some("a"), 0), "seed {seed}");
    }
}

#[test]
fn a_primary_that_is_cut_off_stops_before_the_next_one_starts() {
    let mut world = three(5, &config());
    world.cut.insert(node("a"));
    world.run(seconds(10));
    assert_eq!(world.primary(&role()).as_deref(), Some("b"));
    world.cut.clear();
    world.run(seconds(100));
    assert_eq!((world.primary(&role()).as_deref(), world.moves), (Some("b"), 1));
}

#[test]
fn a_primary_that_was_frozen_past_its_lease_gives_up_when_it_wakes() {
    let mut world = three(6, &config());
    world.node("a").frozen = true;
    world.run(seconds(10));
    assert_eq!(world.primary(&role()).as_deref(), Some("b"));
    world.node("a").frozen = false;
    world.run(seconds(10));
    assert!(world.node("a").services.is_empty());
    assert_eq!(world.primary(&role()).as_deref(), Some("b"));
}

#[test]
fn two_nodes_and_a_witness_survive_either_node_and_each_cut() {
    for lost in ["a", "b"] {
        for is_cut in [false, true] {
            let mut world = World::new(7, &config(), &[("a", 100), ("b", 100)], &["w"]);
            world.run(seconds(10));
            if is_cut {
                world.cut.insert(node(lost));
            } else {
                world.node(lost).crash();
            }
            world.run(seconds(12));
            let other = if lost == "a" { "b" } else { "a" };
            assert_eq!(world.primary(&role()).as_deref(), Some(other), "{lost} is lost, cut: {is_cut}");
        }
    }
}

#[test]
fn without_a_quorum_nothing_is_promoted_and_the_primary_stops() {
    let mut world = World::new(8, &config(), &[("a", 100), ("b", 100)], &[]);
    world.run(seconds(10));
    let primary = world.primary(&role()).unwrap();
    let other = if primary == "a" { "b" } else { "a" };
    world.cut.insert(node("a"));
    world.run(seconds(60));
    assert!(world.node(&primary).services.is_empty() && world.node(other).services.is_empty());
    world.cut.clear();
    world.run(seconds(20));
    assert!(world.primary(&role()).is_some());
}

#[test]
fn a_start_that_fails_or_hangs_is_tried_so_often_and_then_elsewhere() {
    for manners in [Manners::FailsToStart, Manners::HangsAtStart] {
        let mut world = three(9, &config());
        world.node("b").manners = manners;
        world.node("a").crash();
        world.run(seconds(40));
        assert_eq!(world.primary(&role()).as_deref(), Some("c"), "{manners:?}");
    }
}

#[test]
fn a_service_that_does_not_stop_takes_its_process_with_it() {
    let mut world = three(10, &config());
    world.node("a").manners = Manners::HangsAtStop;
    world.ask(Command::Ask(Ask::Switchover { role: role(), to: Some(node("c")) }));
    world.run(seconds(20));
    assert_eq!(world.processes_ended, 1);
    assert!(world.primary(&role()).is_some_and(|primary| primary != "a"));
}

#[test]
fn a_fence_that_confirms_shortens_the_wait_and_one_that_does_not_proves_nothing() {
    let fenced = |answer: Option<Result<(), String>>| {
        let config = Config { fence_command: Some("fence".to_owned()), ..config() };
        let mut world = three(11, &config);
        world.fence = answer;
        world.node("a").crash();
        world.run(seconds(12));
        world.primary(&role())
    };
    for answer in [None, Some(Ok(())), Some(Err("no route".to_owned()))] {
        // A hanging or failing fence leaves the lease, which runs out in any case.
        assert_eq!(fenced(answer).as_deref(), Some("b"));
    }
}

/// A leads, b is primary, and a fence command works.
fn with_a_fence(config: &Config) -> World {
    let mut world = three(18, &Config { fence_command: Some("fence".to_owned()), ..config.clone() });
    world.ask(Command::Ask(Ask::Switchover { role: role(), to: Some(node("b")) }));
    world.run(seconds(3));
    assert_eq!((world.leads().as_str(), world.primary(&role()).as_deref()), ("a", Some("b")));
    world.fence = Some(Ok(()));
    world
}

#[test]
fn a_leader_without_a_majority_switches_nobody_off() {
    for away in 1..8 {
        let mut world = with_a_fence(&config());
        world.cut = [node("b"), node("c")].into();
        world.run(seconds(away));
        world.cut.clear();
        world.run(seconds(20));
        assert_eq!(world.fenced, 0, "after {away} s");
        assert!(world.primary(&role()).is_some());
    }
}

#[test]
fn who_renews_its_lease_is_not_switched_off_on_hearsay() {
    let mut world = with_a_fence(&config());
    world.slandered.insert(node("b"));
    world.run(seconds(60));
    assert_eq!((world.fenced, world.primary(&role()).as_deref(), world.moves), (0, Some("b"), 1));
    world.node("b").crash();
    world.run(seconds(10));
    assert_eq!((world.fenced, world.primary(&role()).as_deref()), (1, Some("a")));
}

#[test]
fn of_two_voters_neither_is_switched_off_by_a_leader() {
    let config = Config { fence_command: Some("fence".to_owned()), ..config() };
    let mut world = World::new(19, &config, &[("a", 200), ("b", 100)], &[]);
    world.run(seconds(10));
    world.ask(Command::Ask(Ask::Switchover { role: role(), to: Some(node("b")) }));
    world.run(seconds(3));
    world.fence = Some(Ok(()));
    world.node("b").crash();
    world.run(seconds(30));
    assert_eq!((world.fenced, world.roster().roles[&role()].phase.holder().is_some()), (0, true));
}

#[test]
fn paused_or_manual_nobody_is_switched_off() {
    for paused in [false, true] {
        let mode = if paused { Mode::Automatic } else { Mode::Manual };
        let mut world = with_a_fence(&Config { mode, ..config() });
        world.ask(Command::Pause(paused));
        world.node("b").crash();
        world.run(seconds(60));
        assert_eq!((world.fenced, world.primary(&role())), (0, None));
        // What a person wants is done all the same, once its lease is over.
        world.ask(Command::Ask(Ask::Switchover { role: role(), to: Some(node("c")) }));
        world.run(seconds(3));
        assert_eq!(world.primary(&role()).as_deref(), Some("c"));
    }
}

#[test]
fn an_unwell_primary_hands_over_in_order() {
    let mut world = three(12, &config());
    world.node("a").fitness =
        Fitness { healthy: false, reason: Some("the database does not answer".to_owned()), ..Fitness::default() };
    world.run(seconds(6));
    assert_eq!(world.primary(&role()).as_deref(), Some("b"));
    let reasons: Vec<String> = world.roster().decisions.iter().map(|decision| decision.sentence.clone()).collect();
    assert!(reasons.iter().any(|why| why.contains("the database does not answer")), "{reasons:?}");
    // All unwell: it stays where it is.
    for name in ["b", "c"] {
        world.node(name).fitness = Fitness { healthy: false, ..Fitness::default() };
    }
    world.run(seconds(30));
    assert_eq!((world.primary(&role()).as_deref(), world.moves), (Some("b"), 1));
}

#[test]
fn a_person_moves_it_and_is_told_what_became_of_that() {
    let mut world = three(13, &config());
    let ask = |world: &mut World, to: Option<&str>| {
        let to = to.map(node);
        let request = RequestId(world.ask(Command::Ask(Ask::Switchover { role: role(), to })).0);
        world.run(seconds(3));
        world.roster().outcome(request).cloned()
    };
    assert!(matches!(ask(&mut world, Some("c")), Some(Outcome::Done { node, .. }) if node.as_str() == "c"));
    assert!(matches!(ask(&mut world, Some("c")), Some(Outcome::Done { node, .. }) if node.as_str() == "c"));
    assert!(matches!(ask(&mut world, None), Some(Outcome::Done { node, .. }) if node.as_str() == "a"));
    assert!(matches!(ask(&mut world, Some("nobody")), Some(Outcome::Refused { .. })));
    world.node("b").crash();
    world.run(seconds(5));
    assert!(matches!(ask(&mut world, Some("b")), Some(Outcome::Refused { reason }) if reason.contains("silent")));
    assert_eq!(world.primary(&role()).as_deref(), Some("a"));
    let request = RequestId(world.ask(Command::Ask(Ask::Failback { role: role() })).0);
    world.run(seconds(3));
    assert!(matches!(world.roster().outcome(request), Some(Outcome::Done { .. })), "it is there already");
}

#[test]
fn manual_and_paused_let_nobody_else_have_it_until_a_person_says_so() {
    for paused in [false, true] {
        let mode = if paused { Mode::Automatic } else { Mode::Manual };
        let mut world = three(14, &Config { mode, ..config() });
        world.ask(Command::Pause(paused));
        world.node("a").crash();
        world.run(seconds(60));
        assert_eq!(world.primary(&role()), None);
        let note = world.roster().roles[&role()].note.clone().unwrap();
        assert!(note.contains(if paused { "paused" } else { "manual" }), "{note}");
        let now = world.now;
        world.node("a").start(now);
        world.run(seconds(20));
        assert_eq!(world.primary(&role()).as_deref(), Some("a"), "it may have it back");
        world.node("a").crash();
        world.run(seconds(20));
        world.ask(Command::Ask(Ask::Switchover { role: role(), to: None }));
        world.run(seconds(10));
        assert_eq!(world.primary(&role()).as_deref(), Some("b"));
    }
}

#[test]
fn shards_are_spread_evenly_and_moved_as_little_as_possible() {
    let config = Config { strategy: Lie::ActiveActive, ..config() };
    let mut world = World::new(15, &config, &[("a", 100), ("b", 100), ("c", 100)], &[]);
    world.run(seconds(20));
    let loads = |world: &World| {
        let mut loads = std::collections::BTreeMap::<String, u32>::new();
        for role in world.roster().roles.values() {
            let Phase::Active(holder) = &role.phase else { panic!("at {:?}: {role:?}", world.now) };
            *loads.entry(holder.node.to_string()).or_default() += 1;
        }
        loads.into_values().collect::<Vec<_>>()
    };
    let mut counts = loads(&world);
    counts.sort_unstable();
    assert_eq!((counts, world.moves), (vec![5, 5, 6], 0));
    world.node("c").crash();
    world.run(seconds(20));
    assert_eq!(loads(&world), [8, 8]);
    assert!(world.moves <= 6, "{}", world.moves);
    let (now, before) = (world.now, world.moves);
    world.node("c").start(now);
    world.run(seconds(600));
    let mut counts = loads(&world);
    counts.sort_unstable();
    assert_eq!((counts, world.moves - before), (vec![5, 5, 6], 5));
}

#[test]
fn many_groups_are_spread_by_count() {
    let groups = (0..7).map(|n| format!("g{n}").parse().unwrap()).collect();
    let config = Config { strategy: Lie::Distributed, groups, ..config() };
    let mut world = World::new(16, &config, &[("a", 200), ("b", 100), ("c", 0)], &[]);
    world.run(seconds(20));
    let on = |world: &World, name: &str| world.roster().held_by(&node(name)).count();
    assert_eq!((on(&world, "a"), on(&world, "b"), on(&world, "c")), (4, 3, 0));
}

/// What may happen to a world.
#[derive(Clone, Debug)]
enum Blow {
    Crash(usize),
    Start(usize),
    Freeze(usize),
    Thaw(usize),
    Cut(usize),
    Heal,
    Switch(usize),
    Unwell(usize, bool),
}

fn blows() -> impl Strategy<Value = Vec<(u64, Blow)>> {
    let blow = prop_oneof![
        (0_usize..3).prop_map(Blow::Crash),
        (0_usize..3).prop_map(Blow::Start),
        (0_usize..3).prop_map(Blow::Freeze),
        (0_usize..3).prop_map(Blow::Thaw),
        (0_usize..3).prop_map(Blow::Cut),
        Just(Blow::Heal),
        (0_usize..3).prop_map(Blow::Switch),
        (0_usize..3, any::<bool>()).prop_map(|(n, well)| Blow::Unwell(n, well)),
    ];
    prop::collection::vec((20_u64..4000, blow), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever happens, and whenever: never two at once, tokens only rise, and once all is well somebody runs it.
    #[test]
    fn chaos_never_makes_two_primaries_and_peace_makes_one(
        seed in any::<u64>(),
        loss in 0.0..0.3,
        automatic in any::<bool>(),
        blows in blows(),
    ) {
        let failback = if automatic { Failback::Automatic } else { Failback::Manual };
        let mut world = World::new(seed, &Config { failback, ..config() }, &[("a", 200), ("b", 100), ("c", 50)], &[]);
        world.run(seconds(5));
        world.loss = loss;
        let names = ["a", "b", "c"];
        for (wait, blow) in blows {
            let now = world.now;
            match blow {
                Blow::Crash(n) => world.node(names[n]).crash(),
                Blow::Start(n) => {
                    let node = world.node(names[n]);
                    if !node.up {
                        node.start(now);
                    }
                }
                Blow::Freeze(n) => world.node(names[n]).frozen |= world.node(names[n]).up,
                Blow::Thaw(n) => world.node(names[n]).frozen = false,
                Blow::Cut(n) => drop(world.cut.insert(node(names[n]))),
                Blow::Heal => world.cut.clear(),
                Blow::Switch(n) => {
                    if !world.leads().is_empty() {
                        world.ask(Command::Ask(Ask::Switchover { role: role(), to: Some(node(names[n])) }));
                    }
                }
                Blow::Unwell(n, healthy) => {
                    world.node(names[n]).fitness = Fitness { healthy, ..Fitness::default() };
                }
            }
            world.run(Duration::from_millis(wait));
        }
        world.cut.clear();
        world.loss = 0.0;
        for name in names {
            let now = world.now;
            let node = world.node(name);
            node.frozen = false;
            node.fitness = Fitness::default();
            if !node.up {
                node.start(now);
            }
        }
        world.run(seconds(30));
        // A planned way back may be under way at this very moment: it has its own, short, bound.
        let until = world.now + config().stop_time + seconds(5);
        while world.primary(&role()).is_none() && world.now < until {
            world.run(Duration::from_millis(100));
        }
        prop_assert!(world.primary(&role()).is_some(), "{:#?}", world.roster());
        prop_assert_eq!(world.processes_ended, 0);
    }
}
