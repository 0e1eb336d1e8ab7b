//! What runs on a simulated host: one life of a node, and the clients that use it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ha_cluster::{Cluster, Config, Event, Machines, Replicated, Role, Seams, WriteError};
use ha_failover::Failover;
use ha_failover::roster::Roster;
use ha_replication::Replication;
use ha_state::{State, Store};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use super::history::{Answer, History, Request};
use super::joint::{self, Joint};
use super::ledger::{Append, Ledger};
use super::records::{self, Book, Keeping, SimWall};
use super::roles::{self, Moving, Runs, Starts};
use super::shared::{self, Shared};
use super::{Name, Trace};

/// How long a client waits for an answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);
/// How often the number of tasks is taken.
const COUNT_INTERVAL: Duration = Duration::from_millis(100);

/// What clients do on every node. Cheap to clone; a change holds for all at once.
#[derive(Clone, Default)]
pub struct Load(Arc<Mutex<Option<Pace>>>);

/// How fast clients ask.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Mean time between two requests of one client.
    pub interval: Duration,
    /// The share of reads, 0 to 1.
    pub reads: f64,
}

impl Load {
    /// Sets the pace; `None` for no requests.
    pub fn set(&self, pace: Option<Pace>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pace;
    }

    pub(super) fn pace(&self) -> Option<Pace> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something to do on a node, as its owner would.
pub type Order = Box<dyn FnOnce(Handles) -> BoxFuture<'static, ()> + Send>;

/// The handles of a running node.
#[derive(Clone)]
pub struct Handles {
    /// The cluster.
    pub cluster: Cluster,
    /// The ledger on it; none on a witness.
    pub ledger: Replicated<Ledger>,
    /// Shared state; off where a scene does not turn it on, and on a witness.
    pub state: State,
    /// This node's records, where the cast keeps some.
    pub replication: Option<Replication>,
    /// This node's part in the roles, where the cast has some.
    pub failover: Option<Failover>,
}

/// What a life needs to begin.
#[derive(Clone)]
pub struct Blueprint {
    /// Whose life.
    pub name: Name,
    /// How it behaves.
    pub config: Config,
    /// Its network, disk and clock.
    pub seams: Seams,
    /// Clients on this node at once.
    pub clients: usize,
    /// Seed of the clients of this life.
    pub seed: u64,
    /// What the clients do.
    pub load: Load,
    /// Where they write down what they were told.
    pub history: History,
    /// Shared state and its clients.
    pub shared: Shared,
    /// How it keeps records, if it does.
    pub records: Option<Keeping>,
    /// How roles move, where the cast has some.
    pub roles: Option<Moving>,
    /// Where every start of the service is written down.
    pub starts: Starts,
    /// Its time of day.
    pub wall: SimWall,
    /// Where clients write down what they were told of records.
    pub book: Book,
    /// The same, of records that they share.
    pub joint: Joint,
    /// Where it is written down what happens.
    pub trace: Trace,
}

/// What a life shows to the world outside. Cheap to clone.
#[derive(Clone, Default)]
pub struct Body(Arc<Mutex<Vitals>>);

/// The state of a life.
#[derive(Default)]
pub struct Vitals {
    /// What the next life begins with.
    pub blueprint: Option<Blueprint>,
    /// The handles, once the node has started.
    pub handles: Option<Handles>,
    /// Why it ended by itself.
    pub ended: Option<String>,
    /// Tasks alive on the node's runtime.
    pub tasks: usize,
    /// What runs on it.
    pub runs: Runs,
    /// The nodes of which it has said that their lease is over, and nobody has looked yet.
    pub called_over: Vec<Name>,
    orders: Option<mpsc::UnboundedSender<Order>>,
}

impl Body {
    /// Looks at it.
    pub fn lock(&self) -> MutexGuard<'_, Vitals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the life that was, before the next.
    pub fn clear(&self) {
        let mut vitals = self.lock();
        let blueprint = vitals.blueprint.take();
        *vitals = Vitals { blueprint, ..Vitals::default() };
    }

    /// Has something done on the node; false when it does not run.
    pub fn order(&self, order: Order) -> bool {
        self.lock().orders.as_ref().is_some_and(|orders| orders.send(order).is_ok())
    }

    /// Lives until the host dies. The world ends the host of a life that has ended by itself.
    pub async fn live(self) {
        let Some(blueprint) = self.lock().blueprint.clone() else { return };
        if let Err(reason) = self.serve(blueprint).await {
            self.lock().ended = Some(reason);
        }
        std::future::pending().await
    }

