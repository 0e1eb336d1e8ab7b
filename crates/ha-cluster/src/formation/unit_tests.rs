//! Each rule by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_net::{ClusterId, NodeId};

use super::acceptor::{Ledger, LedgerError};
use super::charter::{FOUNDERS_MAX, ROUND_MAX, ROUND_PLAUSIBLE, ROUND_STEP_MAX};
use super::simulator::{address, id};
use super::*;
use crate::Role;

fn profile(index: usize, priority: u16, role: Role) -> Profile {
    Profile { address: address(index), priority, role, disk: 1 }
}

fn config(index: usize, min_nodes: usize) -> Config {
    Config {
        node_id: id(index),
        profile: profile(index, 100, Role::Member),
        seeds: SeedList::default(),
        min_nodes,
        voters_max: 5,
        exchange: Duration::from_millis(50),
        seed: index as u64,
    }
}

/// What is known of `listed` seeds when these nodes were found.
fn discovery(listed: usize, found: &[usize]) -> Discovery {
    let behind = found.iter().filter(|n| **n < listed).map(|n| (address(*n), id(*n))).collect();
    let others = found.iter().filter(|n| **n >= listed).map(|n| id(*n)).collect();
    Discovery { listed, behind, others }
}

fn step(core: &mut Formation, at: u64, input: Input) -> Vec<Output> {
    let mut outputs = Vec::new();
    core.step(Duration::from_millis(at), input, &mut outputs);
    outputs
}

fn said(from: usize, body: Body) -> Input {
    Input::Received { from: id(from), message: Message { schema: 1, seeds: SeedList::default(), body } }
}

fn charter(cluster: u128, nodes: &[usize]) -> Charter {
    let profiles = nodes.iter().map(|n| (id(*n), profile(*n, 100, Role::Member))).collect();
    Charter::new(ClusterId(cluster), &profiles, 5)
}

fn ballot(round: u64, node: usize) -> Ballot {
    Ballot { round, node: id(node) }
}

fn sent(outputs: &[Output]) -> Vec<(&NodeId, &Body)> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send { to, message } => Some((to, &message.body)),
        _ => None,
    });
    sent.collect()
}

fn ended(outputs: &[Output]) -> Option<&Output> {
    outputs.iter().find(|output| matches!(output, Output::Formed { .. } | Output::Join { .. }))
}

#[test]
fn any_two_quorums_share_a_node_whatever_each_observer_has_found() {
    // Five addresses of four nodes (two lead to node-1), and two nodes that nobody lists.
    let behind = [(0, 0), (1, 1), (2, 1), (3, 2), (4, 3)];
    let known = |mask: u32| Discovery {
        listed: behind.len(),
        behind: (behind.iter().enumerate())
            .filter(|(bit, _)| mask & (1 << bit) != 0)
            .map(|(_, (at, node))| (address(*at), id(*node)))
            .collect(),
        others: [id(8), id(9)].into(),
    };
    let all = [id(0), id(1), id(2), id(3), id(8), id(9)];
    let quorums = |mask: u32| -> Vec<u32> {
        let nodes =
            |set: u32| all.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0).map(|(_, n)| n).collect();
        (0..64).filter(|set| known(mask).is_quorum(&nodes(*set), 1)).collect()
    };
    let by_observer: Vec<_> = (0..32).map(quorums).collect();
    assert!(by_observer.iter().any(|quorums| !quorums.is_empty()));
    for (a, b) in by_observer.iter().flat_map(|a| by_observer.iter().map(move |b| (a, b))) {
        assert!(a.iter().all(|x| b.iter().all(|y| x & y != 0)), "two quorums without a common node");
    }
}

