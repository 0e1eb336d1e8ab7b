//! Nodes that are not who they were.

use crate::sim::{Name, World, ms, nodes, secs};

/// T35.
pub(super) fn empty_disk(world: &mut World) {
    let count = [3, 5][world.rng_below(2)];
    world.start(nodes(count));
    world.load(ms(40));
    let (_, lost) = world.expect_leader_and_follower();
    world.run(secs(1));
    world.kill(lost);
    world.replace_disk(lost, None);
    world.restart(lost);
    world.expect_no_move_for(secs(5));
    world.expect_writes_within(secs(1));
    let seen = world.seen(lost);
    assert!(!seen.leads && seen.entries.is_empty(), "{lost} takes part with another disk than it joined with");

    // Its owner removes it, which lets it in no more than before, and has it join under another id.
    let leader = world.expect_leader();
    let removed = world.remove(leader, lost);
    let removed = world.expect_result(&removed, secs(20));
    assert!(removed.is_ok(), "{lost} could not be removed: {removed:?}");
    world.kill(lost);
    world.replace_disk(lost, None);
    world.restart(lost);
    world.expect("its id is not used again", secs(5), |world| !world.runs(lost) || world.seen(lost).stopped);
    world.dismiss(lost);
    world.add(Name(9));
    let voters = world.names();
    world.expect_voters(voters);
}

/// T36.
pub(super) fn removed_node(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(40));
    let (leader, removed) = world.expect_leader_and_follower();
    world.run(secs(1));
    if world.rng_below(2) == 0 {
        world.kill(removed);
    } else {
        world.cut(removed, world.names());
    }
    let result = world.remove(leader, removed);
    let result = world.expect_result(&result, secs(20));
    assert!(result.is_ok(), "{removed} could not be removed: {result:?}");
    let voters: Vec<Name> = world.names().into_iter().filter(|name| *name != removed).collect();
    world.expect("it is no member any more", secs(10), |world| {
        voters.iter().all(|name| world.seen(*name).voters.iter().eq(voters.iter()))
    });
    let term = world.highest_term();
    world.heal();
    world.restart(removed);
    world.expect_no_move_for(secs(15));
    assert_eq!(world.highest_term_among(&voters), term, "a removed node raised the term");
    world.expect_writes_within(secs(1));
    world.dismiss(removed);
}

/// T36, the removed node being the leader: it hands over first, and whoever asked hears that it is done.
pub(super) fn removed_leader(world: &mut World) {
    world.start(nodes(4));
    world.load(ms(40));
    let (leader, asked) = world.expect_leader_and_follower();
    world.run(secs(1));
    let asked = if world.rng_below(2) == 0 { leader } else { asked };
    let result = world.remove(asked, leader);
    let result = world.expect_result(&result, secs(16));
    assert!(result.is_ok(), "{leader} was not removed as {asked} was asked: {result:?}");
    let rest: Vec<Name> = world.names().into_iter().filter(|name| *name != leader).collect();
    world.expect("it is no member any more", secs(2), |world| {
        rest.iter().all(|name| world.seen(*name).voters.iter().eq(rest.iter()))
    });
    world.expect_writes_within(secs(1));
    world.dismiss(leader);
}
