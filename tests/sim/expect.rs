//! What a scene can expect of the world. Every expectation has a time within which it must come true.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_cluster::{Cluster, LeaveError, NodeId, TransferError};
use ha_replication::Replication;
use rand::RngExt as _;

use super::history::Answer;
use super::node::Handles;
use super::records::{Keeping, TYPE};
use super::{Name, Who, World};

/// How long an expectation waits when the scene does not say.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long everything may take to heal once all faults are gone: connections that were lost in silence are noticed and
/// made again, a leader is elected, and who was behind catches up.
const HEALING: Duration = Duration::from_secs(60);

/// Whole and broken seconds, for scenes.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Milliseconds, for scenes.
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An order that was given to a node, and its result once there is one.
pub struct Ordered<T>(Arc<Mutex<Option<T>>>);

impl<T: Clone> Ordered<T> {
    /// The result, if it is there already.
    pub fn result(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Time.
impl World {
    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now() + time;
        while self.now() < until {
            self.step();
        }
    }

    /// Lets some time pass, by chance, at most this long.
    pub fn run_up_to(&mut self, longest: Duration) {
        let share = self.rng.random_range(0.0..=1.0);
        self.run(longest.mul_f64(share));
    }

    /// Lets time pass until something is so; how long it took.
    ///
    /// # Panics
    ///
    /// When it does not come true in time.
    pub fn expect(&mut self, what: &str, limit: Duration, mut is_so: impl FnMut(&Self) -> bool) -> Duration {
        let began = self.now();
        while !is_so(self) {
            let waited = self.now() - began;
            assert!(waited < limit, "expected within {limit:?}: {what}");
            self.step();
        }
        let took = self.now() - began;
        self.trace.line("*", format_args!("as expected after {took:?}: {what}"));
        took
    }

    /// Lets time pass, during all of which something must be so.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn expect_throughout(&mut self, what: &str, time: Duration, mut is_so: impl FnMut(&Self) -> bool) {
        let until = self.now() + time;
        while self.now() < until {
            self.step();
            assert!(is_so(self), "expected for {time:?}: {what}");
        }
        self.trace.line("*", format_args!("as expected for {time:?}: {what}"));
    }
}

/// The cluster.
impl World {
    /// A leader that can commit, known to every node that runs and is connected to it.
    pub fn expect_leader(&mut self) -> Name {
        self.expect_leader_within(PATIENCE)
    }

