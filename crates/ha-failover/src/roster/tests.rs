use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::fitness::Fitness;
use crate::role::{GroupId, RoleId};
use ha_cluster::{Epoch, Incarnation, NodeId};

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn role() -> RoleId {
    GroupId::default().into()
}

/// Applies commands one after another, as a log does.
#[derive(Default)]
struct Log {
    state: State,
    epoch: u64,
}

impl Log {
    fn new() -> Self {
        let mut log = Self::default();
        log.done(Command::Ensure(vec![role()]));
        log
    }

    fn apply(&mut self, command: Command) -> Reply {
        self.epoch += 1;
        self.state.apply(Epoch(self.epoch), command)
    }

    fn done(&mut self, command: Command) -> Epoch {
        match self.apply(command) {
            Reply::Done(epoch) => epoch,
            Reply::Stale { why } => panic!("refused: {why}"),
        }
    }

    fn stale(&mut self, command: Command) {
        let before = self.state.clone();
        assert!(matches!(self.apply(command), Reply::Stale { .. }));
        assert_eq!(self.state, before, "what is refused changes nothing");
    }

    fn report(&mut self, name: &str, life: u64) {
        self.done(report(name, life));
    }

    fn assign(&mut self, name: &str, life: u64) -> Epoch {
        let expect = self.state.roles[&role()].epoch;
        self.done(assign(name, life, expect))
    }

    fn phase(&self) -> &Phase {
        &self.state.roles[&role()].phase
    }
}

fn report(name: &str, life: u64) -> Command {
    let (node, incarnation) = (node(name), Incarnation(life));
    Command::Report { node, incarnation, fitness: Fitness::default(), draining: false, rules: Vec::new() }
}

fn assign(name: &str, life: u64, expect: Epoch) -> Command {
    Command::Assign {
        role: role(),
        expect,
        node: node(name),
        incarnation: Incarnation(life),
        cause: Cause::First,
        request: None,
        sentence: String::new(),
    }
}

fn started(name: &str, epoch: Epoch) -> Command {
    Command::Started { role: role(), epoch, node: node(name) }
}

fn released(name: &str, epoch: Epoch, end: End) -> Command {
    Command::Released { role: role(), epoch, node: node(name), end }
}

fn hand_over(epoch: Epoch, heir: &str, request: Option<RequestId>) -> Command {
    let (heir, sentence) = (Some(node(heir)), String::new());
    Command::HandOver { role: role(), expect: epoch, heir, cause: Cause::Switchover, request, sentence }
}

#[test]
fn only_a_vacant_role_is_given_and_only_its_holder_or_the_leader_vacates_it() {
    let mut log = Log::new();
    log.stale(assign("a", 1, Epoch(0)));
    log.report("a", 1);
    log.report("b", 1);
    let epoch = log.assign("a", 1);
    log.stale(assign("b", 1, epoch));
    log.stale(started("b", epoch));
    log.stale(started("a", Epoch(1)));
    log.done(started("a", epoch));
    assert!(matches!(log.phase(), Phase::Active(holder) if holder.node == node("a")));
    log.stale(released("b", epoch, End::Stopped));
    log.done(Command::Void { role: role(), epoch, sentence: "its lease is over".to_owned() });
    log.stale(Command::Void { role: role(), epoch, sentence: String::new() });
    assert_eq!((log.state.nodes[&node("a")].losses, log.state.roles[&role()].last.clone()), (1, Some(node("a"))));
    let later = log.assign("b", 1);
    assert!(later > epoch);
    log.stale(released("a", epoch, End::Stopped));
}

#[test]
fn only_a_holder_is_to_be_switched_off_and_nobody_while_paused() {
    let mut log = Log::new();
    let fence = |life| Command::Fence { node: node("a"), incarnation: Incarnation(life), sentence: "why".to_owned() };
    log.report("a", 1);
    log.stale(fence(1));
    log.assign("a", 1);
    log.stale(fence(2));
    log.done(fence(1));
    assert_eq!(log.state.decisions.back().map(|decision| decision.sentence.as_str()), Some("why"));
    log.done(Command::Pause(true));
    log.stale(fence(1));
}

#[test]
fn a_later_life_inherits_nothing_and_an_earlier_one_is_not_heard() {
    let mut log = Log::new();
    log.report("a", 1);
    let epoch = log.assign("a", 1);
    log.done(started("a", epoch));
    log.report("a", 1);
    assert!(matches!(log.phase(), Phase::Active(_)), "the same life");
    log.report("a", 2);
    assert_eq!((log.phase(), log.state.nodes[&node("a")].losses), (&Phase::Vacant, 1));
    log.stale(report("a", 1));
    log.stale(assign("a", 1, epoch));
    log.assign("a", 2);
}

