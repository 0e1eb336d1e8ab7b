//! Who is silent fails in time, and nobody else does.

use std::time::Duration;

use super::seconds;
use crate::MemberState::{Alive, Failed, Suspect};
use crate::gossip::Input;
use crate::gossip::sim::{LAN, World, name};

#[test]
fn a_crash_is_found_within_the_node_timeout() {
    for (nodes, seeds) in [(2, 10), (3, 10), (5, 10), (25, 3), (100, 1)] {
        let mut longest = Duration::ZERO;
        for seed in 0..seeds {
            let mut world = World::formed(nodes, LAN, seed);
            world.run(LAN + LAN * (seed as u32) / 13);
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
    for (nodes, loss, seeds) in [(3, 0.0, 1), (3, 0.01, 1), (3, 0.05, 4), (5, 0.05, 2)] {
        for seed in 0..seeds {
            let mut world = World::formed(nodes, LAN, seed);
            world.loss = loss;
            world.run(seconds(60));
            assert_eq!(world.failures_since(Duration::ZERO), 0, "{nodes} nodes, {loss} lost, seed {seed}");
        }
    }
}

#[test]
fn nobody_healthy_is_failed_though_many_packets_are_lost() {
    for (nodes, loss, time) in [(3, 0.1, 60), (5, 0.1, 60), (5, 0.3, 20), (25, 0.1, 10)] {
        let mut world = World::formed(nodes, LAN, 1);
        world.loss = loss;
        world.run(seconds(time));
        assert_eq!(world.failures_since(Duration::ZERO), 0, "{nodes} nodes, {loss} lost");
    }
}

#[test]
fn nobody_is_even_suspected_when_nothing_is_lost() {
    let mut world = World::formed(5, LAN, 7);
    world.run(seconds(60));
    assert!(world.changes.iter().all(|(_, _, _, state)| *state == Alive));
}

/// T11 and the like: one pair of nodes cannot speak in one direction; others relay.
#[test]
fn a_one_way_cut_between_two_fails_nobody() {
    for seed in 0..4 {
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
        for seed in 0..4 {
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

/// Silence that nobody listened to proves nothing: a suspicion does not ripen while its holder sleeps.
#[test]
fn a_suspicion_sleeps_with_its_holder() {
    for seed in 0..10 {
        let mut world = World::formed(2, LAN, seed);
        world.split(&[0], &[1]);
        world.expect("suspicion", LAN, |world| world.state(0, 1) == Some(Suspect));
        world.heal();
        world.sleep(0);
        world.run(LAN * 3);
        world.wake_all();
        world.run(LAN * 4);
        assert!(world.node(0).counters().late > 0);
        let own = world.changes.iter().filter(|(_, observer, _, state)| *observer == 0 && *state == Failed);
        assert_eq!(own.count(), 0, "seed {seed}");
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

/// However long it is suspected, a node is told so each time it is probed.
#[test]
fn a_suspect_that_answers_at_last_is_cleared() {
    let mut world = World::formed(2, LAN, 1);
    world.split(&[0], &[1]);
    for _ in 0..100 {
        world.run(LAN / 10);
        world.input(0, Input::NodeSeen(name(1)));
        world.input(1, Input::NodeSeen(name(0)));
    }
    assert_eq!((world.state(0, 1), world.state(1, 0)), (Some(Suspect), Some(Suspect)));
    world.heal();
    world.expect("it is cleared", LAN / 2, World::is_full);
    assert_eq!(world.failures_since(Duration::ZERO), 0);
}