    /// As [`Self::expect_leader`], in less time.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn expect_leader_within(&mut self, limit: Duration) -> Name {
        self.expect("there is a leader that all it reaches follow", limit, |world| world.agreed_leader().is_some());
        self.agreed_leader().expect("it was just there")
    }

    /// A leader in a later term than any so far. Remembers the highest term by itself.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn expect_new_leader_within(&mut self, limit: Duration) -> Name {
        let term = self.highest_term_led();
        let newer = |world: &Self| world.leader().filter(|leader| world.seen(*leader).term > term);
        self.expect("there is a new leader", limit, |world| newer(world).is_some());
        newer(self).expect("it was just there")
    }

    /// The same node leads in the same term all the time.
    ///
    /// # Panics
    ///
    /// When another takes over, or it stops.
    pub fn expect_no_move_for(&mut self, time: Duration) {
        let leading = |world: &Self| world.leader().map(|leader| (leader, world.seen(leader).term));
        let before = leading(self);
        self.expect_throughout("the same node leads", time, |world| leading(world) == before);
    }

    /// All of these nodes are voters, and nobody else, as every one of them sees it.
    ///
    /// # Panics
    ///
    /// When it does not become so.
    pub fn expect_voters(&mut self, who: impl Who) {
        let voters = who.among(self).into_iter().collect();
        let sees = |world: &Self| {
            world
                .names()
                .iter()
                .map(|name| world.seen(*name))
                .all(|seen| !seen.up || seen.stopped || seen.voters == voters)
        };
        self.expect(&format!("the voters are {voters:?}"), HEALING, sees);
    }

    /// The leader as it says itself, once all running nodes that it reaches follow it.
    fn agreed_leader(&self) -> Option<Name> {
        let leader = self.leader()?;
        let term = self.seen(leader).term;
        let follows = |name: &Name| {
            let seen = self.seen(*name);
            let counts = seen.up && !seen.stopped && !seen.hampered && self.network.is_connected(*name, leader);
            !counts || (seen.leader == Some(leader) && seen.term == term && seen.live)
        };
        self.names().iter().all(follows).then_some(leader)
    }

    /// A leader, and a node with data that follows it.
    ///
    /// # Panics
    ///
    /// When there are none in time.
    pub fn expect_leader_and_follower(&mut self) -> (Name, Name) {
        let leader = self.expect_leader();
        let follower = super::AFollower.among(self)[0];
        (leader, follower)
    }

    /// No other member sees this node among the voters any more.
    ///
    /// # Panics
    ///
    /// When it stays.
    pub fn expect_removed(&mut self, gone: Name) {
        self.expect(&format!("{gone} is no voter any more"), HEALING, |world| {
            let others = world.names().into_iter().filter(|name| *name != gone);
            others.map(|name| world.seen(name)).all(|seen| !seen.up || !seen.voters.contains(&gone))
        });
    }

    /// Has nodes that do not take part any more, or do not run, started by whoever runs them.
    pub fn revive(&mut self, who: impl Who) {
        for name in who.among(self) {
            if self.seen(name).stopped {
                self.kill(name);
            }
            self.restart(name);
        }
    }

    /// The highest term of any node that runs.
    pub fn highest_term(&self) -> u64 {
        self.highest_term_among(&self.names())
    }

    /// The highest term of some nodes that run.
    pub fn highest_term_among(&self, names: &[Name]) -> u64 {
        names.iter().map(|name| self.seen(*name)).filter(|seen| seen.up).map(|seen| seen.term).max().unwrap_or(0)
    }

    fn highest_term_led(&self) -> u64 {
        self.seen.values().filter(|seen| seen.leader.is_some()).map(|seen| seen.term).max().unwrap_or(0)
    }
}

/// Clients.
impl World {
    /// A write that begins from now on is acknowledged.
    ///
    /// # Panics
    ///
    /// When none is.
    pub fn expect_writes_within(&mut self, limit: Duration) -> Duration {
        let (now, judged) = (self.now(), self.history.lock().answered_count());
        self.expect("a write is acknowledged", limit, |world| {
            let operations = world.history.lock();
            let written = |answer| matches!(answer, Answer::Written { .. });
            operations.answered_since(judged).any(|(_, operation, answer)| operation.asked >= now && written(answer))
        })
    }

    /// The longest time without an acknowledged write since a moment.
    pub fn longest_write_gap_since(&self, since: Duration) -> Duration {
        self.history.lock().longest_write_gap(since, self.now()).0
    }

    /// The number of acknowledged writes.
    pub fn acknowledged_writes(&self) -> usize {
        let written = |answer: &Answer| matches!(answer, Answer::Written { .. });
        self.history.lock().answered_since(0).filter(|(.., answer)| written(answer)).count()
    }
}

