//! The simulated world: its hosts, its time, and the judges that look on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{Config, Member, MemberRole, MemberState, Role, Seams, View};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::cast::Cast;
use super::disk::Honesty;
use super::history::History;
use super::invariants::{self, Invariant, Moment, Seen, Timers};
use super::joint::Joint;
use super::network::Machine;
use super::node::{Blueprint, Body, Load};
use super::records::{Book, Keeping, SetAside, SimWall};
use super::roles::Starts;
use super::shared::Shared;
use super::{Name, Network, SimClock, SimDisk, SimWire, Trace};

/// How long one step is.
pub const STEP: Duration = Duration::from_millis(1);
/// How long a message takes at least and at most, unless a scene says otherwise.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(5));
/// How often the sizes of files are taken, in steps.
const MEASURE_EVERY: u128 = 500;
/// Segments that may be under way on one connection.
const TCP_SEGMENTS_MAX: usize = 65_536;

/// What a run is made from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Everything random comes from it.
    pub seed: u64,
    /// How long chaos lasts, where a scene lets it be told.
    pub chaos: Option<Duration>,
    /// How the product is broken on purpose.
    pub mutant: Option<Mutant>,
}

/// A way to break the product, which the simulation must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// No sync reaches the disk.
    NoSync,
    /// No vote reaches the disk before the next sync.
    ForgottenVote,
    /// A command that is tried again is applied again.
    AppliedTwice,
    /// Clocks drift far more than leases allow for.
    WildClocks,
    /// Reads of shared keys are not confirmed by anybody.
    StaleReads,
    /// Without a leader, a write does not ask what it replaces.
    NoVersionRead,
    /// Without a leader, a read is answered though no majority may hold what it found.
    NoReadRepair,
}

impl Mutant {
    /// By the name used on the command line.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "no-sync" => Some(Self::NoSync),
            "forgotten-vote" => Some(Self::ForgottenVote),
            "applied-twice" => Some(Self::AppliedTwice),
            "wild-clocks" => Some(Self::WildClocks),
            "stale-reads" => Some(Self::StaleReads),
            "no-version-read" => Some(Self::NoVersionRead),
            "no-read-repair" => Some(Self::NoReadRepair),
            _ => None,
        }
    }

    fn honesty(this: Option<Self>) -> Honesty {
        match this {
            Some(Self::NoSync) => Honesty::IgnoresSyncs,
            Some(Self::ForgottenVote) => Honesty::ForgetsVotes,
            _ => Honesty::Honest,
        }
    }
}

/// One host.
pub(super) struct Host {
    pub(super) config: Config,
    pub(super) body: Body,
    pub(super) disk: SimDisk,
    pub(super) clock: SimClock,
    pub(super) wall: SimWall,
    pub(super) machine: Machine,
    /// A sync of this life was made to fail.
    pub(super) sync_fails: bool,
    pub(super) disk_is_full: bool,
    /// It belongs to the cluster no more: nothing is expected of it, and it is not started again.
    pub(super) dismissed: bool,
    /// What was last shown, and what it was read from.
    shown: Option<Arc<View>>,
    line: String,
}

/// The simulated world.
pub struct World {
    pub(super) sim: turmoil::Sim<'static>,
    pub(super) settings: Settings,
    /// Of the script: what it leaves to chance.
    pub(super) rng: StdRng,
    pub(super) trace: Trace,
    pub(super) network: Network,
    pub(super) history: History,
    pub(super) book: Book,
    pub(super) joint: Joint,
    pub(super) set_aside: SetAside,
    pub(super) load: Load,
    pub(super) shared: Shared,
    pub(super) starts: Starts,
    pub(super) hosts: BTreeMap<Name, Host>,
    pub(super) seen: BTreeMap<Name, Seen>,
    pub(super) cast: Cast,
    pub(super) calm_since: Duration,
    /// Links on which messages wait.
    pub(super) frozen: std::collections::BTreeSet<(Name, Name)>,
    judges: Vec<Box<dyn Invariant>>,
}

impl World {
    /// A world without hosts.
    pub fn new(settings: Settings, trace: Trace) -> Self {
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(settings.seed)
            .tick_duration(STEP)
            .epoch(std::time::UNIX_EPOCH)
            .simulation_duration(Duration::MAX / 4)
            .min_message_latency(LATENCY.0)
            .max_message_latency(LATENCY.1)
            .tcp_capacity(TCP_SEGMENTS_MAX)
            // A dial that is given up keeps its port for good.
            .ephemeral_ports(10_000..=u16::MAX)
            .enable_random_order();
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let network = Network::new(rng.random());
        Self {
            sim: builder.build(),
            settings,
            rng,
            trace,
            network,
            history: History::default(),
            book: Book::default(),
            joint: Joint::default(),
            set_aside: SetAside::new(),
            load: Load::default(),
            shared: Shared::default(),
            starts: Starts::default(),
            hosts: BTreeMap::new(),
            seen: BTreeMap::new(),
            cast: super::nodes(0),
            calm_since: Duration::ZERO,
            frozen: std::collections::BTreeSet::new(),
            judges: Vec::new(),
        }
    }

