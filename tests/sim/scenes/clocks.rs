//! Clocks are wrong.

use crate::sim::{Name, World, ms, nodes, secs};

/// As much as a bad clock gains or loses: half of what leases allow for.
const DRIFT_PPM: i32 = 5000;

/// T25: the clock of leases drifts, and a machine sleeps. Whether any lease is called over while it is held is an
/// invariant.
pub(super) fn drift(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(50));
    world.expect_leader();
    world.drift_clock(Name(1), DRIFT_PPM);
    world.drift_clock(Name(2), -DRIFT_PPM);
    world.run(secs(5));
    world.expect_throughout("nobody loses its lease", secs(20), |world| {
        world.names().iter().all(|name| world.seen(*name).holds_lease)
    });
    for _ in 0..6 {
        let victim = Name(1 + world.rng_below(3) as u8);
        world.cut(victim, world.names());
        world.expect("it believes in its lease no more", secs(1), |world| !world.seen(victim).holds_lease);
        world.run_up_to(secs(2));
        world.heal();
        world.expect("it has a lease again", secs(10), |world| world.seen(victim).holds_lease);
    }
    let sleeper = world.expect_leader_and_follower().1;
    world.jump_clock(sleeper, secs(10));
    world.step();
    assert!(!world.seen(sleeper).holds_lease, "{sleeper} woke after 10 s and believes in its lease");
    world.expect("it has a lease again", secs(5), |world| world.seen(sleeper).holds_lease);
}
