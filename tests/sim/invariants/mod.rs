//! What must hold after every step, one file each. Each comes with a history that breaks it, to show that it would be
//! noticed.

mod agreement;
mod bounded_resources;
mod lease_ends_first;
mod linearizable;
mod monotonic;
mod needless_move;
mod one_cluster;
mod one_leader;
mod one_primary;
mod progress;
mod settled_roles;
mod silent_minority;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::history::Operations;
use super::roles::Run;
use super::{Name, Network};

pub use agreement::Agreement;
pub use bounded_resources::{BoundedResources, DISK_BYTES_MAX, TASKS_MAX};
pub use lease_ends_first::LeaseEndsFirst;
pub use linearizable::Linearizable;
pub use monotonic::Monotonic;
pub use needless_move::NeedlessMove;
pub use one_cluster::OneCluster;
pub use one_leader::OneLeader;
pub use one_primary::OnePrimary;
pub use progress::Progress;
pub use settled_roles::SettledRoles;
pub use silent_minority::SilentMinority;

/// Something that must hold after every step.
pub trait Invariant {
    /// What must hold, as a sentence.
    fn claim(&self) -> &'static str;

    /// Judges one moment; the error says what broke it.
    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String>;

    /// A node goes on alone, by force: all that it does not hold is lost, whoever was told otherwise.
    fn forked(&mut self, _moment: &Moment<'_>, _survivor: Name) {}

    /// Judges the end of a run, when everything has healed and nothing is asked any more.
    fn check_end(&mut self, _moment: &Moment<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// All of them, for nodes with these timers.
pub fn all(timers: Timers) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(OneLeader::default()),
        Box::new(OneCluster::default()),
        Box::new(Monotonic::default()),
        Box::new(Agreement::default()),
        Box::new(Linearizable::default()),
        Box::new(LeaseEndsFirst),
        Box::new(SilentMinority::new(timers)),
        Box::new(Progress::new(timers)),
        Box::new(NeedlessMove::new(timers)),
        Box::new(BoundedResources),
        Box::new(OnePrimary::new(timers)),
        Box::new(SettledRoles::new(timers)),
    ]
}

/// The timers that bounds are made of.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// Raft's heartbeat.
    pub heartbeat: Duration,
    /// The longest election timeout: how long a leader may still believe in itself.
    pub election_max: Duration,
    /// Length of a node's lease.
    pub node_timeout: Duration,
}

/// One moment of the simulated world, as the judges see it.
pub struct Moment<'a> {
    /// Simulated time.
    pub now: Duration,
    /// Every node that was ever started, alive or not.
    pub nodes: &'a BTreeMap<Name, Seen>,
    /// What clients asked and were told.
    pub operations: &'a Operations,
    /// Who can reach whom.
    pub network: &'a Network,
    /// Since when nothing has been done to the world: no fault began or ended, nobody was asked to move.
    pub calm_since: Duration,
}

/// What one node shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Which life; grows with each start.
    pub life: u64,
    /// Which disk; grows when it is replaced by another, which knows nothing of what was promised on this one.
    pub disk: u64,
    /// The process runs and has started.
    pub up: bool,
    /// Something is done to it that may keep it from taking part: its disk stalls, or failed.
    pub hampered: bool,
    /// The cluster it belongs to.
    pub cluster: Option<u128>,
    /// Its term.
    pub term: u64,
    /// Commands applied.
    pub epoch: u64,
    /// Whom it takes for the leader.
    pub leader: Option<Name>,
    /// It takes itself for the leader.
    pub leads: bool,
    /// It believes that the leader can commit.
    pub live: bool,
    /// The voters it knows.
    pub voters: BTreeSet<Name>,
    /// The members that have said of themselves that they are unfit.
    pub unfit: BTreeSet<Name>,
    /// The members that it suspects.
    pub suspects: BTreeSet<Name>,
    /// It has stopped taking part.
    pub stopped: bool,
    /// The cluster went on by force without it, and it has not joined anew yet.
    pub left_behind: bool,
    /// It keeps no application data.
    pub witness: bool,
    /// It believes that it holds its node lease.
    pub holds_lease: bool,
    /// It has a service that may run.
    pub has_roles: bool,
    /// What of the service runs on it, by role.
    pub runs: BTreeMap<String, Run>,
    /// The nodes of which it has said, since the last step, that their lease is over.
    pub called_over: Vec<Name>,
    /// What the ledger holds there.
    pub entries: Vec<u64>,
    /// Tasks alive.
    pub tasks: usize,
    /// Bytes of its files, now and then.
    pub disk_bytes: u64,
}

