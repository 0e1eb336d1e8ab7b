//! Processes die.

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use crate::sim::{Everyone, Leader, World, ms, nodes, secs};

/// T01.
pub(super) fn leader_killed(world: &mut World) {
    world.start(nodes(3));
    world.expect_leader();
    world.load(ms(20));
    for _ in 0..9 {
        world.run(ms(500));
        // Any point of the lease.
        world.run_up_to(ms(500));
        let old = world.expect_leader();
        world.kill(Leader);
        world.expect_new_leader_within(ms(1500));
        world.expect_writes_within(ms(500));
        world.restart(old);
        world.expect_leader();
    }
}

/// T02.
pub(super) fn all_killed(world: &mut World) {
    let count = if world.rng.random_bool(0.5) { 3 } else { 5 };
    world.start(nodes(count));
    world.load(ms(40));
    for _ in 0..4 {
        world.expect_leader();
        world.run(ms(100));
        world.run_up_to(ms(1900));
        world.kill(Everyone);
        let mut order = world.names();
        order.shuffle(&mut world.rng);
        for name in order {
            world.run_up_to(ms(400));
            world.restart(name);
        }
        world.expect_writes_within(secs(10));
    }
}
