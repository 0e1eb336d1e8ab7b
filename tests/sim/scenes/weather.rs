//! The network is bad, and not broken.

use crate::sim::{World, ms, nodes, secs};

/// T20. A lost packet comes 200 ms late or more, which no election timeout of a quiet machine room allows for: the timers
/// are those of a network between sites.
pub(super) fn packets_lost(world: &mut World) {
    let count = [3, 5][world.rng_below(2)];
    world.start(nodes(count).timers_times(10));
    world.expect_leader();
    world.load(ms(200));
    world.run(secs(30));
    for share in [0.01, 0.1] {
        world.lose_packets(share);
        world.expect_no_move_for(secs(120));
    }
    world.lose_packets(0.3);
    world.run(secs(120));
    world.expect_writes_within(secs(30));
    world.lose_packets(0.0);
}
