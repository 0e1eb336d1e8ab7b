//! Safety under chaos, progress after it, and proof that the simulator would notice.

use std::time::Duration;

use super::simulator::{Mutant, Outcome, Plan, Report, Simulator};

fn calm(nodes: usize, min_nodes: usize) -> Plan {
    Plan {
        nodes,
        listed: nodes,
        min_nodes,
        mutant: Mutant::None,
        chaos: Duration::ZERO,
        loss: 0.0,
        duplication: 0.0,
        delay_max: Duration::from_millis(5),
        crash: 0.0,
        partitions: false,
        uneven: false,
    }
}

fn chaos(nodes: usize, listed: usize, min_nodes: usize) -> Plan {
    Plan {
        chaos: Duration::from_secs(3),
        listed,
        loss: 0.1,
        duplication: 0.1,
        delay_max: Duration::from_millis(30),
        crash: 0.03,
        partitions: true,
        ..calm(nodes, min_nodes)
    }
}

/// Never two foundings, whatever else happened.
fn violation(report: &Report) -> Option<String> {
    let first = report.formed.first()?;
    let joined = report.outcomes.iter().flatten().map(|outcome| match outcome {
        Outcome::Formed(charter) => charter.cluster_id,
        Outcome::Joined(cluster_id) => *cluster_id,
    });
    let differs =
        report.formed.iter().any(|charter| charter != first) || joined.into_iter().any(|id| id != first.cluster_id);
    differs.then(|| format!("{report:#?}"))
}

fn check(plan: &Plan, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let report = Simulator::new(plan.clone(), seed).run();
        if let Some(violation) = violation(&report) {
            panic!("two clusters formed; seed {seed}, {plan:?}: {violation}");
        }
        let undecided = report.outcomes.iter().any(Option::is_none) || report.formed.is_empty();
        assert!(!undecided, "no agreement after healing; seed {seed}, {plan:?}: {report:#?}");
    }
}

#[test]
fn chaos_never_forms_two_clusters_and_healing_forms_one() {
    for (nodes, listed, min_nodes) in [(3, 3, 2), (3, 3, 3), (5, 3, 2), (5, 5, 3), (4, 2, 2), (2, 2, 1), (7, 5, 4)] {
        check(&chaos(nodes, listed, min_nodes), 0..300);
        check(&Plan { uneven: true, ..chaos(nodes, listed, min_nodes.min(nodes - 1)) }, 300..350);
    }
}

#[test]
fn the_simulator_sees_an_answer_that_leaves_before_its_promise_is_on_disk() {
    assert!(found_by(Mutant::AnswersBeforePersisting), "a node that answers before persisting went unnoticed");
}

#[test]
fn the_simulator_sees_a_proposer_that_forgets_what_may_be_chosen() {
    assert!(found_by(Mutant::ForgetsToAdopt), "a proposer that ignores accepted charters went unnoticed");
}

fn found_by(mutant: Mutant) -> bool {
    let plan = Plan { mutant, ..chaos(3, 3, 2) };
    (0..3000).any(|seed| violation(&Simulator::new(plan.clone(), seed).run()).is_some())
}

#[test]
fn a_calm_start_of_all_at_once_forms_within_a_tenth_of_a_second() {
    for nodes in [1, 2, 3, 5, 7] {
        for seed in 0..50 {
            let report = Simulator::new(calm(nodes, nodes), seed).run();
            assert_eq!(report.formed.len(), nodes, "all are founders: {report:#?}");
            assert!(report.took <= Duration::from_millis(100), "took {:?} with seed {seed}", report.took);
        }
    }
}