#[test]
fn a_node_without_seeds_forms_alone_when_one_node_is_enough() {
    let mut core = Formation::new(config(1, 1), None).unwrap();
    let outputs = step(&mut core, 0, Input::Discovered(Discovery::default()));
    let Some(Output::Formed { charter, sentence }) = ended(&outputs) else { panic!("{outputs:?}") };
    assert_eq!(charter.founders.len(), 1);
    assert!(sentence.starts_with("formed cluster ") && sentence.ends_with(" of node-1"), "{sentence}");
    let persisted = outputs.iter().rposition(|o| matches!(o, Output::Persist(_))).unwrap();
    assert!(persisted < outputs.iter().position(|o| matches!(o, Output::Formed { .. })).unwrap());
    assert_eq!(core.waiting_for(), None);
    assert_eq!(core.deadline(), None);
}

#[test]
fn a_node_without_seeds_never_proposes_to_others_but_asks_and_accepts() {
    let mut core = Formation::new(config(1, 2), None).unwrap();
    let found = Discovery { others: [id(2)].into(), ..Discovery::default() };
    step(&mut core, 0, Input::Discovered(found));
    let outputs = step(&mut core, 10_000, Input::Tick);
    assert_eq!(sent(&outputs), [(&id(2), &Body::Ask)]);
    assert!(core.deadline() > Some(Duration::from_secs(10)));
    let outputs = step(&mut core, 10_000, said(2, Body::Accept { ballot: ballot(1, 2), charter: charter(7, &[1, 2]) }));
    assert!(matches!(outputs[..], [Output::Persist(_), Output::Send { .. }]), "{outputs:?}");
    assert_eq!(sent(&outputs), [(&id(2), &Body::Accepted { ballot: ballot(1, 2) })]);
}

#[test]
fn it_says_what_it_waits_for() {
    let mut core = Formation::new(config(1, 3), None).unwrap();
    assert_eq!(
        core.waiting_for().unwrap(),
        "waits to be found, since no seeds are listed here: found node-1 (self); HA_MIN_NODES is 3"
    );
    step(&mut core, 0, Input::Discovered(discovery(3, &[1, 2])));
    assert_eq!(core.waiting_for().unwrap(), "waits for 1 more node: found node-1 (self), node-2; HA_MIN_NODES is 3");
    step(&mut core, 0, Input::Discovered(discovery(3, &[1, 7, 8])));
    assert_eq!(
        core.waiting_for().unwrap(),
        "waits for 1 more of 3 listed seeds: 2 are needed, found node-1 (self) behind them"
    );
    step(&mut core, 0, Input::Discovered(discovery(3, &[0, 1, 2])));
    assert_eq!(
        core.waiting_for().unwrap(),
        "waits for the founding nodes to agree: found node-0, node-1 (self), node-2"
    );
    step(&mut core, 50, Input::Tick);
    assert_eq!(
        core.waiting_for().unwrap(),
        "waits for the founding nodes to agree: node-1 (self) promised attempt 1/node-1 so far"
    );
}

#[test]
fn one_of_three_seeds_is_never_enough_however_long_it_waits() {
    let mut core = Formation::new(config(0, 1), None).unwrap();
    step(&mut core, 0, Input::Discovered(discovery(3, &[0])));
    for at in 1..100 {
        assert_eq!(step(&mut core, at * 1000, Input::Tick), [], "a lone node must not found a cluster");
    }
}

#[test]
fn a_running_cluster_is_joined_unless_this_node_is_one_of_its_founders() {
    let exists = Input::ClusterExists { node: id(2), cluster_id: ClusterId(7) };
    let mut core = Formation::new(config(1, 2), None).unwrap();
    step(&mut core, 0, Input::Discovered(discovery(3, &[0, 1, 2])));
    let outputs = step(&mut core, 0, exists.clone());
    assert!(matches!(&ended(&outputs), Some(Output::Join { contacts, .. }) if *contacts == [id(2)]), "{outputs:?}");
    assert_eq!(step(&mut core, 9999, Input::Tick), [], "it takes no further part");

    let mut core = Formation::new(config(1, 2), None).unwrap();
    step(&mut core, 0, said(2, Body::Accept { ballot: ballot(1, 2), charter: charter(7, &[1, 2]) }));
    let outputs = step(&mut core, 0, exists);
    assert!(matches!(ended(&outputs), Some(Output::Formed { .. })), "what runs was chosen: {outputs:?}");
}

