//! Disks fail.

use ha_cluster::disk::faulty::Survival;
use rand::RngExt as _;

use crate::sim::{AFollower, Everyone, Leader, Name, World, ms, nodes, secs};

/// T27.
pub(super) fn full(world: &mut World) {
    world.start(nodes(3).clients(4));
    world.load(ms(10));
    world.expect_leader();
    world.run(secs(2));
    let follower = world.expect_leader_and_follower().1;
    world.fill_disk(follower);
    world.run(secs(10));
    world.expect_writes_within(secs(1));
    world.empty_disk(follower);
    world.revive(follower);
    world.run(secs(3));

    let old = world.expect_leader();
    world.fill_disk(Leader);
    world.run(secs(15));
    world.expect_writes_within(secs(5));
    world.empty_disk(old);
    world.revive(old);
    world.expect_leader();
    world.run(secs(3));

    world.fill_disk(Everyone);
    world.run(secs(20));
    world.empty_disk(Everyone);
    world.revive(Everyone);
    world.expect_writes_within(secs(20));
}

/// T28.
pub(super) fn sync_fails(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(20));
    for leader_too in [false, true] {
        let (leader, follower) = world.expect_leader_and_follower();
        world.run(secs(1));
        let victim = if leader_too { leader } else { follower };
        world.fail_next_sync(victim);
        world.expect("it uses its disk no more", secs(2), |world| world.seen(victim).stopped || !world.runs(victim));
        world.expect_writes_within(secs(5));
        world.run(secs(2));
        if world.runs(victim) {
            let others = world.names().into_iter().filter(|name| *name != victim);
            others.for_each(|name| assert!(world.seen(name).unfit.contains(&victim), "{name} takes {victim} for well"));
        }
        world.revive(victim);
        world.expect_leader();
    }
}

/// T29.
pub(super) fn leader_stalls(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(20));
    world.expect_leader();
    world.run(secs(1));
    let began = world.now();
    world.stall_disk(Leader, secs(30));
    world.run(secs(10));
    // Whoever leads by now: the two others are a majority, and nothing more may happen when the disk wakes.
    world.expect_no_move_for(secs(30));
    world.expect_writes_within(secs(1));
    let gap = world.longest_write_gap_since(began);
    assert!(gap < secs(5), "no write was acknowledged for {gap:?} while one disk of three stalled");
}

/// T30.
pub(super) fn power_lost(world: &mut World) {
    let count = [3, 5][world.rng_below(2)];
    world.start(nodes(count));
    world.load(ms(20));
    for _ in 0..6 {
        world.expect_leader();
        world.run(ms(50));
        world.run_up_to(ms(1450));
        match world.rng_below(4) {
            0 => world.cut_power(Leader),
            1 => world.cut_power(AFollower),
            2 => world.cut_power(Everyone),
            _ => world.cut_power_and_keep(Everyone, Survival::Nothing),
        }
        world.run_up_to(ms(1000));
        world.restart(Everyone);
        world.expect_writes_within(secs(10));
    }
}

/// T30, at its most dangerous moment: everybody loses power just after votes were cast.
pub(super) fn power_lost_after_votes(world: &mut World) {
    world.start(nodes(3));
    world.expect_leader();
    for _ in 0..20 {
        let term = world.highest_term();
        world.kill(Leader);
        world.expect("somebody campaigns", secs(10), |world| world.highest_term() > term);
        world.run_up_to(ms(12));
        world.cut_power_and_keep(Everyone, Survival::Nothing);
        world.restart(Everyone);
        world.expect_leader();
    }
}

/// T31. Every byte and every block of a batch is tried where the log is tested; here, whole nodes meet some of them.
pub(super) fn torn_writes(world: &mut World) {
    world.start(nodes(3).clients(3));
    world.load(ms(10));
    for _ in 0..8 {
        world.expect_leader();
        world.run(ms(50));
        world.run_up_to(ms(750));
        let survival = match world.rng_below(2) {
            0 => Survival::FirstBytes(world.rng_below(600)),
            _ => Survival::FirstBlocks(world.rng_below(4)),
        };
        world.cut_power_and_keep(Everyone, survival);
        world.restart(Everyone);
        world.expect_writes_within(secs(10));
    }
}

/// T32.
pub(super) fn bits_flip(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(20));
    world.expect_leader();
    world.run(secs(12));
    let (leader, follower) = world.expect_leader_and_follower();
    let victim = if world.rng.random_bool(0.5) { leader } else { follower };
    world.kill(victim);
    let kind = ["wal", "snapshot", "identity", ""][world.rng_below(4)];
    let (place, bit) = (world.rng.random_range(0.0..1.0), world.rng_below(8));
    let mut flipped = false;
    world.damage(victim, |path, content| {
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if flipped || used == 0 || !path.to_string_lossy().contains(kind) {
            return false;
        }
        flipped = true;
        content[(used as f64 * place) as usize] ^= 1 << bit;
        true
    });
    world.expect_leader();
    world.expect_writes_within(secs(5));
    world.restart(victim);
    world.run(secs(5));
    world.expect_writes_within(secs(1));
    if !world.runs(victim) || world.seen(victim).stopped {
        // It refused what it cannot trust. Its owner gives the machine a new id and an empty disk.
        replace(world, victim);
    }
}

/// Removes a node for good and lets a new one join in its place.
fn replace(world: &mut World, lost: Name) {
    world.dismiss(lost);
    let leader = world.expect_leader();
    let removed = world.remove(leader, lost);
    let removed = world.expect_result(&removed, secs(20));
    assert!(removed.is_ok(), "{lost} could not be removed: {removed:?}");
    let new = Name(9);
    world.add(new);
    let voters: Vec<Name> = world.names();
    world.expect_voters(voters);
}

/// T33: the log, and with it the votes, is gone, while the rest of the data directory is there.
pub(super) fn log_lost(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(20));
    let victim = world.expect_leader_and_follower().1;
    world.run(secs(2));
    world.kill(victim);
    world.erase(victim, |path| path.components().any(|part| part.as_os_str() == "wal"));
    world.restart(victim);
    expect_refused(world, victim);
}

/// T33: the whole data directory is one of an earlier life of the node.
pub(super) fn older_copy(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(20));
    let victim = world.expect_leader_and_follower().1;
    world.run(secs(1));
    let copy = world.copy_disk(victim);
    // Lives that the copy knows nothing of, and elections in which it voted.
    for _ in 0..2 {
        world.kill(victim);
        world.restart(victim);
        world.expect_leader();
        let old = world.expect_leader();
        world.kill(old);
        world.expect_new_leader_within(secs(3));
        world.restart(old);
        world.expect_leader();
        world.run(secs(1));
    }
    world.kill(victim);
    world.replace_disk(victim, Some(copy));
    world.restart(victim);
    expect_refused(world, victim);
}

/// T33: the same, from the middle of the life that ended: no start tells the copy from the disk, only the log does.
pub(super) fn rewound(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(20));
    let victim = world.expect_leader_and_follower().1;
    world.run(secs(1));
    let copy = world.copy_disk(victim);
    world.run(secs(1));
    world.kill(victim);
    world.replace_disk(victim, Some(copy));
    world.restart(victim);
    expect_refused(world, victim);
}

/// A node that has forgotten something stops, the others go on, and another one takes its place.
fn expect_refused(world: &mut World, victim: Name) {
    let no_part = |world: &World| !world.runs(victim) || world.seen(victim).stopped;
    world.expect("it refuses to take part", secs(5), no_part);
    world.expect_writes_within(secs(1));
    world.expect_no_move_for(secs(3));
    replace(world, victim);
}
