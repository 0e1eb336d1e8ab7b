//! Records: acknowledged ones survive, copies are equal in the end.

use ha_cluster::disk::faulty::Survival;
use ha_replication::{Consistency, CopyState};

use crate::sim::nemesis::Chaos;
use crate::sim::records::SYNC_TIMEOUT;
use crate::sim::{AFollower, Cast, Everyone, Leader, Name, World, everyone_but, ms, nodes, secs};

/// Without the list that other scenes write to: these are about records.
fn keep(world: &mut World, cast: Cast, consistency: Consistency) {
    world.start(cast.clients(2).keeping_records(consistency));
    world.load(ms(25));
    world.expect_leader();
}

/// I2 on three nodes, every copy in step. What a log orders has nothing to do with the time of day.
pub(super) fn strong(world: &mut World) {
    keep(world, nodes(3), Consistency::Strong);
    world.endure(Chaos { walls: true, ..Chaos::everything(secs(30)) });
}

/// I2 on five nodes, a majority of copies.
pub(super) fn quorum(world: &mut World) {
    keep(world, nodes(5), Consistency::Quorum);
    world.endure(Chaos { walls: true, ..Chaos::everything(secs(30)) });
}

/// I2 on two nodes and a witness, which is no copy.
pub(super) fn witnessed(world: &mut World) {
    keep(world, nodes(2).and_a_witness(), Consistency::Quorum);
    world.endure(Chaos::everything(secs(30)));
}

/// T30: what the store had not synced is in the log.
pub(super) fn power_lost(world: &mut World) {
    keep(world, nodes(3), Consistency::Quorum);
    lose_power(world);
}

/// T30: so many write that their commands share entries of the log, and the store has a part of one when power is lost.
pub(super) fn power_lost_amid_an_entry(world: &mut World) {
    world.start(nodes(3).clients(12).keeping_records(Consistency::Quorum));
    world.load(ms(3));
    world.expect_leader();
    lose_power(world);
}

fn lose_power(world: &mut World) {
    for _ in 0..6 {
        world.expect_leader();
        world.run(ms(100));
        world.run_up_to(ms(2000));
        match world.rng_below(4) {
            0 => world.cut_power(Leader),
            1 => world.cut_power(AFollower),
            2 => world.cut_power(Everyone),
            _ => world.cut_power_and_keep(Everyone, Survival::Nothing),
        }
        world.run_up_to(ms(1000));
        world.restart(Everyone);
        world.expect_records_within(secs(20));
    }
}

/// Who falls silent leaves the copies in step when its time is over, and is not waited for any longer; who is back
/// before that never left them.
pub(super) fn silent(world: &mut World) {
    keep(world, nodes(3), Consistency::Strong);
    for _ in 0..4 {
        world.run(secs(3));
        let (leader, follower) = world.expect_leader_and_follower();
        assert_eq!(state_of(world, leader, follower), CopyState::InStep);
        world.freeze(follower, everyone_but(follower));
        world.run(SYNC_TIMEOUT * 3 / 10);
        world.mend(follower, Everyone);
        assert_eq!(state_of(world, leader, follower), CopyState::InStep, "it was away for a moment only");
        world.expect_records_within(secs(10));
        world.run_up_to(secs(3));

        let (_, follower) = world.expect_leader_and_follower();
        world.freeze(follower, everyone_but(follower));
        let took = world.expect_records_within(ms(900));
        assert!(took > ms(300), "nobody waited for the one that is silent");
        world.heal();
        world.expect_complete(follower, secs(20));
    }
}

/// What one node tells of the copy of another.
fn state_of(world: &mut World, asked: Name, copy: Name) -> CopyState {
    let told = world.order_with(asked, "tell how the copies are", move |handles| async move {
        let status = handles.replication?.status().await;
        status.nodes.into_iter().find(|node| node.node_id == copy.node_id()).map(|node| node.state)
    });
    world.expect_result(&told, secs(5)).expect("it keeps records, and knows all copies")
}

/// T27.
pub(super) fn full(world: &mut World) {
    keep(world, nodes(3), Consistency::Strong);
    world.expect_records_within(secs(10));
    let follower = world.expect_leader_and_follower().1;
    world.fill_disk(follower);
    world.run(secs(5));
    world.expect_records_within(secs(10));
    world.empty_disk(follower);
    world.revive(follower);
    world.run(secs(2));
    world.fill_disk(Everyone);
    world.run(secs(10));
    world.empty_disk(Everyone);
    world.revive(Everyone);
    world.expect_records_within(secs(20));
}

/// T32, T35: a copy loses its records, or finds them damaged, and gets them from the others.
pub(super) fn lost(world: &mut World) {
    keep(world, nodes(3), Consistency::Quorum);
    world.run(secs(15));
    for damage_only in [true, false] {
        let victim = world.expect_leader_and_follower().1;
        world.kill(victim);
        if damage_only {
            world.damage(victim, |path, content| {
                let records = path.to_string_lossy().ends_with(".redb");
                if records {
                    content[..512].fill(0x55);
                }
                records
            });
        } else {
            world.erase(victim, |path| path.to_string_lossy().ends_with(".redb"));
        }
        world.run(secs(2));
        world.restart(victim);
        world.expect_records_within(secs(10));
        world.expect_complete(victim, secs(20));
    }
}