/// Orders.
impl World {
    /// Has something done on a node; its result is there later.
    ///
    /// # Panics
    ///
    /// When the node does not run.
    pub fn order<T, F>(
        &mut self,
        name: Name,
        what: &str,
        work: impl FnOnce(Cluster) -> F + Send + 'static,
    ) -> Ordered<T>
    where
        T: Send + std::fmt::Debug + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.order_with(name, what, move |handles| work(handles.cluster))
    }

    /// As [`Self::order`], with all handles of the node.
    ///
    /// # Panics
    ///
    /// When the node does not run.
    pub fn order_with<T, F>(
        &mut self,
        name: Name,
        what: &str,
        work: impl FnOnce(Handles) -> F + Send + 'static,
    ) -> Ordered<T>
    where
        T: Send + std::fmt::Debug + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.act(format_args!("{name} is told to {what}"));
        let ordered = Ordered(Arc::new(Mutex::new(None)));
        let (result, trace, what) = (ordered.0.clone(), self.trace.clone(), what.to_owned());
        let given = self.hosts[&name].body.order(Box::new(move |handles| {
            Box::pin(async move {
                let done = work(handles).await;
                trace.line(name, format_args!("was told to {what}: {done:?}"));
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            })
        }));
        assert!(given, "{name} does not run, and was told to do something");
        ordered
    }

    /// The result of an order, once it is there.
    ///
    /// # Panics
    ///
    /// When it does not come in time.
    pub fn expect_result<T: Clone>(&mut self, ordered: &Ordered<T>, limit: Duration) -> T {
        self.expect("the order has a result", limit, |_| ordered.result().is_some());
        ordered.result().expect("it was just there")
    }

    /// Tells a node to have leadership handed over.
    pub fn transfer(&mut self, asked: impl Who, to: Option<Name>) -> Ordered<Result<Name, TransferError>> {
        let asked = asked.among(self)[0];
        let target: Option<NodeId> = to.map(Name::node_id);
        let what = to.map_or("hand leadership to anybody".to_owned(), |to| format!("hand leadership to {to}"));
        self.order(asked, &what, move |cluster| async move {
            let leader = cluster.transfer_leader(target).await?;
            Name::parse(leader.node_id.as_str()).ok_or(TransferError::NoLeader)
        })
    }

    /// Tells a node to have a member removed.
    pub fn remove(&mut self, asked: impl Who, member: Name) -> Ordered<Result<(), LeaveError>> {
        let asked = asked.among(self)[0];
        self.order(
            asked,
            &format!("remove {member}"),
            move |cluster| async move { cluster.remove(member.node_id()).await },
        )
    }

    /// Tells a node to stop in good order; its process ends when it has.
    pub fn stop(&mut self, who: impl Who) {
        for name in who.among(self) {
            let stopped = self.order(name, "stop", |cluster| async move { cluster.stop().await });
            self.expect_result(&stopped, PATIENCE);
            self.kill(name);
        }
    }
}

/// The end.
impl World {
    /// Takes every fault away and starts every node.
    pub fn recover(&mut self) {
        let all = self.names();
        self.heal();
        self.lose_packets(0.0);
        self.set_latency(Duration::from_millis(5));
        for name in all.clone() {
            self.hosts[&name].disk.stall_until(Duration::ZERO);
            self.hosts[&name].clock.set_drift(0);
            self.set_disk_full(name, false);
            let has_wrong_time = !self.wall_is_right(name);
            if has_wrong_time {
                self.step_wall(name, Duration::ZERO);
            }
            if self.seen(name).stopped || self.hosts[&name].sync_fails || has_wrong_time {
                // Whoever runs a node restarts it when it has stopped for a fault of its disk, and when its time is set
                // right.
                self.kill(name);
            }
        }
        self.restart(all);
    }

    /// Demands that everything heals: a leader, writes again, and at last the same data on every node.
    ///
    /// # Panics
    ///
    /// When it does not heal in time.
    pub fn expect_healed(&mut self) {
        self.expect_leader_within(HEALING);
        self.load(ms(20));
        for name in self.names() {
            if !self.is_witness(name) && self.seen(name).up && !self.seen(name).stopped {
                self.expect_writes_on(name, HEALING);
            }
        }
        self.stop_load();
        self.expect("no client waits for an answer any more", HEALING, |world| world.is_quiet());
        self.expect("all nodes have the same data", HEALING, |world| world.is_converged());
        self.expect_records_healed();
        if self.cast.roles.is_some() {
            self.expect_primary_within(HEALING);
        }
        self.judge_end();
    }

