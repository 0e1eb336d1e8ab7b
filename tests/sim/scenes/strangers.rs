//! Somebody who is no node talks to nodes.

use rand::RngExt as _;

use crate::sim::stranger::Visit;
use crate::sim::{AFollower, Leader, Name, World, ms, nodes, secs};

/// Recordings that are played again.
const REPLAYS_MAX: usize = 40;

/// T21. TCP neither duplicates nor reorders, so what can come late is a whole connection: everything that was sent is
/// sent again by somebody else, while a restarted node has another incarnation and after leadership has moved.
pub(super) fn replay(world: &mut World) {
    world.network.record(true);
    world.start(nodes(3));
    world.load(ms(50));
    world.expect_leader();
    world.run(secs(2));
    world.kill(AFollower);
    world.run(secs(1));
    world.restart(world.names());
    world.run(secs(3));
    world.kill(Leader);
    world.expect_new_leader_within(secs(5));
    world.restart(world.names());
    world.expect_leader();
    world.network.record(false);
    world.run(secs(10));
    let stranger = world.invite_stranger();
    world.expect_leader();
    world.run(secs(47));
    for recorded in world.network.recorded().into_iter().take(REPLAYS_MAX) {
        stranger.send(recorded.to, recorded.bytes);
        world.run(ms(20));
    }
    world.expect_no_move_for(secs(10));
    world.expect_writes_within(secs(1));
}

/// T53.
pub(super) fn garbage(world: &mut World) {
    world.start(nodes(3));
    world.network.record(true);
    world.load(ms(50));
    world.expect_leader();
    world.run(secs(3));
    world.network.record(false);
    let stranger = world.invite_stranger();
    world.run(secs(5));
    world.expect_leader();
    let honest: Vec<_> = world.network.recorded();
    let mut sent = 0;
    for round in 0..60 {
        let to = Name(world.rng.random_range(1..=3));
        let recorded = honest.get(world.rng_below(honest.len())).map(|recorded| recorded.bytes.clone());
        let bytes = nonsense(world, round, recorded.unwrap_or_default());
        stranger.send(to, bytes);
        sent += 1;
        world.run(ms(30));
    }
    world.expect("every visit has ended", secs(20), |_| stranger.visits().len() == sent);
    let open = stranger.visits().iter().filter(|(_, visit)| *visit == Visit::StillOpen).count();
    assert_eq!(open, 0, "{open} connections of a stranger were kept");
    world.expect_no_move_for(secs(3));
    world.expect_writes_within(secs(1));
}

fn nonsense(world: &mut World, round: usize, mut honest: Vec<u8>) -> Vec<u8> {
    let length = world.rng.random_range(0..5000_usize);
    let mut random = vec![0; length];
    world.rng.fill(&mut random[..]);
    match round % 6 {
        0 => random,
        // A frame that claims to be as long as can be said.
        1 => [vec![0xff; 4], random].concat(),
        // Honest bytes that end in the middle.
        2 => {
            honest.truncate(world.rng_below(honest.len().max(1)));
            honest
        }
        // Honest bytes with flipped bits.
        3 => {
            for _ in 0..3 {
                let at = world.rng_below(honest.len().max(1));
                if let Some(byte) = honest.get_mut(at) {
                    *byte ^= 1 << world.rng_below(8);
                }
            }
            honest
        }
        // A greeting that is never said.
        4 => Vec::new(),
        // Honest, and then not.
        _ => [honest, random].concat(),
    }
}
