//! Packets that should not be: late ones, damaged ones, made-up ones, and those of nodes that have no say.

use std::time::Duration;

use bytes::Bytes;
use ha_net::{Incarnation, Peer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::seconds;
use crate::MemberState::{Alive, Failed, Left};
use crate::gossip::sim::{LAN, World, name, traits};
use crate::gossip::{Config, Gossip, Input, Output, Profile, table};

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

/// A life that no node can have had is believed of nobody: it could never be reached, or said to be over.
#[test]
fn absurd_lives_stop_nobody_and_replace_nobody() {
    let mut world = World::formed(3, LAN, 1);
    let before = world.node(0).members().clone();
    let liar = |named: usize, life: u64| {
        let me = if named == 1 { life } else { 1 };
        let me = Profile {
            node_id: name(1),
            incarnation: Incarnation(me),
            address: "10.0.0.1:7946".parse().unwrap(),
            traits: traits(1),
        };
        let mut liar = Gossip::new(Config::new(LAN), me, Duration::from_secs(1_000), 1);
        let mut out = Vec::new();
        for node in [0, 2] {
            let life = if named == node { life } else { 1 };
            let address = format!("10.0.0.{node}:7946").parse().unwrap();
            let peer = Peer { node_id: name(node), incarnation: Incarnation(life), address };
            liar.step(Duration::from_secs(1_000), Input::Learn(peer), &mut out).unwrap();
        }
        let packets = out.into_iter().filter_map(|output| match output {
            Output::Send { bytes, .. } => Some(bytes),
            _ => None,
        });
        packets.collect::<Vec<_>>()
    };
    for (named, life) in [(0, 1 << 30), (1, 1 << 30), (2, 1 << 30), (0, 1 << 63), (1, u64::MAX)] {
        let packets = liar(named, life);
        assert!(!packets.is_empty());
        for bytes in packets {
            world.input(0, Input::Received { from: name(1), bytes });
        }
        assert!(world.superseded.is_empty() && world.node(0).deadline().is_some(), "{named} in life {life}");
        let peer = Peer { incarnation: Incarnation(life), ..world.peer(named) };
        world.input(0, Input::Learn(peer));
    }
    world.run(LAN * 4);
    assert!(world.superseded.is_empty() && world.is_full());
    assert_eq!(*world.node(0).members(), before);
    // Some starts may have been missed.
    for bytes in liar(0, 9) {
        world.input(0, Input::Received { from: name(1), bytes });
    }
    assert!(world.superseded.contains(&0));
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

/// A node that nobody else knows speaks to the first one.
fn stranger(world: &mut World, number: usize, farewell: bool) -> usize {
    let me = Profile {
        node_id: format!("stranger-{number}").parse().unwrap(),
        incarnation: Incarnation(1),
        address: "10.1.1.1:1".parse().unwrap(),
        traits: traits(1),
    };
    let (now, from, known) = (world.now, me.node_id.clone(), world.peer(0));
    let node = world.nodes[0].as_mut().unwrap();
    let mut stranger = Gossip::new(Config::new(LAN), me, now, 1);
    let (mut out, mut answers) = (Vec::new(), Vec::new());
    let mut refused = 0;
    stranger.step(now, Input::Learn(known), &mut out).unwrap();
    for round in 0..2 {
        for output in std::mem::take(&mut out) {
            if let Output::Send { bytes, .. } = output {
                refused +=
                    usize::from(node.step(now, Input::Received { from: from.clone(), bytes }, &mut answers).is_err());
            }
        }
        for output in std::mem::take(&mut answers) {
            if let Output::Send { to, bytes, .. } = output
                && to == from
            {
                stranger.step(now, Input::Received { from: name(0), bytes }, &mut Vec::new()).unwrap();
            }
        }
        if farewell && round == 0 {
            stranger.step(now, Input::Leave, &mut out).unwrap();
        }
    }
    refused
}

#[test]
fn the_table_is_bounded_and_those_who_have_gone_make_room() {
    let mut world = World::formed(2, LAN, 1);
    let mut refused = 0;
    for number in 0..table::MEMBERS_MAX + 60 {
        world.now += Duration::from_micros(1);
        refused += stranger(&mut world, number, number < 50);
        if number == table::MEMBERS_MAX {
            let left = world.node(0).members().iter().filter(|(_, opinion)| opinion.state == Left);
            let left: Vec<_> = left.map(|(node, _)| node.as_str()).collect();
            assert_eq!(left.len(), 47, "the first three are forgotten");
            assert!(left.contains(&"stranger-3") && left.contains(&"stranger-49"));
            assert_eq!(refused, 0);
        }
    }
    assert_eq!(world.node(0).members().len(), table::MEMBERS_MAX);
    assert!(world.node(0).members().values().all(|opinion| opinion.state == Alive));
    assert_eq!(refused, 12, "for those who are there nobody makes room");
}