    /// Demands of the copies of records that they are complete and equal, and hold what was acknowledged.
    fn expect_records_healed(&mut self) {
        if self.cast.records.is_none() {
            return;
        }
        let copies = |world: &Self| -> Vec<(Name, Replication)> {
            let keeps = |name: &Name| {
                let vitals = world.hosts[name].body.lock();
                Some((*name, vitals.handles.as_ref()?.replication.clone()?))
            };
            let counts = |name: &Name| world.seen(*name).up && !world.seen(*name).stopped;
            world.names().iter().filter(|name| counts(name)).filter_map(keeps).collect()
        };
        self.expect("all copies of records are complete and equal", HEALING, |world| {
            let copies = copies(world);
            let held = |copy: &Replication| copy.held_here();
            let Some((_, first)) = copies.first() else { return false };
            let first = held(first);
            first.is_complete && copies.iter().all(|(_, copy)| held(copy) == first)
        });
        let mut broken = None;
        for (name, copy) in copies(self) {
            let find = |id: &str| {
                let found = copy.get_local(TYPE, id).map_err(|error| error.to_string())?;
                Ok(found.and_then(|record| record.json().ok()))
            };
            broken = broken.or(self
                .book
                .lock()
                .judge(&self.set_aside, find)
                .err()
                .map(|reason| format!("on {name}, {reason}")));
        }
        for (name, copy) in copies(self) {
            let find = |id: &str| copy.get_local(TYPE, id).map_err(|error| error.to_string());
            let judged = self.joint.lock().judge(find);
            broken = broken.or(judged.err().map(|reason| format!("on {name}, {reason}")));
        }
        if let Some(broken) = broken {
            panic!("it must hold that acknowledged records are there in the end; but {broken}");
        }
        let (acknowledged, read) = {
            let (book, joint) = (self.book.lock(), self.joint.lock());
            if self.cast.records.is_some_and(Keeping::is_joint) {
                self.trace.line("*", format_args!("{} reads found more than one value", joint.beside));
            }
            (book.acknowledged + joint.acknowledged, book.read + joint.read)
        };
        assert!(acknowledged > 0 && read > 0, "nothing was shown: no record was written and read");
        self.trace.line("*", format_args!("{acknowledged} records acknowledged, {read} read"));
    }

    /// Takes note of what a node set aside: it need not be among the records.
    ///
    /// # Panics
    ///
    /// When the node does not say.
    pub fn take_note_of_tails(&mut self, name: Name) {
        let told = self.order_with(name, "show what it set aside", |handles| async move {
            let Some(replication) = handles.replication else { return Ok(Vec::new()) };
            let mut changes = Vec::new();
            for tail in replication.tails().await.map_err(|error| error.to_string())? {
                let tail = replication.tail(&tail.name).await.map_err(|error| error.to_string())?;
                changes.extend(tail.into_iter().map(|change| {
                    let number = change.data.and_then(|data| serde_json::from_slice::<u64>(&data).ok());
                    (change.key.data_id().to_owned(), number)
                }));
            }
            Ok::<_, String>(changes)
        });
        let told = self.expect_result(&told, PATIENCE);
        self.set_aside.extend(told.expect("it can be read"));
    }

    /// A record is acknowledged from now on; after so long.
    ///
    /// # Panics
    ///
    /// When none is.
    pub fn expect_records_within(&mut self, limit: Duration) -> Duration {
        let acknowledged = |world: &Self| world.book.lock().acknowledged + world.joint.lock().acknowledged;
        let before = acknowledged(self);
        // Some that are under way may have been asked before.
        let many = before + 3 * self.names().len();
        self.expect("records are acknowledged", limit, |world| acknowledged(world) > many)
    }

    /// The copy of a node is complete.
    ///
    /// # Panics
    ///
    /// When it does not become so.
    pub fn expect_complete(&mut self, name: Name, limit: Duration) {
        self.expect(&format!("the copy of {name} is complete"), limit, |world| {
            let vitals = world.hosts[&name].body.lock();
            let copy = vitals.handles.as_ref().and_then(|handles| handles.replication.as_ref());
            copy.is_some_and(|copy| copy.held_here().is_complete)
        });
    }

    fn expect_writes_on(&mut self, name: Name, limit: Duration) {
        let judged = self.history.lock().answered_count();
        self.expect(&format!("a write is acknowledged on {name}"), limit, |world| {
            let operations = world.history.lock();
            operations
                .answered_since(judged)
                .any(|(_, operation, answer)| operation.node == name && matches!(answer, Answer::Written { .. }))
        });
    }

    fn is_quiet(&self) -> bool {
        !self.history.lock().is_anybody_waiting()
    }

    fn is_converged(&self) -> bool {
        let counts = |seen: &&super::invariants::Seen| seen.up && !seen.stopped && seen.cluster.is_some();
        let names = self.names();
        let mut states = names.iter().map(|name| self.seen(*name)).filter(counts);
        let Some(first) = states.next() else { return false };
        let same = |seen: &super::invariants::Seen| {
            seen.epoch == first.epoch && (seen.witness || first.witness || seen.entries == first.entries)
        };
        states.all(same)
    }
}
