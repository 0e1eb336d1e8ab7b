//! A cluster forms.

use ha_cluster::Seed;
use rand::RngExt as _;

use crate::sim::{Name, World, ms, nodes, secs};

fn seeds(names: &[u8]) -> Vec<Seed> {
    names.iter().map(|name| Seed::Address(Name(*name).address())).collect()
}

/// T49.
pub(super) fn bad_seeds(world: &mut World) {
    // Of three seeds one is right for node 4, and node 5 knows only itself.
    let cast = nodes(3)
        .but(Name(4), |config| config.seeds = seeds(&[8, 9, 2]))
        .but(Name(5), |config| config.seeds = seeds(&[5]));
    world.start(cast);
    world.expect_leader();
    world.load(ms(50));
    world.kill(Name(2));
    world.add(Name(4));
    world.add(Name(5));
    world.expect_throughout("nobody forms a cluster alone", secs(10), |world| {
        world.seen(Name(4)).cluster.is_none() && world.seen(Name(5)).cluster.is_none()
    });
    world.restart(Name(2));
    world.expect("the one with a right seed joins", secs(20), |world| world.seen(Name(4)).voters.contains(&Name(4)));
    world.expect_throughout("the other goes on waiting", secs(3), |world| world.seen(Name(5)).cluster.is_none());
    world.dismiss(Name(5));
}

/// T50.
pub(super) fn all_at_once(world: &mut World) {
    let count = [3, 5][world.rng_below(2)];
    let longest = ms(world.rng.random_range(5..200));
    world.set_latency(longest);
    let share = world.rng.random_range(0.0..0.2);
    world.lose_packets(share);
    world.start(nodes(count));
    for _ in 0..world.rng_below(4) {
        world.run_up_to(ms(600));
        let name = Name(world.rng.random_range(1..=count));
        match world.rng_below(3) {
            0 => world.kill(name),
            1 => world.cut_power(name),
            _ => world.cut(name, world.names()),
        }
    }
    world.run_up_to(ms(2000));
    world.recover();
    world.expect("all belong to a cluster", secs(30), |world| {
        world.names().iter().all(|name| world.seen(*name).cluster.is_some())
    });
    world.expect_leader();
}
