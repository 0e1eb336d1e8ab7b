//! A service that runs on one node at a time.

use std::time::Duration;

use ha_failover::Failback;

use crate::sim::nemesis::Chaos;
use crate::sim::roles::Moving;
use crate::sim::{Everyone, Leader, Name, Who as _, World, everyone_but, ms, nodes, secs};

/// How long chaos reigns in one run.
const CHAOS_TIME: Duration = secs(30);
/// How soon another primary serves after one fell silent: a lease, an election that took long, a start.
const SUCCEEDED: Duration = ms(5000);
/// By when a primary that lost its majority has stopped.
const LEASE_OVER: Duration = secs(1);
const MOVING: Moving = Moving { failback: Failback::Manual, recovery_wait: secs(5) };

pub(super) fn three(world: &mut World) {
    world.start(nodes(3).with_roles(MOVING));
    world.load(ms(60));
    world.expect_primary_within(secs(10));
    world.endure(Chaos::everything(CHAOS_TIME));
}

pub(super) fn witnessed(world: &mut World) {
    world.start(nodes(2).and_a_witness().with_roles(MOVING));
    world.load(ms(60));
    world.expect_primary_within(secs(10));
    world.endure(Chaos::everything(CHAOS_TIME));
}

/// T03: processes die while a role is being given or taken.
pub(super) fn killed_in_callbacks(world: &mut World) {
    world.start(nodes(2).and_a_witness().with_roles(MOVING));
    world.load(ms(60));
    let mut primary = world.expect_primary_within(secs(10));
    for _ in 0..4 {
        let token = world.token_of(primary);
        world.kill(primary);
        world.expect("another one starts", SUCCEEDED, |world| world.begins_after(token).is_some());
        let begins = world.begins_after(token).unwrap_or(primary);
        world.run_up_to(ms(40));
        world.kill(begins);
        world.run_up_to(secs(1));
        world.restart(primary);
        world.restart(begins);
        primary = world.expect_primary_within(secs(15));
        world.run(secs(2));
    }
}

/// T09, T10, T11 for roles: the primary is cut off, from all or in one direction.
pub(super) fn primary_cut_off(world: &mut World) {
    world.start(nodes(3).with_roles(MOVING));
    world.load(ms(60));
    for direction in 0..3 {
        let primary = world.expect_primary_within(secs(15));
        world.run_up_to(secs(1));
        match direction {
            0 => world.cut(primary, everyone_but(primary)),
            1 => world.cut_one_way(primary, everyone_but(primary)),
            _ => world.cut_one_way(everyone_but(primary), primary),
        }
        world
            .expect("another one is primary", SUCCEEDED, |world| world.primary().is_some_and(|other| other != primary));
        world.heal();
        world.run(secs(3));
    }
}

/// T15, T16: two nodes with data and a witness, and every pair of them apart.
pub(super) fn around_a_witness(world: &mut World) {
    world.start(nodes(2).and_a_witness().with_roles(MOVING));
    world.load(ms(60));
    let primary = world.expect_primary_within(secs(10));
    let (standby, witness) = (if primary == Name(1) { Name(2) } else { Name(1) }, Name(3));
    for (one, other) in [(standby, witness), (primary, standby), (primary, witness)] {
        world.cut(one, other);
        world.run(secs(4));
        world.expect_primary_within(SUCCEEDED);
        world.heal();
        world.run(secs(3));
    }
    // The witness goes first, then the primary: nobody may promote itself.
    let primary = world.expect_primary_within(secs(10));
    world.kill(witness);
    world.run(secs(2));
    assert_eq!(world.primary(), Some(primary), "the loss of the witness moved the primary");
    world.kill(primary);
    world.expect_throughout("nobody is primary without a majority", secs(8), |world| world.primary().is_none());
    world.restart(witness);
    world.expect_primary_within(secs(10));
    world.restart(primary);
}

/// T37: all nodes are restarted in order, one after another.
pub(super) fn rolling_restart(world: &mut World) {
    world.start(nodes(3).with_roles(MOVING));
    world.load(ms(30));
    world.expect_primary_within(secs(10));
    world.run(secs(3));
    let began = world.starts();
    for name in world.names() {
        world.drain(name, secs(5));
        world.kill(name);
        world.restart(name);
        world.expect_primary_within(SUCCEEDED);
        // Longer than a node that was restarted is taken for unsettled.
        world.run(secs(6));
    }
    let moves = world.starts() - began;
    assert!(moves <= 3, "{moves} moves for three restarts");
}

