//! Plays in the small world.

use std::time::Duration;

use bytes::Bytes;
use ha_net::Incarnation;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::sim::{DEFAULT, LAN, World, name, traits};
use super::*;
use crate::MemberState::{Alive, Failed, Left, Suspect};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

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

#[test]
fn a_crash_is_found_within_the_node_timeout() {
    for (nodes, seeds) in [(2, 20), (3, 20), (5, 20), (25, 5), (100, 2)] {
        let mut longest = Duration::ZERO;
        for seed in 0..seeds {
            let mut world = World::formed(nodes, LAN, seed);
            world.run(LAN * 3 + LAN * (seed as u32) / 13);
            world.crash(1);
            longest = longest.max(world.expect("the crash is known", LAN * 2, |world| world.all_believe(1, Failed)));
            assert_eq!(world.failures_since(Duration::ZERO), nodes - 1, "and nobody else failed");
        }
        println!("{nodes} nodes: a crash is known to all after at most {longest:?}");
        assert!(longest <= LAN * 6 / 5, "{nodes} nodes: {longest:?}");
        assert!(longest >= LAN / 2);
    }
}

#[test]
fn half_of_the_nodes_crash_at_once() {
    for seed in 0..10 {
        let mut world = World::formed(5, LAN, seed);
        world.run(LAN * 3);
        [1, 2].into_iter().for_each(|node| world.crash(node));
        let took = world.expect("both crashes are known", LAN * 2, |world| {
            world.all_believe(1, Failed) && world.all_believe(2, Failed)
        });
        assert!(took <= LAN * 7 / 5, "{took:?}");
    }
}

#[test]
fn nobody_healthy_is_failed() {
    for (nodes, loss, seeds) in [(3, 0.0, 1), (3, 0.01, 3), (3, 0.05, 8), (5, 0.05, 4), (25, 0.05, 1)] {
        for seed in 0..seeds {
            let mut world = World::formed(nodes, LAN, seed);
            world.loss = loss;
            world.run(seconds(60));
            assert_eq!(world.failures_since(Duration::ZERO), 0, "{nodes} nodes, {loss} lost, seed {seed}");
        }
    }
}

#[test]
fn nobody_healthy_is_failed_at_ten_in_a_hundred_packets_lost() {
    for seed in 0..4 {
        let mut world = World::formed(5, LAN, seed);
        world.loss = 0.1;
        world.run(seconds(60));
        assert_eq!(world.failures_since(Duration::ZERO), 0, "seed {seed}");
    }
}

