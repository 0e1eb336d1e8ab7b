//! Processes die and machines lose power.

use rand::RngExt as _;

use crate::sim::{Everyone, Leader, World, everyone_but, ms, nodes, secs};

/// T01.
pub(super) fn leader_killed_under_load(world: &mut World) {
    world.start(nodes(3));
    world.expect_leader();
    world.load(ms(10));
    for _ in 0..9 {
        let point_of_the_lease = ms(world.rng.random_range(0..500));
        world.run(secs(1) + point_of_the_lease);
        let old = world.expect_leader();
        world.kill(Leader);
        world.expect_new_leader_within(ms(1500));
        world.expect_writes_within(ms(500));
        world.restart(old);
        world.expect_leader();
    }
}
