use ha_config::Config;
use ha_failover::FailoverState;
use ha_replication::{Alarm, CopyState, NodeStatus};

use super::*;
use crate::testing::{degraded, forming, healthy, no_quorum, stopped};

fn all() -> Rooms {
    Rooms { cluster: true, failover: true, replication: true, state: true, health_monitor: true }
}

fn config(settings: &[(&str, &str)]) -> Config {
    let builder = Config::preset(ha_config::Preset::FullHa);
    settings.iter().fold(builder, |builder, (name, value)| builder.set(*name, *value)).build().unwrap()
}

/// Copies, each with its state, its lag and what is wrong with it.
fn copies(nodes: &[(&str, CopyState, u64, Option<&str>)]) -> ReplicationStatus {
    let node = |(node, state, lag, trouble): &(&str, CopyState, u64, Option<&str>)| NodeStatus {
        node_id: node.parse().unwrap(),
        lag_items: Some(*lag),
        lag_bytes: None,
        lag_seconds: None,
        state: *state,
        trouble: trouble.map(str::to_owned),
        digest: None,
    };
    ReplicationStatus {
        mode: "master_slave".to_owned(),
        consistency: ha_replication::Consistency::Quorum,
        master_node: None,
        nodes: nodes.iter().map(node).collect(),
        replicated_items: 0,
        records: 0,
    }
}

fn nothing() -> OverallHealth {
    ha_health::Health::off().overall()
}

struct Case<'a> {
    rooms: Rooms,
    config: Config,
    view: View,
    past: &'a [Event],
    aside: Vec<Aside>,
    alarms: Vec<Alarm>,
    failover: Option<FailoverStatus>,
    replication: ReplicationStatus,
}

impl Case<'_> {
    fn new(view: View) -> Self {
        Self {
            rooms: all(),
            config: config(&[]),
            view,
            past: &[],
            aside: vec![],
            alarms: vec![],
            failover: None,
            replication: copies(&[]),
        }
    }

    fn diagnose(&self) -> Diagnosis {
        let (config, view, components) = (&self.config, &self.view, &nothing());
        let (failover, replication) = (self.failover.as_ref(), Some(&self.replication));
        let (rooms, past, aside, alarms) = (self.rooms, self.past, &self.aside[..], &self.alarms[..]);
        diagnose(&Symptoms { rooms, config, view, components, failover, replication, alarms, past, aside })
    }

    /// Severities and sentences about one topic.
    fn about(&self, topic: &str) -> Vec<(Severity, String)> {
        let topics = self.diagnose().topics;
        let topic = topics.into_iter().find(|found| found.name == topic).unwrap();
        topic.findings.into_iter().map(|finding| (finding.severity, finding.what)).collect()
    }

    /// The remedy for what is seen.
    fn remedy(&self, what: &str) -> String {
        let findings = self.diagnose().topics.into_iter().flat_map(|topic| topic.findings);
        findings.into_iter().find(|finding| finding.what == what).unwrap_or_else(|| panic!("{what}")).remedy
    }
}

#[test]
fn a_healthy_node_has_no_trouble() {
    let diagnosis = Case::new(healthy()).diagnose();
    assert!(diagnosis.well, "{diagnosis:#?}");
    assert_eq!(
        diagnosis.topics.iter().map(|topic| topic.name).collect::<Vec<_>>(),
        ["joining", "replication", "failover", "node", "configuration"]
    );
    assert!(diagnosis.topics[0].findings.is_empty() && diagnosis.topics[1].findings.is_empty());
}

#[test]
fn what_this_node_says_of_its_records_is_told_with_what_to_do() {
    let alarms = vec![
        Alarm::SetAside { records: 3 },
        Alarm::TimeBehind { milliseconds: 900, ahead: 2, answered: 2 },
        Alarm::Damaged { what: "the checksum of t/k is wrong".to_owned() },
    ];
    let diagnosis = Case { alarms, ..Case::new(healthy()) }.diagnose();
    let findings = &diagnosis.topics[1].findings;
    assert!(!diagnosis.well && findings.len() == 3, "{findings:#?}");
    assert_eq!(findings[0].severity, Severity::Trouble);
    assert_eq!(findings[2].severity, Severity::Warning);
    assert_eq!(findings[2].remedy, "ha replication tails lists them, and tells how to apply or drop them");
    assert!(findings[0].cause.contains("900 ms behind"), "{findings:#?}");
    assert!(findings[1].cause.contains("t/k") && findings[1].remedy.contains("stop it"), "{findings:#?}");
}