impl Moment<'_> {
    /// The newest voters that anybody knows: those of the node that has applied most, of those that were not left behind.
    pub fn voters(&self) -> BTreeSet<Name> {
        let known = self.nodes.values().filter(|seen| !seen.voters.is_empty() && !seen.left_behind);
        known.max_by_key(|seen| (seen.term, seen.epoch, seen.up)).map(|seen| seen.voters.clone()).unwrap_or_default()
    }

    /// Whether the network lets a node reach, and be reached by, a majority of the voters that run. It may be that only
    /// some bytes on their way get through: a node of which this is false has certainly no quorum.
    pub fn reaches_majority(&self, name: Name, voters: &BTreeSet<Name>) -> bool {
        let runs = |other: &Name| self.nodes.get(other).is_some_and(|seen| seen.up);
        let reached = voters.iter().filter(|other| runs(other) && self.network.is_connected(name, **other)).count();
        reached > voters.len() / 2
    }

    /// Whether a node could lead: it hears, and is heard by, a majority of the voters that are well, itself included.
    pub fn has_majority(&self, name: Name, voters: &BTreeSet<Name>) -> bool {
        let able = |other: &Name| self.nodes.get(other).is_some_and(|seen| seen.up && !seen.stopped && !seen.hampered);
        let reached = voters.iter().filter(|other| able(other) && self.network.is_connected(name, **other)).count();
        able(&name) && reached > voters.len() / 2
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Made-up moments.

    use super::*;

    pub(crate) const TIMERS: Timers = Timers {
        heartbeat: Duration::from_millis(50),
        election_max: Duration::from_millis(400),
        node_timeout: Duration::from_millis(500),
    };

    pub(crate) fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// A world that is told, not played.
    pub(crate) struct Story {
        pub(crate) now: Duration,
        pub(crate) nodes: BTreeMap<Name, Seen>,
        pub(crate) operations: Operations,
        pub(crate) network: Network,
        pub(crate) calm_since: Duration,
    }

    impl Story {
        /// So many nodes of one cluster, all well; the first leads in term 1.
        pub(crate) fn new(nodes: u8) -> Self {
            let names: BTreeSet<Name> = (1..=nodes).map(Name).collect();
            let network = Network::new(0);
            let seen = |name: &Name| {
                network.set_machine(*name, super::super::network::Machine::Up);
                Seen {
                    life: 1,
                    up: true,
                    cluster: Some(7),
                    term: 1,
                    leader: Some(Name(1)),
                    leads: *name == Name(1),
                    live: true,
                    voters: names.clone(),
                    ..Seen::default()
                }
            };
            let nodes = names.iter().map(|name| (*name, seen(name))).collect();
            let start = Duration::ZERO;
            Self { now: start, nodes, operations: Operations::default(), network, calm_since: start }
        }

        pub(crate) fn node(&mut self, name: u8) -> &mut Seen {
            self.nodes.get_mut(&Name(name)).unwrap()
        }

        pub(crate) fn leader_is(&mut self, name: u8, term: u64) {
            for (node, seen) in &mut self.nodes {
                seen.term = term;
                seen.leader = Some(Name(name));
                seen.leads = *node == Name(name);
            }
        }

        pub(crate) fn moment(&self) -> Moment<'_> {
            Moment {
                now: self.now,
                nodes: &self.nodes,
                operations: &self.operations,
                network: &self.network,
                calm_since: self.calm_since,
            }
        }

        /// Lets time pass and has every step of 10 ms judged.
        pub(crate) fn pass(&mut self, time: f64, judge: &mut dyn Invariant) -> Result<(), String> {
            let until = self.now + seconds(time);
            while self.now < until {
                self.now += Duration::from_millis(10);
                judge.check(&self.moment())?;
            }
            Ok(())
        }
    }
}
