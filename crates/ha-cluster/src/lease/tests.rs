//! All rules together against bad clocks, pauses and changes of the leader.

use super::simulator::{Mutant, Simulator};

fn violation(mutant: Mutant, seeds: std::ops::Range<u64>) -> Option<(u64, u64)> {
    seeds.into_iter().find_map(|seed| Simulator::new(mutant, seed).run(20_000).map(|at| (seed, at)))
}

#[test]
fn no_lease_is_believed_in_while_others_may_act() {
    let (mut held, mut expiries) = (0, 0);
    for seed in 0..300 {
        let mut simulator = Simulator::new(Mutant::None, seed);
        if let Some(at) = simulator.run(20_000) {
            panic!("held {at} ms into the run although its expiry was committed; seed {seed}");
        }
        (held, expiries) = (held + simulator.held, expiries + simulator.expiries);
    }
    // Against a run in which nothing happens.
    assert!(held > 300 * 10_000, "held for only {held} ms");
    assert!(expiries > 300, "only {expiries} expiries");
}

#[test]
fn the_simulator_sees_each_mistake() {
    for mutant in [
        Mutant::CountsFromTheAnswer,
        Mutant::IgnoresWhatItHasNotApplied,
        Mutant::GrantsWithoutQuorum,
        Mutant::NewLeaderKeepsNothing,
        Mutant::TrustsClocks,
    ] {
        assert!(violation(mutant, 0..2000).is_some(), "{mutant:?} went unnoticed");
    }
}