    async fn serve(&self, blueprint: Blueprint) -> Result<(), String> {
        let name = blueprint.name;
        let mut machines = Machines::new().with(Ledger::default()).with(Store::new());
        if blueprint.roles.is_some() {
            machines = machines.with(Roster::default());
        }
        let mut opened = None;
        if let Some(keeping) = blueprint.records {
            let (records, copy) = ha_replication::open(keeping.config(&blueprint.wall), blueprint.seams.disk.clone())
                .await
                .map_err(|error| format!("cannot open records: {error}"))?;
            machines = machines.with(records);
            opened = Some(copy);
        }
        let started = ha_cluster::start(blueprint.config.clone(), blueprint.seams.clone(), machines);
        let cluster = started.await.map_err(|error| format!("cannot start: {error}"))?;
        let ledger = cluster.replicated::<Ledger>().ok_or("the ledger is missing")?;
        let shares = blueprint.shared.is_on() && blueprint.config.role == Role::Member;
        let state = if shares {
            let state = ha_state::start(ha_state::Config::default(), &cluster, blueprint.seams.clock.clone());
            state.map_err(|error| format!("cannot share: {error}"))?
        } else {
            State::off("this scene has no shared state")
        };
        if shares {
            shared::begin(&blueprint, &state);
        }
        let replication = opened.map(|copy| copy.start(cluster.clone())).transpose();
        let replication = replication.map_err(|error| error.to_string())?;
        let failover = match blueprint.roles {
            Some(moving) => Some(roles::start(
                moving,
                &cluster,
                &blueprint.config,
                (blueprint.seed, blueprint.starts.clone()),
                self,
            )?),
            None => None,
        };
        let handles = Handles { cluster, ledger, state, replication, failover };
        let (orders, mut ordered) = mpsc::unbounded_channel();
        {
            let mut vitals = self.lock();
            vitals.handles = Some(handles.clone());
            vitals.orders = Some(orders);
        }
        tokio::spawn(tell_events(name, handles.cluster.events(), self.clone(), blueprint.trace.clone()));
        if let Some(failover) = &handles.failover {
            tokio::spawn(tell_events(name, failover.events(), self.clone(), blueprint.trace.clone()));
        }
        let mut rng = StdRng::seed_from_u64(blueprint.seed);
        for _ in 0..blueprint.clients {
            tokio::spawn(client(blueprint.clone(), handles.ledger.clone(), rng.random()));
            if let Some(replication) = &handles.replication {
                let (blueprint, replication) = (blueprint.clone(), replication.clone());
                if blueprint.records.is_some_and(Keeping::is_joint) {
                    tokio::spawn(joint::client(blueprint, replication, rng.random()));
                } else {
                    tokio::spawn(records::client(blueprint, replication, rng.random()));
                }
            }
        }
        loop {
            tokio::select! {
                order = ordered.recv() => match order {
                    Some(order) => drop(tokio::spawn(order(handles.clone()))),
                    None => return Err("the world let go of it".to_owned()),
                },
                () = overtaken(&handles.cluster) => return Err("it is overtaken, and starts anew".to_owned()),
                () = tokio::time::sleep(COUNT_INTERVAL) => {
                    self.lock().tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
                }
            }
        }
    }
}

/// Waits until the cluster has gone on by force without this node, and orders that what it has is set aside.
async fn overtaken(cluster: &Cluster) {
    let mut overtaken = cluster.overtaken();
    loop {
        if overtaken.wait_for(Option::is_some).await.is_err() {
            return std::future::pending().await;
        }
        if cluster.set_aside().await.is_ok() {
            return;
        }
        tokio::time::sleep(COUNT_INTERVAL).await;
    }
}

async fn tell_events(name: Name, mut events: broadcast::Receiver<Event>, body: Body, trace: Trace) {
    loop {
        match events.recv().await {
            Ok(event) => {
                trace.line(name, format_args!("{}: {}", event.kind, event.message));
                // The sentence begins with the node whose lease it is.
                let holder = event.message.split([' ', ':']).next().and_then(Name::parse);
                if event.kind == "lease_expired"
                    && let Some(holder) = holder
                {
                    body.lock().called_over.push(holder);
                }
            }
            Err(RecvError::Lagged(missed)) => trace.line(name, format_args!("{missed} events were missed")),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Asks, waits for the answer, pauses, and asks again.
async fn client(blueprint: Blueprint, ledger: Replicated<Ledger>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        let pace = blueprint.load.pace();
        let mean = pace.map_or(COUNT_INTERVAL, |pace| pace.interval);
        tokio::time::sleep(mean.mul_f64(rng.random_range(0.5..1.5))).await;
        let Some(pace) = blueprint.load.pace() else { continue };
        if rng.random_bool(pace.reads) {
            ask(&blueprint, Request::Read, read(&ledger)).await;
        } else {
            ask(&blueprint, Request::Write, |number| write(&ledger, number).boxed()).await;
        }
    }
}

async fn ask<'a>(blueprint: &Blueprint, request: Request, ask: impl FnOnce(u64) -> BoxFuture<'a, Answer>) {
    let now = || blueprint.trace.now();
    let number = blueprint.history.lock().ask(blueprint.name, request, now());
    let answer = ask(number).await;
    blueprint.history.lock().answer(number, answer, now());
    blueprint.trace.line(blueprint.name, format_args!("{request:?} {number}: {answer:?}"));
}

async fn write(ledger: &Replicated<Ledger>, number: u64) -> Answer {
    match ledger.write_within(&Append { entry: number }, CLIENT_PATIENCE).await {
        Ok(appended) => Answer::Written { position: appended.position, epoch: appended.epoch },
        Err(WriteError::NotApplied { .. } | WriteError::TooLarge { .. }) => Answer::NotApplied,
        Err(_) => Answer::Unknown,
    }
}

fn read<'a>(ledger: &'a Replicated<Ledger>) -> impl FnOnce(u64) -> BoxFuture<'a, Answer> {
    move |_| {
        async move {
            let seen = ledger.read(|ledger| (ledger.entries().len() as u64, ledger.entries().last().copied()));
            match tokio::time::timeout(CLIENT_PATIENCE, seen).await {
                Ok(Ok((length, last))) => Answer::Read { length, last },
                // A read changes nothing, so it certainly did not happen.
                Ok(Err(_)) | Err(_) => Answer::NotApplied,
            }
        }
        .boxed()
    }
}
