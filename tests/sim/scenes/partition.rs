//! Links are cut.

use crate::sim::{Everyone, Followers, Leader, Name, Witness, World, everyone_but, ms, nodes, secs};

/// How soon a majority has a leader after its old one fell silent: the lease, an election, one that failed, and
/// connections made again.
const NEW_LEADER: std::time::Duration = ms(3000);

/// T08.
pub(super) fn splits(world: &mut World) {
    match world.rng_below(3) {
        0 => {
            world.start(nodes(3));
            split_in_two(world, 1);
        }
        1 => {
            world.start(nodes(5));
            split_in_two(world, 2);
        }
        _ => split_around_witness(world),
    }
}

/// The leader is among so many, and everybody else is on the other side; then the other way round.
fn split_in_two(world: &mut World, few: usize) {
    world.load(ms(40));
    let old = world.expect_leader();
    let mut minority = vec![old];
    minority.extend(world.names().into_iter().filter(|name| *name != old).take(few - 1));
    world.cut(minority.clone(), everyone_but(minority.clone()));
    let new = world.expect_new_leader_within(NEW_LEADER);
    assert!(!minority.contains(&new), "{new} leads a minority");
    world.expect("the old leader knows that it leads no more", NEW_LEADER, |world| !world.seen(old).live);
    world.run(secs(3));
    world.heal();
    world.expect_leader();

    let leader = world.expect_leader();
    let minority: Vec<Name> = world.names().into_iter().filter(|name| *name != leader).take(few).collect();
    world.cut(minority.clone(), everyone_but(minority));
    world.expect_no_move_for(secs(3));
    world.expect_writes_within(secs(1));
    world.heal();
    world.expect_no_move_for(secs(5));
}

fn split_around_witness(world: &mut World) {
    world.start(nodes(2).and_a_witness());
    world.load(ms(40));
    for _ in 0..2 {
        let old = world.expect_leader();
        world.cut(Leader, everyone_but(Leader));
        let new = world.expect_new_leader_within(NEW_LEADER);
        world.expect("a node with data leads", secs(3), |world| {
            world.leader().is_some_and(|leader| leader != old && !world.is_witness(leader))
        });
        world.expect_writes_within(secs(2));
        world.heal();
        world.expect_leader();
        assert_ne!(new, old);
    }
    world.cut(Witness, everyone_but(Witness));
    world.expect_no_move_for(secs(3));
    world.expect_writes_within(secs(1));
}

/// T09.
pub(super) fn leader_isolated(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(40));
    for _ in 0..3 {
        world.run(secs(1));
        let old = world.expect_leader();
        let cut_at = world.now();
        world.cut(Leader, everyone_but(Leader));
        world.expect_new_leader_within(NEW_LEADER);
        let took = world.now() - cut_at;
        let lease = world.timers().election_max - 2 * world.timers().heartbeat;
        assert!(took >= lease, "a new leader after {took:?}, while the lease of the old one ran for {lease:?}");
        world.expect_writes_within(secs(1));
        world.expect("the old leader knows that it leads no more", ms(1000), |world| !world.seen(old).live);
        world.run(secs(2));
        world.heal();
        world.expect_leader();
    }
}

/// T10.
pub(super) fn leader_deaf(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(40));
    world.expect_leader();
    world.run(secs(1));
    let old = world.expect_leader();
    world.cut_one_way(Followers, Leader);
    world.expect("somebody else leads", secs(6), |world| world.leader().is_some_and(|leader| leader != old));
    world.expect_writes_within(secs(2));
    world.expect_no_move_for(secs(10));
    world.heal();
    world.expect_leader();
    world.run(secs(2));
    world.expect_no_move_for(secs(5));
}

/// T11.
pub(super) fn leader_mute(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(40));
    world.expect_leader();
    world.run(secs(1));
    let old = world.expect_leader();
    world.cut_one_way(Leader, Followers);
    world.expect("somebody else leads", secs(6), |world| world.leader().is_some_and(|leader| leader != old));
    world.expect_writes_within(secs(2));
    world.expect_no_move_for(secs(10));
    world.heal();
    world.expect_leader();
    world.run(secs(2));
    world.expect_no_move_for(secs(5));
}

/// T12: two nodes and a bridge are a majority; the old leader hears the bridge alone, and one node hears nobody.
pub(super) fn bridge(world: &mut World) {
    world.start(nodes(5));
    world.load(ms(60));
    world.run(secs(1));
    let old = world.expect_leader();
    let others: Vec<Name> = world.names().into_iter().filter(|name| *name != old).collect();
    let (pair, isolated) = (vec![others[0], others[1]], others[3]);
    world.cut(isolated, Everyone);
    world.cut(old, pair.clone());
    let bound = secs(10);
    world.expect("one of the majority leads", bound, |world| {
        world.leader().is_some_and(|leader| leader != old && leader != isolated)
    });
    world.expect_writes_within(secs(3));
    world.expect_no_move_for(secs(10));
}

/// T12, of three: the third hears both, so that everybody is alive to everybody; the leader alone can tell.
pub(super) fn pair_cut(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(60));
    world.run(secs(1));
    let (leader, follower) = world.expect_leader_and_follower();
    if world.rng_below(2) == 0 {
        world.cut(leader, follower);
    } else {
        world.cut_one_way(follower, leader);
    }
    world.expect("its leader does without it", secs(10), |world| world.seen(leader).suspects.contains(&follower));
    world.expect_no_move_for(secs(5));
    world.expect_writes_within(secs(1));
    assert_eq!(world.seen(leader).suspects.len(), 1, "the third answers");
    world.heal();
    world.expect("all is well again", secs(10), |world| world.seen(leader).suspects.is_empty());
}

/// T13.
pub(super) fn ring(world: &mut World) {
    world.start(nodes(5));
    world.load(ms(60));
    world.run(secs(1));
    world.expect_leader();
    let before = world.highest_term();
    for (one, other) in [(1, 3), (1, 4), (2, 4), (2, 5), (3, 5)] {
        world.cut(Name(one), Name(other));
    }
    world.expect_writes_within(secs(10));
    world.run(secs(10));
    world.expect_no_move_for(secs(20));
    let terms = world.highest_term() - before;
    assert!(terms <= 10, "a ring cost {terms} terms");
}

/// T14.
pub(super) fn three_way_split(world: &mut World) {
    world.start(nodes(5));
    world.load(ms(60));
    world.run(secs(1));
    world.expect_leader();
    world.split(&[&[Name(1), Name(2)], &[Name(3), Name(4)], &[Name(5)]]);
    world.run(secs(5));
    assert_eq!(world.leader(), None, "somebody leads without a majority");
    let acknowledged = world.acknowledged_writes();
    world.run(secs(2));
    assert_eq!(world.acknowledged_writes(), acknowledged, "a write was acknowledged without a majority");
    world.mend(Name(5), Name(1));
    world.run(secs(2));
    world.mend(Name(5), Name(2));
    world.expect_writes_within(secs(10));
    world.mend([Name(1), Name(2), Name(5)], Name(3));
    world.run(secs(3));
    world.heal();
    world.expect_leader();
}