#[test]
fn a_late_asker_gets_the_answer_also_after_a_restart() {
    let mut core = Formation::new(config(1, 2), None).unwrap();
    let outputs = step(&mut core, 0, said(2, Body::Chosen { charter: charter(7, &[1, 2]) }));
    let [Output::Persist(ledger), Output::Formed { .. }] = &outputs[..] else { panic!("{outputs:?}") };
    let mut core = Formation::new(config(1, 2), Some(ledger)).unwrap();
    assert_eq!(core.deadline(), Some(Duration::ZERO));
    let outputs = step(&mut core, 0, Input::Tick);
    assert!(matches!(outputs[..], [Output::Formed { .. }]), "{outputs:?}");
    for body in [
        Body::Ask,
        Body::Prepare { ballot: ballot(9, 3) },
        Body::Accept { ballot: ballot(9, 3), charter: charter(8, &[3]) },
    ] {
        let outputs = step(&mut core, 0, said(3, body));
        assert_eq!(sent(&outputs), [(&id(3), &Body::Chosen { charter: charter(7, &[1, 2]) })]);
    }
    let outputs = step(&mut core, 0, said(3, Body::Chosen { charter: charter(8, &[1, 3]) }));
    assert!(matches!(&outputs[..], [Output::Say(s)] if s.contains("two clusters formed")), "{outputs:?}");
}

#[test]
fn who_was_left_out_of_the_charter_joins_and_still_tells() {
    let mut core = Formation::new(config(3, 2), None).unwrap();
    let outputs = step(&mut core, 0, said(2, Body::Chosen { charter: charter(7, &[1, 2]) }));
    assert!(matches!(ended(&outputs), Some(Output::Join { contacts, .. }) if *contacts == [id(1), id(2)]));
    let outputs = step(&mut core, 0, said(4, Body::Ask));
    assert!(matches!(sent(&outputs)[..], [(_, Body::Chosen { .. })]));
}

#[test]
fn a_founder_that_lost_its_disk_does_not_found_again() {
    let chosen = Body::Chosen { charter: charter(7, &[1, 2]) };
    let mut anew = config(1, 2);
    anew.profile.disk = 2;
    let mut core = Formation::new(anew.clone(), None).unwrap();
    let outputs = step(&mut core, 0, said(2, chosen.clone()));
    let Some(Output::Join { sentence, .. }) = ended(&outputs) else { panic!("{outputs:?}") };
    assert!(sentence.ends_with("which formed with another data directory of this node"), "{sentence}");
    let [Output::Persist(ledger), ..] = &outputs[..] else { panic!("{outputs:?}") };
    let mut core = Formation::new(anew, Some(ledger)).unwrap();
    assert!(matches!(ended(&step(&mut core, 0, Input::Tick)), Some(Output::Join { .. })), "nor in a later life");
    let mut core = Formation::new(config(1, 2), None).unwrap();
    assert!(matches!(ended(&step(&mut core, 0, said(2, chosen))), Some(Output::Formed { .. })));
}

#[test]
fn other_seed_lists_are_told_about_once() {
    let mut config = config(1, 2);
    config.seeds = SeedList::new(["b:1", "a:1", "a:1"]);
    assert_eq!(config.seeds, SeedList::new(["a:1", "b:1"]), "order and repetition do not matter");
    let mut core = Formation::new(config, None).unwrap();
    let message = Message { schema: 1, seeds: SeedList::new(["a:1"]), body: Body::Ask };
    let input = Input::Received { from: id(2), message };
    let outputs = step(&mut core, 0, input.clone());
    assert!(
        matches!(&outputs[..], [Output::Say(s)] if s.starts_with("node-2 lists other seeds than this node (1 seeds")),
        "{outputs:?}"
    );
    assert_eq!(step(&mut core, 0, input), []);
}

