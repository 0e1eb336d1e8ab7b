//! Nodes find one another, lose one another, and find one another again.

use std::time::Duration;

use ha_net::Incarnation;

use super::seconds;
use crate::MemberState::{Alive, Failed, Left};
use crate::gossip::Input;
use crate::gossip::sim::{DEFAULT, LAN, World, name, traits};

#[test]
fn all_find_one_another_through_one() {
    for (nodes, limit) in [(2, LAN), (3, LAN), (5, LAN), (25, LAN * 2), (100, LAN * 6)] {
        let mut world = World::new(nodes, LAN, nodes as u64);
        (0..nodes).for_each(|node| world.start(node));
        (0..nodes).for_each(|node| world.learn(node, 0));
        let took = world.expect("a full view", limit, World::is_full);
        println!("{nodes} nodes: full view after {took:?}");
        assert_eq!(world.failures_since(Duration::ZERO), 0);
    }
}

#[test]
fn all_find_one_another_when_packets_are_lost() {
    for seed in 0..20 {
        let mut world = World::new(5, LAN, seed);
        world.loss = 0.2;
        (0..5).for_each(|node| world.start(node));
        (0..5).for_each(|node| world.learn(node, 0));
        world.expect("a full view", LAN * 10, World::is_full);
    }
}

/// A lane that has no connection yet drops what it is given, and makes one.
#[test]
fn nobody_is_suspected_while_connections_are_made() {
    for (nodes, seeds) in [(3, 20), (5, 20), (25, 2)] {
        for seed in 0..seeds {
            let mut world = World::new(nodes, LAN, seed);
            world.connects_lazily = true;
            (0..nodes).for_each(|node| world.start(node));
            (0..nodes).for_each(|node| world.learn(node, 0));
            world.expect("a full view", LAN * 4, World::is_full);
            world.run(LAN * 4);
            assert!(world.changes.iter().all(|(_, _, _, state)| *state == Alive), "{nodes} nodes, seed {seed}");
        }
    }
}

#[test]
fn a_restarted_node_replaces_its_earlier_life_at_once() {
    for seed in 0..10 {
        let mut world = World::formed(5, LAN, seed);
        world.crash(2);
        world.run(LAN / 10);
        world.start(2);
        world.learn(2, 0);
        let took = world.expect("the new life is known", LAN, World::is_full);
        assert!(took <= LAN / 2, "{took:?}");
        world.run(LAN * 4);
        assert_eq!(world.failures_since(Duration::ZERO), 0, "the earlier life was replaced, it did not fail");
    }
}

#[test]
fn a_node_that_restarts_after_it_failed_is_back_at_once() {
    let mut world = World::formed(3, LAN, 1);
    world.crash(2);
    world.expect("the crash is known", LAN * 2, |world| world.all_believe(2, Failed));
    world.start(2);
    world.learn(2, 0);
    let took = world.expect("it is back", LAN, World::is_full);
    assert!(took <= LAN / 2, "{took:?}");
}

/// T08, T14.
#[test]
fn a_divided_cluster_grows_together_again() {
    let divisions: [(usize, &[&[usize]]); 6] = [
        (2, &[&[0], &[1]]),
        (3, &[&[0, 1], &[2]]),
        (5, &[&[0, 1, 2], &[3, 4]]),
        (5, &[&[0, 1], &[2, 3], &[4]]),
        (3, &[&[0], &[1], &[2]]),
        (25, &[&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], &[12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]]),
    ];
    for (nodes, parts) in divisions {
        for seed in 0..3 {
            let mut world = World::formed(nodes, LAN, seed);
            for (number, part) in parts.iter().enumerate() {
                parts[number + 1..].iter().for_each(|other| world.split(part, other));
            }
            world.expect("each part takes the others for failed", LAN * 12, |world| {
                parts.iter().all(|part| {
                    let outside = |node: &usize| !part.contains(node);
                    part.iter().all(|node| {
                        (0..nodes).all(|of| world.state(*node, of) == Some(if outside(&of) { Failed } else { Alive }))
                    })
                })
            });
            world.run(LAN * 10);
            world.heal();
            world.expect("one cluster", LAN * 8, World::is_full);
            let since = world.now;
            world.run(LAN * 10);
            assert_eq!(world.failures_since(since), 0, "and it stays one");
        }
    }
}

#[test]
fn who_says_goodbye_has_left() {
    for (nodes, seeds) in [(3, 5), (5, 5), (25, 2)] {
        for seed in 0..seeds {
            let mut world = World::formed(nodes, LAN, seed);
            world.input(1, Input::Leave);
            assert_eq!(world.node(1).deadline(), None);
            world.crash(1);
            let took = world.expect("all know that it left", LAN, |world| world.all_believe(1, Left));
            assert!(took <= LAN / 2, "{nodes} nodes: {took:?}");
            world.run(LAN * 6);
            assert!(world.all_believe(1, Left));
            assert_eq!(world.failures_since(Duration::ZERO), 0, "nobody took it for failed meanwhile");
            world.start(1);
            world.learn(1, 0);
            world.expect("it is back", LAN, World::is_full);
        }
    }
}

#[test]
fn what_a_node_is_like_reaches_all_while_it_runs() {
    for (nodes, loss, limit) in [(3, 0.0, LAN), (5, 0.05, LAN * 2), (25, 0.05, LAN * 4), (100, 0.0, LAN * 3)] {
        let mut world = World::formed(nodes, LAN, 5);
        world.loss = loss;
        let since = world.now;
        world.input(1, Input::Update(traits(7)));
        let knows = |world: &World, node: usize| {
            world.node(node).members()[&name(1)].traits.as_ref().is_some_and(|traits| traits.priority == 7)
        };
        let took = world.expect("all know", limit, |world| (0..nodes).all(|node| knows(world, node)));
        println!("{nodes} nodes: an update is known to all after {took:?}");
        assert_eq!(world.failures_since(since), 0);
        assert_eq!(world.node(0).members()[&name(1)].incarnation, Incarnation(1), "no new life for it");
    }
}

#[test]
fn who_comes_later_learns_what_all_are_like() {
    let mut world = World::formed(25, LAN, 5);
    world.run(seconds(4));
    world.crash(3);
    world.start(3);
    world.learn(3, 24);
    world.expect("a full view with all traits", LAN * 2, World::is_full);
}

#[test]
fn idle_gossip_is_cheap() {
    let mut world = World::formed(5, DEFAULT, 1);
    world.run(seconds(120));
    let before: Vec<_> = world.nodes.iter().flatten().map(|node| node.counters().bytes_sent).collect();
    world.run(seconds(600));
    for (node, before) in before.into_iter().enumerate() {
        let rate = (world.node(node).counters().bytes_sent - before) / 600;
        println!("node-{node} sends {rate} bytes/s");
        assert!(rate < 400, "{rate} bytes/s");
    }
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed| {
        let mut world = World::formed(5, LAN, seed);
        world.loss = 0.2;
        world.run(seconds(5));
        world.crash(1);
        world.run(seconds(5));
        world.trace()
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}