#[test]
fn a_request_ends_once_with_what_became_of_it() {
    let mut log = Log::new();
    for name in ["a", "b", "c"] {
        log.report(name, 1);
    }
    let epoch = log.assign("a", 1);
    log.done(started("a", epoch));
    let ask = |to: &str| Command::Ask(Ask::Switchover { role: role(), to: Some(node(to)) });
    let moved = RequestId(log.done(ask("b")).0);
    log.done(hand_over(epoch, "b", Some(moved)));
    log.stale(hand_over(epoch, "c", None));
    log.done(released("a", epoch, End::Stopped));
    assert_eq!(log.state.roles[&role()].heir, Some(node("b")));
    let epoch = log.assign("b", 1);
    assert_eq!(log.state.outcome(moved), None);
    log.done(started("b", epoch));
    assert_eq!(log.state.outcome(moved), Some(&Outcome::Done { node: node("b"), epoch }));
    assert_eq!(log.state.nodes[&node("a")].losses, 0, "it gave the role up by order");

    // The heir cannot start it, and somebody else can.
    let failed = RequestId(log.done(ask("c")).0);
    log.done(hand_over(epoch, "c", Some(failed)));
    log.done(released("b", epoch, End::Stopped));
    let epoch = log.assign("c", 1);
    log.done(released("c", epoch, End::Failed { reason: "no such file".to_owned() }));
    assert_eq!(log.state.roles[&role()].failures[&node("c")], 1);
    let epoch = log.assign("b", 1);
    log.done(started("b", epoch));
    let outcome = log.state.outcome(failed);
    assert!(matches!(outcome, Some(Outcome::Failed { .. })), "{outcome:?}");
    assert!(log.state.requests.is_empty());

    let refused = RequestId(log.done(ask("nobody")).0);
    log.done(Command::Refuse { request: refused, reason: "not a member".to_owned() });
    log.stale(Command::Refuse { request: refused, reason: String::new() });
    assert!(matches!(log.state.outcome(refused), Some(Outcome::Refused { .. })));
}

#[test]
fn a_request_that_is_repeated_under_its_name_is_the_same_one() {
    let mut log = Log::new();
    let failback = Ask::Failback { role: role() };
    let once = |name: &str, ask: &Ask| Command::AskOnce { name: name.to_owned(), ask: ask.clone() };
    let first = log.done(once("x", &failback));
    assert_eq!(log.done(once("x", &failback)), first);
    assert_eq!(log.state.requests.len(), 1);
    log.stale(once("x", &Ask::Switchover { role: role(), to: None }));
    log.stale(once(&"x".repeat(257), &failback));
    log.done(Command::Refuse { request: RequestId(first.0), reason: String::new() });
    assert_eq!(log.done(once("x", &failback)), first, "its outcome is remembered");
    assert_eq!((log.state.requests.len(), log.state.names.len()), (0, 1));
    // It is forgotten with its outcome.
    for _ in 0..REQUESTS_MAX {
        let other = log.done(Command::Ask(failback.clone()));
        log.done(Command::Refuse { request: RequestId(other.0), reason: String::new() });
    }
    assert_ne!(log.done(once("x", &failback)), first);
    log.done(once("y", &failback));
    assert_eq!(log.state.names.len(), 2);
}

#[test]
fn everything_is_bounded() {
    let mut log = Log::new();
    let many = |from: u32| (from..from + 512).map(|n| format!("g{n}").parse().unwrap()).collect();
    log.done(Command::Ensure(many(0)));
    log.stale(Command::Ensure(many(512)));
    for _ in 0..REQUESTS_MAX {
        log.done(Command::Ask(Ask::Failback { role: role() }));
    }
    log.stale(Command::Ask(Ask::Failback { role: role() }));
    let ids: Vec<RequestId> = log.state.requests.keys().copied().collect();
    for request in ids {
        log.done(Command::Refuse { request, reason: String::new() });
    }
    for number in 0..3 * DECISIONS_MAX {
        log.done(Command::Pause(number % 2 == 0));
    }
    assert_eq!((log.state.decisions.len(), log.state.outcomes.len()), (DECISIONS_MAX, REQUESTS_MAX));
}

#[test]
fn an_image_restores_the_state() {
    let mut log = Log::new();
    log.report("a", 1);
    let epoch = log.assign("a", 1);
    log.done(released("a", epoch, End::Failed { reason: "x".to_owned() }));
    log.done(Command::Ask(Ask::Failback { role: role() }));
    let roster = Roster::default();
    roster.state.send_replace(std::sync::Arc::new(log.state.clone()));
    let image: Vec<u8> = roster.capture().flatten().collect();
    let mut other = Roster::default();
    other.restore(&image).unwrap();
    assert_eq!(**other.watch().borrow(), log.state);
    // A saved state of the past does not say who runs what now.
    let mut running = Roster::default();
    running.replace(ha_cluster::Epoch(9), &image).unwrap();
    assert!(running.watch().borrow().roles.is_empty());
    assert!(other.restore(&[9]).is_err() && other.restore(&[]).is_err());
}

fn commands() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    prop::collection::vec((0_u8..7, 0_u8..3, 0_u8..3), 0..120)
}

proptest! {
    /// Whatever is proposed, and by whomever: a role passes from one holder to the next only through nobody, its
    /// epoch never falls, and two holders never share one.
    #[test]
    fn a_role_has_one_holder_per_epoch(commands in commands()) {
        let mut log = Log::new();
        let mut holders: BTreeMap<Epoch, Holder> = BTreeMap::new();
        for (what, who, back) in commands {
            let name = ["a", "b", "c"][usize::from(who)];
            let epoch = Epoch(log.state.roles[&role()].epoch.0.saturating_sub(u64::from(back / 2)));
            let before = log.state.roles[&role()].clone();
            let command = match what {
                0 => report(name, u64::from(back) + 1),
                1 => started(name, epoch),
                2 => released(name, epoch, End::Stopped),
                3 => Command::Void { role: role(), epoch, sentence: String::new() },
                4 => hand_over(epoch, name, None),
                5 => released(name, epoch, End::Failed { reason: String::new() }),
                _ => assign(name, u64::from(back) + 1, epoch),
            };
            log.apply(command);
            let after = &log.state.roles[&role()];
            prop_assert!(after.epoch >= before.epoch);
            if let Some(holder) = after.phase.holder() {
                let known = holders.entry(after.epoch).or_insert_with(|| holder.clone());
                prop_assert_eq!(&*known, holder);
                if let Some(was) = before.phase.holder() {
                    prop_assert_eq!(was, holder, "taken from one who held it");
                }
            }
        }
    }
}