/// T41: a node of higher priority, to which roles return by themselves, comes and goes.
pub(super) fn flapping(world: &mut World) {
    let moving = Moving { failback: Failback::Automatic, recovery_wait: secs(60) };
    world.start(nodes(3).with_roles(moving).but(Name(1), |config| config.priority = 200));
    world.load(ms(100));
    world.expect_primary_within(secs(10));
    world.kill(Name(1));
    world.expect("another one is primary", SUCCEEDED, |world| world.primary().is_some_and(|other| other != Name(1)));
    let began = world.starts();
    for _ in 0..8 {
        world.restart(Name(1));
        world.run(secs(10));
        world.kill(Name(1));
        world.run(secs(10));
    }
    let moves = world.starts() - began;
    assert!(moves <= 1, "{moves} moves, while a node came and went");
    world.restart(Name(1));
}

/// T20 for roles: a network that loses a tenth of everything moves nothing.
pub(super) fn packets_lost(world: &mut World) {
    world.start(nodes(3).with_roles(MOVING).timers_times(10));
    world.load(ms(200));
    let primary = world.expect_primary_within(secs(60));
    world.run(secs(30));
    let began = world.starts();
    world.lose_packets(0.1);
    world.run(secs(60));
    world.lose_packets(0.0);
    assert_eq!((world.primary(), world.starts()), (Some(primary), began), "the primary moved");
}

/// T37, T39 for roles: leadership of the log moves, and the primary does not.
pub(super) fn leader_moves(world: &mut World) {
    world.start(nodes(3).with_roles(MOVING));
    world.load(ms(30));
    let primary = world.expect_primary_within(secs(10));
    world.run(secs(4));
    let began = world.starts();
    for _ in 0..3 {
        let leader = world.expect_leader();
        let moved = world.transfer(leader, None);
        world.expect_result(&moved, secs(5)).expect("leadership is handed over");
        world.run(secs(2));
    }
    assert_eq!((world.primary(), world.starts()), (Some(primary), began), "the primary moved with the leader");
    // Not even when the leader dies, unless it is the primary.
    let leader = world.expect_leader();
    world.kill(Leader);
    world.run(secs(3));
    world.restart(leader);
    if leader != primary {
        assert_eq!((world.primary(), world.starts()), (Some(primary), began), "a dead leader moved the primary");
    }
}

/// T63: a majority is away for ten minutes and comes back; then it is lost, one node goes on by force, and the others come
/// back after all.
fn quorum_lost(world: &mut World, members: u8) {
    world.start(nodes(members).with_roles(MOVING));
    world.load(ms(200));
    let primary = world.expect_primary_within(secs(10));
    world.run_up_to(secs(3));
    let majority = usize::from(members / 2 + 1);
    let others = everyone_but(primary).among(world).into_iter().take(majority - 1);
    let away: Vec<Name> = others.chain([primary]).collect();
    world.kill(away.clone());
    world.run(LEASE_OVER);
    world.expect_throughout("nobody is primary without a majority", secs(600), |world| world.primary().is_none());
    world.restart(away);
    world.expect_primary_within(secs(15));
    world.run(secs(2));

    // Whoever is left may lack what was just acknowledged: that is what force costs.
    let lone = world.names()[world.rng_below(usize::from(members))];
    let lost = everyone_but(lone).among(world);
    let before = world.names().into_iter().map(|name| world.token_of(name)).max().unwrap_or_default();
    world.kill(lost.clone());
    world.run(LEASE_OVER);
    world.expect_throughout("nobody is primary without a majority", secs(10), |world| world.primary().is_none());
    world.go_on_alone(lone);
    assert_eq!(world.expect_primary_within(secs(15)), lone);
    let token = world.token_of(lone);
    assert!(token > before && token >> 40 == 1, "token {token} after {before}");
    world.expect_writes_within(secs(10));

    // The old majority is back, all at once: it gives way before anybody of it serves.
    world.restart(lost.clone());
    let starts = world.starts();
    for name in lost {
        world.expect_anew(name, secs(10));
    }
    world.expect_voters(Everyone);
    assert_eq!((world.primary(), world.starts()), (Some(lone), starts), "the old majority moved the primary");
}

pub(super) fn quorum_lost_of_three(world: &mut World) {
    quorum_lost(world, 3);
}

pub(super) fn quorum_lost_of_five(world: &mut World) {
    quorum_lost(world, 5);
}
