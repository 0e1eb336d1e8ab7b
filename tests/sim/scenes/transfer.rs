//! Leadership is handed over.

use ha_cluster::TransferError;

use crate::sim::{Name, World, ms, nodes, secs};

/// T39.
pub(super) fn to_the_unfit(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(10));
    for fault in 0..3 {
        let (leader, target) = world.expect_leader_and_follower();
        world.run(secs(3));
        if world.leader() != Some(leader) {
            continue;
        }
        if fault == 0 {
            world.stall_disk(target, secs(5));
            world.run(ms(500));
        }
        let began = world.now();
        let moved = world.transfer(leader, Some(target));
        world.run_up_to(ms(4));
        match fault {
            0 => {}
            1 => world.kill(target),
            _ => world.cut(target, world.names()),
        }
        world.expect_writes_within(secs(3));
        world.run(secs(2));
        let gap = world.longest_write_gap_since(began);
        assert!(gap < ms(1500), "no write was acknowledged for {gap:?} around a hand-over that failed");
        world.expect("the order has a result", secs(20), |_| moved.result().is_some());
        world.heal();
        world.restart(target);
        world.run(secs(5));
        world.expect_leader();
    }
    // And one that succeeds.
    let (leader, target) = world.expect_leader_and_follower();
    let began = world.now();
    let moved = world.transfer(target, Some(target));
    assert_eq!(world.expect_result(&moved, secs(5)), Ok(target));
    world.expect_writes_within(secs(1));
    world.run(secs(1));
    let gap = world.longest_write_gap_since(began);
    assert!(gap < ms(400), "no write was acknowledged for {gap:?} around a hand-over from {leader}");
}

/// T40.
pub(super) fn to_the_ineligible(world: &mut World) {
    world.start(nodes(3).and_a_witness().but(Name(3), |config| config.priority = 0));
    world.load(ms(10));
    world.expect_leader();
    world.run(secs(10));
    let leader = world.expect_leader();
    let began = world.now();
    for (target, why) in [(Name(4), "a witness"), (Name(3), "of priority 0"), (Name(7), "no member")] {
        let moved = world.transfer(leader, Some(target));
        let moved = world.expect_result(&moved, secs(5));
        let refused = matches!(moved, Err(TransferError::NotEligible { .. } | TransferError::NotAMember { .. }));
        assert!(refused, "{target} is {why}, and the answer was {moved:?}");
        world.run(secs(1));
    }
    assert_eq!(world.leader(), Some(leader), "leadership moved");
    let gap = world.longest_write_gap_since(began);
    assert!(gap < ms(300), "writes stopped for {gap:?} for a hand-over that was refused");
}