#[test]
fn what_cannot_be_believed_is_ignored() {
    let mut core = Formation::new(config(1, 2), None).unwrap();
    let mut unsorted = charter(7, &[1, 2]);
    unsorted.founders.reverse();
    let bodies = [
        Body::Prepare { ballot: ballot(ROUND_MAX + 1, 2) },
        Body::Prepare { ballot: ballot(ROUND_MAX, 2) },
        Body::Refuse { ballot: ballot(1, 1), promised: ballot(ROUND_MAX, 2) },
        Body::Prepare { ballot: ballot(1, 3) },
        Body::Accept { ballot: ballot(1, 2), charter: unsorted },
        Body::Accept { ballot: ballot(1, 2), charter: Charter { cluster_id: ClusterId(7), founders: Vec::new() } },
        Body::Chosen { charter: charter(0, &[1, 2]) },
    ];
    for body in bodies {
        assert_eq!(step(&mut core, 0, said(2, body)), []);
    }
    let newer = Message { schema: 2, seeds: SeedList::default(), body: Body::Prepare { ballot: ballot(1, 2) } };
    assert_eq!(step(&mut core, 0, Input::Received { from: id(2), message: newer }), []);
}

/// The highest round that one message can take a node to is not the last one: others and itself go on from there.
#[test]
fn no_message_takes_a_node_to_the_last_round() {
    let highest = ROUND_PLAUSIBLE + ROUND_STEP_MAX;
    let mut core = Formation::new(config(1, 2), None).unwrap();
    let prepare = |round, node| said(node, Body::Prepare { ballot: ballot(round, node) });
    assert_eq!(step(&mut core, 0, prepare(highest + 1, 2)), []);
    for (round, node) in [(highest, 2), (highest + 1, 0)] {
        assert!(matches!(sent(&step(&mut core, 0, prepare(round, node)))[..], [(_, Body::Promise { .. })]), "{round}");
    }
}

#[test]
fn a_later_attempt_wins_and_an_older_one_is_refused() {
    let mut core = Formation::new(config(1, 2), None).unwrap();
    step(&mut core, 0, said(3, Body::Prepare { ballot: ballot(5, 3) }));
    let outputs = step(&mut core, 0, said(2, Body::Accept { ballot: ballot(5, 2), charter: charter(7, &[1, 2]) }));
    let refusal = Body::Refuse { ballot: ballot(5, 2), promised: ballot(5, 3) };
    assert_eq!(sent(&outputs), [(&id(2), &refusal)]);
}

#[test]
fn witnesses_alone_found_nothing() {
    let mut config = config(1, 2);
    config.profile.role = Role::Witness;
    let mut core = Formation::new(config, None).unwrap();
    step(&mut core, 0, Input::Discovered(discovery(3, &[1, 2])));
    let attempt = step(&mut core, 1000, Input::Tick);
    assert!(attempt.iter().any(|o| matches!(o, Output::Send { .. })));
    let promise = |role| Body::Promise { ballot: ballot(1, 1), accepted: None, profile: profile(2, 100, role) };
    assert_eq!(step(&mut core, 1001, said(2, promise(Role::Witness))), []);
    assert_eq!(step(&mut core, 1030, Input::Tick), []);
    step(&mut core, 1031, said(2, promise(Role::Member)));
    let outputs = step(&mut core, 1060, Input::Tick);
    assert!(matches!(sent(&outputs)[..], [(_, Body::Accept { .. })]), "{outputs:?}");
}