#[test]
fn nodes_that_do_not_join_are_named_with_what_helps() {
    let waiting = |sentence: &str| Case::new(View { waiting_for: Some(sentence.to_owned()), ..forming() });
    for (sentence, remedy) in [
        ("nobody answers at a:1: connection refused", "nc -vz"),
        ("what answers at a:1 is no node (frame size too big)", "CLUSTER_PORT of the other nodes"),
        ("dns:n:1 does not resolve: no such name", "getent hosts"),
        ("the only seed is this node itself: list the other nodes too", "CLUSTER_SEED_NODES=HOST:PORT"),
        ("waits for 2 more nodes", "CLUSTER_SEED_NODES=HOST:PORT"),
    ] {
        let case = waiting(sentence);
        assert!(!case.diagnose().well);
        assert!(case.remedy("the cluster has not formed").contains(remedy), "{sentence}");
    }
    let mut case = waiting("waits for 1 more node: found node-1 (self), node-2");
    case.config = config(&[("CLUSTER_SEED_NODES", "a:1,b:2")]);
    assert!(case.remedy("the cluster has not formed").contains("a:1,b:2"));
}

#[test]
fn missing_members_lost_quorum_and_a_stopped_node_are_trouble() {
    let degraded = Case::new(degraded());
    assert_eq!(degraded.about("joining"), [(Severity::Trouble, "node-3 has failed".to_owned())]);
    assert!(degraded.remedy("node-3 has failed").contains("ha remove node-3"));
    let no_quorum = Case::new(no_quorum());
    assert_eq!(no_quorum.about("joining")[0], (Severity::Trouble, "nothing can be decided".to_owned()));
    assert!(no_quorum.about("failover").contains(&(Severity::Trouble, "no failover can be decided".to_owned())));
    assert!(no_quorum.remedy("no failover can be decided").contains("promote --force"));
    let stopped = Case::new(stopped());
    assert_eq!(stopped.about("joining"), [(Severity::Trouble, "this node takes part no more".to_owned())]);
}

#[test]
fn failover_that_would_not_trigger_says_why() {
    let mut case = Case::new(healthy());
    case.config = config(&[("FAILOVER_MODE", "manual")]);
    let manual = "a failed primary stays failed until a person acts";
    assert!(case.about("failover").contains(&(Severity::Warning, manual.to_owned())));
    assert!(case.remedy(manual).starts_with("ha failover switchover"));
    let mut case = Case::new(healthy());
    case.view.members[1].priority = 0;
    case.view.members[2].role = ha_cluster::MemberRole::Witness;
    let nobody = "there is nobody to fail over to";
    assert!(case.about("failover").contains(&(Severity::Trouble, nobody.to_owned())));
    assert!(case.remedy(nobody).contains("ha config set priority"));
    let mut case = Case::new(healthy());
    case.view.members.pop();
    let waits = "with one of two nodes gone, the other waits for a person";
    assert!(case.about("failover").contains(&(Severity::Warning, waits.to_owned())));
    case.config = config(&[("FAILOVER_FENCE_COMMAND", "fence")]);
    assert!(!case.about("failover").contains(&(Severity::Warning, waits.to_owned())));
}

#[test]
fn copies_that_fall_behind_are_named_with_the_cause() {
    use CopyState::{Complete, Fetching, InStep, Silent};
    let mut case = Case::new(healthy());
    case.replication = copies(&[
        ("a", InStep, 5, None),
        ("b", Silent, 0, None),
        ("c", Fetching, 7, None),
        ("d", Complete, 20_000, None),
        ("e", Complete, 0, Some("no space")),
    ]);
    let behind = |node: &str| format!("the copy on {node} falls behind");
    assert_eq!(
        case.about("replication"),
        [
            (Severity::Trouble, "the copy on e takes nothing in".to_owned()),
            (Severity::Warning, behind("b")),
            (Severity::Warning, behind("d")),
            (Severity::Note, behind("c")),
        ]
    );
    assert!(case.remedy(&behind("b")).starts_with("start b again"));
}

