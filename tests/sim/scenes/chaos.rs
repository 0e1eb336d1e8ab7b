//! Everything at once.

use std::time::Duration;

use crate::sim::nemesis::Chaos;
use crate::sim::{World, ms, nodes, secs};

/// How long chaos reigns in one run.
const CHAOS_TIME: Duration = secs(40);

pub(super) fn three(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(30));
    world.expect_leader();
    world.endure(Chaos::everything(CHAOS_TIME));
}

pub(super) fn five(world: &mut World) {
    world.start(nodes(5));
    world.load(ms(80));
    world.expect_leader();
    world.endure(Chaos::everything(CHAOS_TIME));
}

pub(super) fn witnessed(world: &mut World) {
    world.start(nodes(2).and_a_witness());
    world.load(ms(30));
    world.expect_leader();
    world.endure(Chaos::everything(CHAOS_TIME));
}

pub(super) fn deaths(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(10));
    world.expect_leader();
    world.endure(Chaos::deaths(secs(20)));
}