/// I9: whatever happens, all copies are equal in the end, and what a disk acknowledged is there.
pub(super) fn loose(world: &mut World) {
    world.start(nodes(5).clients(2).keeping_loose_records());
    world.load(ms(40));
    world.expect_leader();
    let time = world.chaos_time(secs(30));
    world.endure(Chaos { walls: true, ..Chaos::everything(time) });
}

/// I2, I9: no leader orders anything, and what a majority acknowledged is read until it is replaced.
pub(super) fn joint(world: &mut World) {
    world.start(nodes(5).clients(2).keeping_joint_records());
    world.load(ms(40));
    world.expect_leader();
    let time = world.chaos_time(secs(30));
    world.endure(Chaos { walls: true, ..Chaos::everything(time) });
}

/// Writers lose one copy after the other in the middle of their writes, and then die, while copies seldom compare
/// themselves: so some values are on a few copies only when they are read.
pub(super) fn joint_torn(world: &mut World) {
    world.start(nodes(5).clients(3).keeping_joint_records().comparing_every(secs(5)));
    world.load(ms(10));
    world.expect_records_within(secs(20));
    for _ in 0..60 {
        world.run_up_to(ms(100));
        let mut names = world.names();
        let victim = names.swap_remove(world.rng_below(names.len()));
        let left = world.rng_below(names.len());
        names.swap_remove(left);
        for name in names {
            world.cut(victim, name);
            world.run_up_to(ms(4));
        }
        world.kill(victim);
        world.run_up_to(ms(300));
        world.heal();
        world.restart(victim);
        world.run(ms(100));
    }
}

/// T32, T35: a copy loses its records, and answers for nothing until it has them again.
pub(super) fn joint_lost(world: &mut World) {
    world.start(nodes(5).clients(2).keeping_joint_records());
    world.load(ms(25));
    for _ in 0..4 {
        world.expect_leader();
        world.expect_records_within(secs(10));
        let victim = world.expect_leader_and_follower().1;
        world.kill(victim);
        world.erase(victim, |path| path.to_string_lossy().ends_with(".redb"));
        world.run_up_to(secs(2));
        world.restart(victim);
        // The others are a majority without it, as long as all of them are there.
        let other = world.expect_leader();
        world.run_up_to(ms(500));
        world.kill(other);
        world.run_up_to(secs(3));
        world.restart(other);
        world.run(secs(3));
    }
}

/// T61: a master is cut off while it takes writes, or dies; another one takes over. What the old one had alone is set
/// aside, with counts, and everything else is there.
pub(super) fn loose_master(world: &mut World) {
    world.start(nodes(3).clients(2).keeping_records_of_a_loose_master());
    world.load(ms(25));
    for round in 0..3 {
        world.expect_records_within(secs(20));
        let master = world.expect_leader();
        world.cut(master, everyone_but(master));
        world.run_up_to(ms(800));
        if round == 1 {
            world.kill(master);
        }
        world.run(secs(5));
        world.heal();
        world.restart(Everyone);
        world.run(secs(4));
    }
    world.expect_records_within(secs(20));
    world.run(secs(3));
    for name in world.names() {
        world.take_note_of_tails(name);
    }
}

/// T62: a node is away for longer than deletions are remembered, and comes back with what was deleted.
pub(super) fn away_for_long(world: &mut World) {
    world.start(nodes(3).clients(2).keeping_loose_records().forgetting_graves_after(secs(3)));
    world.load(ms(200));
    world.expect_records_within(secs(10));
    world.run(secs(3));
    // What it has alone when it goes would be lost with the rest.
    world.stop_load();
    world.run(secs(2));
    let victim = world.expect_leader_and_follower().1;
    world.kill(victim);
    world.load(ms(200));
    world.run(secs(20));
    world.restart(victim);
    world.expect_records_within(secs(10));
    world.run(secs(3));
}

/// T24: a time of day that jumps while a node runs changes nothing; a node that starts with a wrong one is turned away
/// until it is set right, and nothing of it is lost, what it had stamped an hour ahead neither.
pub(super) fn clocks_off(world: &mut World) {
    world.start(nodes(3).clients(2).keeping_loose_records());
    world.load(ms(30));
    let victim = world.expect_leader_and_follower().1;
    world.run(secs(3));
    world.step_wall(victim, secs(3600));
    world.run(secs(5));
    world.kill(victim);
    world.step_wall(victim, secs(3600));
    world.restart(victim);
    world.run(secs(5));
    world.kill(victim);
    world.step_wall(victim, ms(0));
    world.restart(victim);
    world.run(secs(3));
}