#[test]
fn roles_that_do_not_move_say_why() {
    let status = || crate::FailoverHandle::off().status();
    let mut case = Case::new(healthy());
    case.failover = Some(FailoverStatus { paused: true, ..status() });
    assert_eq!(case.remedy("no role moves by itself"), "ha failover resume");
    assert!(case.about("failover").contains(&(Severity::Trouble, "the service runs nowhere".to_owned())));
    let differences = vec!["b has mode=manual, and a, which decides, has mode=automatic".to_owned()];
    case.failover = Some(FailoverStatus { differences, ..status() });
    assert!(case.remedy("nodes do not agree how roles move").contains("FAILOVER_*"));
    case.failover = Some(FailoverStatus { state: FailoverState::Normal, waiting_for: None, ..status() });
    assert!(
        case.about("failover").iter().all(|(severity, _)| *severity < Severity::Warning),
        "{:?}",
        case.about("failover")
    );
}

#[test]
fn what_happened_lately_is_looked_at() {
    let event = |number, kind, message: &str| Event { number, kind, message: message.to_owned() };
    let mut past = vec![event(1, "refused", "node-9 turned this node away: another cluster name")];
    past.extend((2..5).map(|number| event(number, "lease_lost", "node-1 lost its lease")));
    let case = Case { past: &past, ..Case::new(healthy()) };
    assert_eq!(case.about("joining"), [(Severity::Warning, "a node was turned away".to_owned())]);
    assert!(case.remedy("a node was turned away").contains("CLUSTER_NAME"));
    assert_eq!(case.about("node"), [(Severity::Warning, "this node has lost its lease 3 times lately".to_owned())]);
}

#[test]
fn rooms_that_are_off_are_no_trouble_and_say_how_to_turn_them_on() {
    let case = Case { rooms: Rooms::default(), config: Config::default(), ..Case::new(forming()) };
    assert!(case.diagnose().well);
    for (topic, option) in [
        ("this node is alone", "CLUSTER_ENABLED"),
        ("nothing is replicated", "REPLICATION_ENABLED"),
        ("no service moves", "FAILOVER_ENABLED"),
    ] {
        assert!(case.remedy(topic).contains(option), "{topic}");
    }
}

#[test]
fn unwise_options_are_warnings() {
    let case = Case { config: config(&[("SPLIT_BRAIN_PREVENTION", "false")]), ..Case::new(healthy()) };
    let unwise = case.about("configuration");
    assert!(unwise.contains(&(Severity::Warning, "SPLIT_BRAIN_PREVENTION may not be what you want".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_component_is_trouble_with_its_cause() {
    let health = ha_health::start(ha_health::Config::default()).unwrap();
    health.component("ha.disk-space").failures(1).check(|| async { Err::<(), _>("no room") }).unwrap();
    health.watch().wait_for(|overall| overall.components[0].status == ha_health::Status::Unhealthy).await.unwrap();
    let (config, view) = (config(&[]), healthy());
    let components = &health.overall();
    let (rooms, config, view) = (all(), &config, &view);
    let (failover, replication) = (None, None);
    let diagnosis = diagnose(&Symptoms {
        rooms,
        config,
        view,
        components,
        failover,
        replication,
        alarms: &[],
        past: &[],
        aside: &[],
    });
    let finding = &diagnosis.topics[3].findings[0];
    assert_eq!((finding.severity, finding.cause.as_str()), (Severity::Trouble, "no room"));
    assert!(finding.remedy.contains("df -h") && !diagnosis.well);
}

#[test]
fn what_was_set_aside_is_told_until_somebody_removes_it() {
    let aside = |changes| vec![Aside { directory: "/data/aside-3".into(), changes }];
    let case = Case { aside: aside(4), ..Case::new(healthy()) };
    let what = "4 changes that this node alone had were set aside";
    assert!(case.about("node").contains(&(Severity::Warning, what.to_owned())));
    assert!(case.remedy(what).contains("/data/aside-3/divergent.jsonl"));
    let case = Case { aside: aside(0), ..Case::new(healthy()) };
    assert_eq!(case.about("node"), [(Severity::Note, "former data of this node was set aside".to_owned())]);
}
