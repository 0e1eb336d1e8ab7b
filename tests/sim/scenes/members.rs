//! Members come and go.

use crate::sim::{Leader, Name, World, everyone_but, ms, nodes, secs};

/// T43: from three nodes to seven and back to three, never in peace.
pub(super) fn replaced_under_fire(world: &mut World) {
    world.start(nodes(3).all(|config| config.voters_max = 7));
    world.load(ms(60));
    world.expect_leader();
    world.run(secs(1));
    world.add(Name(4));
    world.add(Name(5));
    world.run_up_to(ms(1500));
    let old = world.expect_leader();
    world.kill(old);
    world.run(secs(2));
    world.add(Name(6));
    world.restart(old);
    world.run(secs(3));
    let cut = world.expect_leader();
    world.cut(Leader, everyone_but(Leader));
    world.add(Name(7));
    world.run(secs(4));
    world.heal();
    let all = world.names();
    world.expect_voters(all);
    world.expect_writes_within(secs(5));

    for gone in [cut, Name(5), Name(6), Name(7)] {
        let asked = world.expect_leader();
        world.remove(asked, gone);
        world.run_up_to(ms(300));
        if gone == Name(5) {
            let leader = world.expect_leader();
            world.kill(leader);
            world.run(secs(2));
            world.restart(leader);
        }
        // What a leader did not finish before it was gone has to be asked for again.
        world.run(secs(3));
        if world.names().iter().any(|name| *name != gone && world.seen(*name).voters.contains(&gone)) {
            let asked = world.expect_leader();
            world.remove(asked, gone);
        }
        world.expect_removed(gone);
        world.dismiss(gone);
    }
    let rest = world.names();
    world.expect_voters(rest);
    world.expect_writes_within(secs(5));
}

/// T44.
pub(super) fn learner_left_behind(world: &mut World) {
    world.start(nodes(3));
    world.load(ms(40));
    world.expect_leader();
    world.run(secs(3));
    world.add(Name(4));
    world.add(Name(5));
    world.expect("both run", secs(5), |world| world.seen(Name(4)).up && world.seen(Name(5)).up);
    world.stall_disk(Name(5), secs(60));
    world.expect("the healthy one votes", secs(20), |world| {
        world.leader().is_some_and(|leader| world.seen(leader).voters.contains(&Name(4)))
    });
    world.expect_throughout("the one behind does not vote", secs(20), |world| {
        world.names().iter().all(|name| !world.seen(*name).voters.contains(&Name(5)))
    });
    world.expect_writes_within(secs(1));
    world.expect_no_move_for(secs(5));
}