#[test]
fn nobody_is_even_suspected_when_nothing_is_lost() {
    let mut world = World::formed(5, LAN, 7);
    world.run(seconds(60));
    assert!(world.changes.iter().all(|(_, _, _, state)| *state == Alive));
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

/// T21: packets of an earlier life come late, in any order and many times.
#[test]
fn late_packets_of_an_earlier_life_revive_nobody() {
    let mut world = World::formed(3, LAN, 1);
    world.keep_packets = true;
    world.run(LAN * 4);
    world.keep_packets = false;
    let old: Vec<_> = std::mem::take(&mut world.packets).into_iter().filter(|(from, _, _)| *from == 2).collect();
    assert!(old.len() > 20);
    let replay = |world: &mut World| {
        for (from, to, bytes) in old.iter().rev().chain(&old) {
            world.input(*to, Input::Received { from: name(*from), bytes: bytes.clone() });
        }
    };
    world.crash(2);
    world.expect("the crash is known", LAN * 2, |world| world.all_believe(2, Failed));
    let since = world.now;
    replay(&mut world);
    world.run(seconds(60));
    replay(&mut world);
    world.run(LAN);
    assert!(world.changes.iter().all(|(at, _, id, _)| *at <= since || *id != name(2)), "nothing new about it");

    world.start(2);
    world.learn(2, 0);
    world.expect("the new life is known", LAN, World::is_full);
    let since = world.now;
    replay(&mut world);
    world.run(LAN * 4);
    assert_eq!(world.failures_since(since), 0);
    assert!(world.is_full());
}

/// T21: the same for a node that lives: old packets, some of which suspect it or others, do no harm.
#[test]
fn late_packets_of_this_life_do_no_harm() {
    let mut world = World::formed(3, LAN, 3);
    world.keep_packets = true;
    world.loss = 0.3;
    world.run(LAN * 8);
    world.loss = 0.0;
    world.keep_packets = false;
    world.expect("calm", LAN * 4, World::is_full);
    world.run(LAN * 4);
    let since = world.now;
    for (from, to, bytes) in std::mem::take(&mut world.packets).into_iter().rev() {
        world.input(to, Input::Received { from: name(from), bytes });
    }
    world.run(LAN * 4);
    assert_eq!(world.failures_since(since), 0);
    assert!(world.is_full());
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
        for seed in 0..5 {
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

/// T11 and the like: one pair of nodes cannot speak in one direction; others relay.
#[test]
fn a_one_way_cut_between_two_fails_nobody() {
    for seed in 0..10 {
        let mut world = World::formed(3, LAN, seed);
        world.cut(&[0], &[1]);
        world.run(seconds(20));
        assert_eq!(world.failures_since(Duration::ZERO), 0, "seed {seed}");
        world.cut(&[1], &[0]);
        world.run(seconds(20));
        assert_eq!(world.failures_since(Duration::ZERO), 0, "seed {seed}, both ways");
    }
}

/// T10: a node that hears nobody is failed by all, and takes nobody with it.
#[test]
fn a_deaf_node_fails_alone() {
    for nodes in [3, 5] {
        for seed in 0..10 {
            let mut world = World::formed(nodes, LAN, seed);
            let others: Vec<_> = (1..nodes).collect();
            world.cut(&others, &[0]);
            let cut_at = world.now;
            world.expect("the deaf node is failed", LAN * 3, |world| {
                others.iter().all(|node| world.state(*node, 0) == Some(Failed))
            });
            world.run(LAN * 10);
            let wrong = |(at, observer, of, state): &&(Duration, usize, ha_net::NodeId, crate::MemberState)| {
                *at >= cut_at && *observer != 0 && *of != name(0) && *state == Failed
            };
            assert_eq!(world.changes.iter().filter(wrong).count(), 0, "{nodes} nodes, seed {seed}");
            world.heal();
            world.expect("one cluster", LAN * 8, World::is_full);
        }
    }
}

/// T11: a node that is heard by nobody.
#[test]
fn a_mute_node_fails_alone() {
    for seed in 0..10 {
        let mut world = World::formed(5, LAN, seed);
        world.cut(&[0], &[1, 2, 3, 4]);
        world.expect("the mute node is failed", LAN * 2, |world| {
            (1..5).all(|node| world.state(node, 0) == Some(Failed))
        });
        assert!((1..5).all(|node| (1..5).all(|of| world.state(node, of) != Some(Failed))));
        world.heal();
        world.expect("one cluster", LAN * 8, World::is_full);
    }
}

/// A process that was stopped, or a machine that was suspended, does not take its own sleep for the others' silence.
#[test]
fn a_node_that_slept_fails_nobody() {
    for (nodes, sleep) in [(2, LAN / 2), (3, LAN / 2), (3, LAN * 20), (5, LAN * 20)] {
        for seed in 0..10 {
            let mut world = World::formed(nodes, LAN, seed);
            world.sleep(0);
            world.run(sleep);
            world.wake_all();
            world.run(LAN * 2);
            let own = world.changes.iter().filter(|(_, observer, _, state)| *observer == 0 && *state == Failed);
            assert_eq!(own.count(), 0, "{nodes} nodes, seed {seed}");
            world.expect("all are back", LAN * 8, World::is_full);
        }
    }
}

#[test]
fn a_node_that_was_wrongly_failed_returns() {
    let mut world = World::formed(3, LAN, 1);
    world.split(&[2], &[0, 1]);
    world.expect("it is failed", LAN * 3, |world| {
        world.state(0, 2) == Some(Failed) && world.state(1, 2) == Some(Failed)
    });
    world.heal();
    world.expect("it is back", LAN * 4, World::is_full);
    assert!(world.nodes.iter().flatten().any(|node| node.counters().returns > 0));
    assert!(world.said.iter().any(|(_, sentence)| sentence.contains("has come back")));
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
    world.run(seconds(60));
    world.crash(3);
    world.start(3);
    world.learn(3, 24);
    world.expect("a full view with all traits", LAN * 2, World::is_full);
}

#[test]
fn a_hint_of_a_crash_speeds_up() {
    for seed in 0..10 {
        let mut world = World::formed(3, LAN, seed);
        world.run(LAN);
        world.crash(2);
        world.input(0, Input::TransportDown(name(2)));
        assert_eq!(world.state(0, 2), Some(Suspect));
        let took = world.expect("the crash is known", LAN, |world| world.all_believe(2, Failed));
        assert!(took <= LAN * 4 / 10, "{took:?}");
    }
}

#[test]
fn a_wrong_hint_does_no_harm() {
    for seed in 0..10 {
        let mut world = World::formed(3, LAN, seed);
        for _ in 0..20 {
            world.input(0, Input::TransportDown(name(2)));
            world.run(LAN / 4);
        }
        world.run(LAN);
        assert_eq!(world.failures_since(Duration::ZERO), 0);
        assert!(world.is_full());
    }
}

#[test]
fn other_traffic_spares_a_needless_failure() {
    let mut world = World::formed(2, LAN, 1);
    world.split(&[0], &[1]);
    for _ in 0..50 {
        world.run(LAN / 10);
        world.input(0, Input::NodeSeen(name(1)));
    }
    assert_eq!(world.state(0, 1), Some(Suspect));
    assert_eq!(world.state(1, 0), Some(Failed));
    world.expect("silence ends it", LAN * 2, |world| world.state(0, 1) == Some(Failed));
}

#[test]
fn a_removed_node_stays_away_until_its_next_life() {
    let mut world = World::formed(3, LAN, 1);
    [0, 1].into_iter().for_each(|node| world.input(node, Input::Forget(name(2))));
    assert_eq!(world.state(0, 2), None);
    world.run(LAN * 20);
    assert_eq!((world.state(0, 2), world.state(1, 2)), (None, None), "though it runs and gossips");
    assert!(world.node(0).counters().packets_refused > 0);
    world.learn(0, 2);
    world.run(LAN * 4);
    assert_eq!(world.state(0, 2), None);
    world.start(2);
    world.learn(2, 0);
    world.expect("its next life is welcome", LAN * 2, World::is_full);
}

#[test]
fn an_earlier_life_gives_way() {
    let mut world = World::formed(3, LAN, 1);
    let zombie = world.nodes[2].take();
    world.start(2);
    world.learn(2, 0);
    world.expect("the new life is known", LAN, World::is_full);
    let new = world.nodes[2].take();
    world.nodes[2] = zombie;
    world.keep_packets = true;
    world.run(LAN * 2);
    assert!(world.superseded.contains(&2), "it learnt of its later life");
    assert_eq!(world.node(2).deadline(), None);
    assert!(world.said.iter().any(|(_, sentence)| sentence.starts_with("life 2 of node-2 is known to others")));
    let since = world.now;
    world.nodes[2] = new;
    world.input(2, Input::Timer);
    world.run(LAN * 4);
    assert_eq!(world.failures_since(since), 0);
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

/// Whatever bytes come, from a peer that was admitted: no panic, an error that is counted, and the view as before.
#[test]
fn random_bytes_are_refused() {
    let mut world = World::formed(3, LAN, 1);
    let mut random = StdRng::seed_from_u64(9);
    let before = world.node(0).members().clone();
    let refused = world.node(0).counters().packets_refused;
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..random.random_range(0..200)).map(|_| random.random()).collect();
        if random.random_bool(0.7) && bytes.len() > 1 {
            (bytes[0], bytes[1]) = (1, 0);
        }
        world.input(0, Input::Received { from: name(1), bytes: bytes.into() });
    }
    assert_eq!(world.node(0).counters().packets_refused, refused + 20_000);
    assert_eq!(*world.node(0).members(), before);
}

/// Real packets with some bytes changed, cut or doubled may say anything; they must not bring the node down.
#[test]
fn damaged_packets_do_not_bring_a_node_down() {
    let mut world = World::formed(5, LAN, 1);
    world.keep_packets = true;
    world.loss = 0.3;
    world.run(LAN * 10);
    world.loss = 0.0;
    world.keep_packets = false;
    let mut random = StdRng::seed_from_u64(9);
    let packets: Vec<_> = std::mem::take(&mut world.packets).into_iter().filter(|(_, to, _)| *to == 0).collect();
    let mut accepted = 0;
    for round in 0..20 {
        for (from, _, bytes) in &packets {
            let mut bytes = bytes.to_vec();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..4) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes.insert(at, random.random()),
                    _ => bytes[at] = random.random(),
                }
            }
            let mut out = Vec::new();
            let now = world.now + LAN / 10 * round;
            let input = Input::Received { from: name(*from), bytes: Bytes::from(bytes) };
            if let Some(node) = &mut world.nodes[0] {
                accepted += usize::from(node.step(now, input, &mut out).is_ok());
            }
        }
    }
    assert!(accepted > 100, "some of the damage goes unnoticed");
    assert!(world.node(0).members().len() <= table::MEMBERS_MAX);
}

#[test]
fn the_table_is_bounded() {
    let mut world = World::formed(2, LAN, 1);
    let sender = |number: usize| Profile {
        node_id: format!("stranger-{number}").parse().unwrap(),
        incarnation: Incarnation(1),
        address: "10.1.1.1:1".parse().unwrap(),
        traits: traits(1),
    };
    let known = world.peer(0);
    let node = world.nodes[0].as_mut().unwrap();
    let mut refused = 0;
    for number in 0..table::MEMBERS_MAX + 50 {
        let Profile { node_id, .. } = sender(number);
        let mut stranger = Gossip::new(Config::new(LAN), sender(number), world.now, 1);
        let mut out = Vec::new();
        stranger.step(world.now, Input::Learn(known.clone()), &mut out).unwrap();
        for output in out {
            if let Output::Send { bytes, .. } = output {
                let input = Input::Received { from: node_id.clone(), bytes };
                refused += usize::from(node.step(world.now, input, &mut Vec::new()).is_err());
            }
        }
    }
    assert_eq!(node.members().len(), table::MEMBERS_MAX);
    assert_eq!(refused, 52);
}