    /// Starts all nodes of a cast at the same instant.
    pub fn start(&mut self, cast: Cast) {
        self.cast = cast;
        self.judges = invariants::all(self.cast.timers());
        for name in self.cast.names() {
            self.add(name);
        }
    }

    /// Prepares the cast without starting anybody: each is started by [`Self::add`].
    pub fn prepare(&mut self, cast: Cast) {
        self.cast = cast;
        self.judges = invariants::all(self.cast.timers());
    }

    /// Starts one node for the first time, as the cast describes it.
    pub fn add(&mut self, name: Name) {
        self.act(format_args!("{name} starts for the first time"));
        let host = Host {
            config: self.cast.config(name),
            body: Body::default(),
            disk: SimDisk::new(self.trace.clone(), Mutant::honesty(self.settings.mutant)),
            clock: SimClock::new(self.trace.clone()),
            wall: SimWall::new(self.trace.clone()),
            machine: Machine::Up,
            sync_fails: false,
            disk_is_full: false,
            dismissed: false,
            shown: None,
            line: String::new(),
        };
        self.hosts.insert(name, host);
        self.seen.insert(name, Seen::default());
        self.begin_life(name);
        let body = self.hosts[&name].body.clone();
        self.sim.host(name.to_string(), move || {
            let body = body.clone();
            async move {
                body.live().await;
                Ok(())
            }
        });
        self.apply_links(name);
    }

    /// Writes the blueprint of the next life of a node.
    pub(super) fn begin_life(&mut self, name: Name) {
        let (node_seed, client_seed) = (self.rng.random(), self.rng.random());
        let Some(host) = self.hosts.get_mut(&name) else { return };
        let mut config = host.config.clone();
        config.seed = Some(node_seed);
        config.applies_twice = self.settings.mutant == Some(Mutant::AppliedTwice);
        host.body.clear();
        host.body.lock().blueprint = Some(Blueprint {
            name,
            clients: if config.role == Role::Witness { 0 } else { self.cast.clients },
            config,
            seams: Seams {
                wire: Arc::new(SimWire::new(name, self.network.clone())),
                disk: Arc::new(host.disk.clone()),
                clock: Arc::new(host.clock.clone()),
            },
            seed: client_seed,
            load: self.load.clone(),
            history: self.history.clone(),
            shared: self.shared.clone(),
            roles: self.cast.roles,
            starts: self.starts.clone(),
            records: self
                .cast
                .records
                .filter(|_| host.config.role != Role::Witness)
                .map(|keeping| Keeping { mutant: self.settings.mutant, ..keeping }),
            wall: host.wall.clone(),
            book: self.book.clone(),
            joint: self.joint.clone(),
            trace: self.trace.clone(),
        });
        host.machine = Machine::Up;
        host.sync_fails = false;
        host.shown = None;
        self.network.set_machine(name, Machine::Up);
        if let Some(seen) = self.seen.get_mut(&name) {
            let life = seen.life + 1;
            let witness = host.config.role == Role::Witness;
            // What it belonged to is kept: the one cluster is the one of its data too.
            let (disk, cluster, voters) = (seen.disk, seen.cluster, seen.voters.clone());
            let (has_roles, left_behind) = (self.cast.roles.is_some() && !witness, seen.left_behind);
            *seen = Seen { life, disk, witness, cluster, voters, has_roles, left_behind, ..Seen::default() };
        }
    }

    /// Something is done to the world: a line, and the end of the calm.
    pub(super) fn act(&mut self, what: impl std::fmt::Display) {
        self.trace.line("*", what);
        self.calm_since = self.now();
    }

    /// Simulated time since the start.
    pub fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Every node that was ever started, and was not dismissed.
    pub fn names(&self) -> Vec<Name> {
        self.hosts.iter().filter(|(_, host)| !host.dismissed).map(|(name, _)| *name).collect()
    }

    /// What a node shows.
    pub fn seen(&self, name: Name) -> &Seen {
        &self.seen[&name]
    }

    /// Whether a node's process runs.
    pub fn runs(&self, name: Name) -> bool {
        self.hosts[&name].machine == Machine::Up
    }

    /// Whether a node is a witness.
    pub fn is_witness(&self, name: Name) -> bool {
        self.hosts[&name].config.role == Role::Witness
    }

    /// The node that leads in the highest term, as it says itself.
    pub fn leader(&self) -> Option<Name> {
        let leading = self.seen.iter().filter(|(_, seen)| seen.up && seen.leads && seen.live);
        leading.max_by_key(|(_, seen)| seen.term).map(|(name, _)| *name)
    }