#[test]
fn the_charter_names_the_voters() {
    let nodes: BTreeMap<_, _> = (0..8)
        .map(|n| (id(n), profile(n, if n == 6 { 200 } else { 100 }, if n < 2 { Role::Witness } else { Role::Member })))
        .collect();
    let voters = |charter: &Charter| -> Vec<String> {
        charter.founders.iter().filter(|f| f.voter).map(|f| f.node_id.to_string()).collect()
    };
    let made = Charter::new(ClusterId(1), &nodes, 3);
    assert_eq!(voters(&made), ["node-2", "node-3", "node-6"]);
    let even = Charter::new(ClusterId(1), &nodes, 4);
    assert_eq!(voters(&even), ["node-0", "node-2", "node-3", "node-4", "node-6"]);
    let few = |n| Charter::new(ClusterId(1), &nodes.clone().into_iter().take(n).collect(), 5);
    assert_eq!(voters(&few(3)), ["node-0", "node-2"]);
    assert_eq!(voters(&few(4)), ["node-0", "node-2", "node-3"]);
    assert!(made.is_sound() && made.founders.len() == 8);
    let many = (0..200).map(|n| (id(n), profile(n, 1, Role::Member))).collect();
    let made = Charter::new(ClusterId(1), &many, 500);
    assert!(made.is_sound() && made.founders.len() == FOUNDERS_MAX);
}

#[test]
fn every_damage_to_the_ledger_is_noticed() {
    let mut ledger = Ledger::default();
    ledger.accept(&ballot(3, 2), &charter(7, &[1, 2])).unwrap();
    let bytes = ledger.encode();
    assert_eq!(Ledger::decode(&bytes), Ok(ledger));
    for end in 0..bytes.len() {
        assert!(Ledger::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Ledger::decode(&damaged).is_err(), "flipped at {at}");
    }
    assert_eq!(Ledger::decode(&[9, 0, 0, 0, 0, 0]), Err(LedgerError::Schema { schema: 9 }));
}

#[test]
fn the_largest_message_stays_small() {
    let longest = |n: usize| format!("{n:0>64}").parse::<NodeId>().unwrap();
    let founders = (0..FOUNDERS_MAX).map(|n| {
        let address = ha_net::Address::new("h".repeat(255), 65535).unwrap();
        (longest(n), Profile { address, priority: u16::MAX, role: Role::Member, disk: 1 })
    });
    let charter = Charter::new(ClusterId(u128::MAX), &founders.collect(), 5);
    let ballot = Ballot { round: ROUND_MAX, node: longest(1) };
    let body = Body::Promise {
        ballot: ballot.clone(),
        accepted: Some((ballot.clone(), charter.clone())),
        profile: charter.founders[0].profile.clone(),
    };
    let message = Message { schema: 1, seeds: SeedList::default(), body };
    let bytes = crate::codec::record(&message);
    assert!(bytes.len() < 25 * 1024, "{} bytes", bytes.len());
    assert_eq!(bytes[0], 1, "the schema comes first");
    let ledger =
        Ledger { promised: Some(ballot.clone()), accepted: Some((ballot, charter.clone())), chosen: Some(charter) };
    assert_eq!(Ledger::decode(&ledger.encode()), Ok(ledger), "the largest ledger can be read back");
}

#[test]
fn a_proposer_adopts_the_newest_charter_that_may_be_chosen() {
    let mut core = Formation::new(config(1, 3), None).unwrap();
    step(&mut core, 0, Input::Discovered(discovery(3, &[0, 1, 2])));
    step(&mut core, 1000, Input::Tick);
    let promise = |round, cluster| Body::Promise {
        ballot: ballot(1, 1),
        accepted: Some((ballot(round, 2), charter(cluster, &[0, 1, 2]))),
        profile: profile(0, 100, Role::Member),
    };
    // Older attempts than its own, in whichever order they are told.
    step(&mut core, 1001, said(0, promise(0, 7)));
    let outputs = step(&mut core, 1002, said(2, promise(1, 8)));
    let proposed: BTreeSet<_> = sent(&outputs)
        .into_iter()
        .map(|(_, body)| match body {
            Body::Accept { charter, .. } => charter.cluster_id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(proposed, [ClusterId(8)].into());
}