    /// A number below a bound, by chance.
    pub fn rng_below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound.max(1))
    }

    /// The timers of the cast.
    pub fn timers(&self) -> Timers {
        self.cast.timers()
    }

    /// Lets one step pass and judges it.
    ///
    /// # Panics
    ///
    /// When an invariant is broken, or a task of a node panicked.
    pub fn step(&mut self) {
        if let Err(error) = self.sim.step() {
            panic!("a host failed: {error}");
        }
        self.trace.set_now(self.sim.elapsed());
        self.look();
        self.bury();
        self.judge(|judge, moment| judge.check(moment));
        if let Some(broken) = self.book.lock().broken() {
            panic!("it must hold that a record is read as it was acknowledged; but {broken}");
        }
        if let Some(broken) = self.joint.lock().broken() {
            panic!("it must hold that what a majority acknowledged is read until it is replaced; but {broken}");
        }
    }

    pub(super) fn judge(&mut self, judge: impl Fn(&mut dyn Invariant, &Moment<'_>) -> Result<(), String>) {
        let operations = self.history.lock();
        let moment = Moment {
            now: self.sim.elapsed(),
            nodes: &self.seen,
            operations: &operations,
            network: &self.network,
            calm_since: self.calm_since,
        };
        for invariant in &mut self.judges {
            if let Err(broken) = judge(&mut **invariant, &moment) {
                let claim = invariant.claim();
                panic!("it must hold that {claim}; but {broken}");
            }
        }
    }

    /// Judges the end, when nothing happens any more.
    ///
    /// # Panics
    ///
    /// When an invariant is broken.
    pub fn judge_end(&mut self) {
        for seen in self.seen.values_mut() {
            seen.entries.clear();
        }
        self.look();
        self.judge(|judge, moment| judge.check_end(moment));
    }

    /// Takes in what every node shows.
    fn look(&mut self) {
        let measure = self.sim.elapsed().as_millis().is_multiple_of(MEASURE_EVERY);
        for (name, host) in &mut self.hosts {
            let Some(seen) = self.seen.get_mut(name) else { continue };
            let mut vitals = host.body.lock();
            seen.up = host.machine == Machine::Up && vitals.handles.is_some();
            seen.hampered = host.sync_fails || host.disk_is_full || host.disk.is_stalled();
            seen.tasks = vitals.tasks;
            seen.runs = vitals.runs.all();
            if measure {
                seen.disk_bytes = host.disk.bytes();
            }
            seen.called_over = std::mem::take(&mut vitals.called_over);
            seen.holds_lease = vitals.handles.as_ref().is_some_and(|handles| handles.cluster.lease().is_held());
            let Some(handles) = &vitals.handles else { continue };
            handles.ledger.read_local(|ledger| {
                let entries = ledger.entries();
                seen.entries.truncate(entries.len());
                let known = seen.entries.len();
                seen.entries.extend_from_slice(&entries[known..]);
            });
            let view = handles.cluster.watch().borrow().clone();
            if host.shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, &view)) {
                continue;
            }
            take_in(seen, &view);
            let line = line(&view);
            if line != host.line {
                self.trace.line(name, &line);
                host.line = line;
            }
            host.shown = Some(view);
        }
    }

    /// Ends the hosts of nodes that ended by themselves, as the end of a process does.
    fn bury(&mut self) {
        for name in self.hosts.keys().copied().collect::<Vec<_>>() {
            let ended = self.hosts[&name].body.lock().ended.take();
            if let Some(reason) = ended {
                self.act(format_args!("{name} ended by itself: {reason}"));
                self.end_process(name, ha_cluster::disk::faulty::Survival::All);
            }
        }
    }
}

fn take_in(seen: &mut Seen, view: &View) {
    let name = |id: &ha_net::NodeId| Name::parse(id.as_str());
    seen.cluster = view.cluster_id.map(|id| id.0).or(seen.cluster);
    seen.term = view.term.0;
    seen.epoch = view.epoch.0;
    seen.leader = view.leader.as_ref().and_then(|leader| name(&leader.node_id));
    seen.leads = view.role == Some(MemberRole::Leader);
    seen.live = view.leader_is_live;
    seen.stopped = view.stopped.is_some();
    let members = |is: fn(&Member) -> bool| view.members.iter().filter(move |m| is(m)).filter_map(|m| name(&m.node_id));
    seen.voters = members(|m| m.voter).collect();
    seen.unfit = members(|m| !m.fit).collect();
    seen.suspects = members(|m| m.state == MemberState::Suspect).collect();
}

/// A view as one line, without what changes all the time.
fn line(view: &View) -> String {
    let role = view.role.map_or("no member".to_owned(), |role| format!("{role:?}").to_lowercase());
    let leader = view.leader.as_ref().map_or("nobody", |leader| leader.node_id.as_str());
    let live = if view.leader_is_live { "live" } else { "not live" };
    let members: Vec<String> = view.members.iter().map(member).collect();
    let waits = view.waiting_for.as_deref().unwrap_or("nothing");
    let stopped = view.stopped.as_deref().map(|reason| format!("; stopped: {reason}")).unwrap_or_default();
    let term = view.term.0;
    format!("{role} in term {term}, led by {leader} ({live}), with {}; waits for {waits}{stopped}", members.join(" "))
}

fn member(member: &Member) -> String {
    let voter = if member.voter { "" } else { "?" };
    format!("{}{voter}:{}", member.node_id, format!("{:?}", member.state).to_lowercase())
}
