//! A service on every node with data, and what of it runs where.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_cluster::{Cluster, Config as ClusterConfig, Role};
use ha_failover::{Config, Demotion, Failback, Failover, Fitness, Promotion, RoleId, Seams, Service, ServiceError};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use super::node::Body;
use super::{Name, World};

/// The role of every scene that has any.
const ROLE: &str = "default";
/// How long the service takes to start and to stop, at most.
const STARTS_WITHIN_MS: u64 = 40;
const STOPS_WITHIN_MS: u64 = 30;

/// How far one role is on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// With which token.
    pub epoch: u64,
    /// It has started, and is not being stopped.
    pub is_up: bool,
    /// It was started although it ran here already.
    pub is_double: bool,
}

/// What runs on a node in one life. Cheap to clone.
#[derive(Clone, Default)]
pub struct Runs(Arc<Mutex<BTreeMap<String, Run>>>);

impl Runs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, by role.
    pub fn all(&self) -> BTreeMap<String, Run> {
        self.lock().clone()
    }
}

/// The tokens of all starts, on every node. Cheap to clone.
pub type Starts = Arc<Mutex<Vec<u64>>>;

/// How roles move in a scene.
#[derive(Clone, Copy, Debug)]
pub struct Moving {
    /// Whether they return to the node of the highest priority.
    pub failback: Failback,
    /// How long a node that lost one must be well.
    pub recovery_wait: Duration,
}

/// The service: it takes a while to start and to stop, and writes both down.
struct SimService {
    runs: Runs,
    starts: Starts,
    rng: Mutex<StdRng>,
}

impl SimService {
    async fn take_a_while(&self, most: u64) {
        let time = self.rng.lock().unwrap_or_else(PoisonError::into_inner).random_range(1..most);
        tokio::time::sleep(Duration::from_millis(time)).await;
    }
}

impl Service for SimService {
    async fn promote(&self, promotion: Promotion) -> Result<(), ServiceError> {
        let role = RoleId { group: promotion.group.clone(), shard: promotion.shard }.to_string();
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).push(promotion.token());
        let is_double = self.runs.lock().contains_key(&role);
        self.runs.lock().insert(role.clone(), Run { epoch: promotion.token(), is_up: false, is_double });
        self.take_a_while(STARTS_WITHIN_MS).await;
        if let Some(run) = self.runs.lock().get_mut(&role) {
            run.is_up = true;
        }
        Ok(())
    }

    async fn demote(&self, demotion: Demotion) -> Result<(), ServiceError> {
        let role = RoleId { group: demotion.group.clone(), shard: demotion.shard }.to_string();
        if let Some(run) = self.runs.lock().get_mut(&role) {
            run.is_up = false;
        }
        self.take_a_while(STOPS_WITHIN_MS).await;
        self.runs.lock().remove(&role);
        Ok(())
    }
}

impl World {
    /// Who is primary, as the service itself sees it.
    pub fn primary(&self) -> Option<Name> {
        let is_up = |name: &Name| self.seen(*name).runs.get(ROLE).is_some_and(|run| run.is_up);
        self.names().into_iter().find(is_up)
    }

    /// The token with which a node runs the service, or began to.
    pub fn token_of(&self, name: Name) -> u64 {
        self.seen(name).runs.get(ROLE).map_or(0, |run| run.epoch)
    }

    /// Who is about to run the service with a token above this one.
    pub fn begins_after(&self, token: u64) -> Option<Name> {
        self.names().into_iter().find(|name| self.token_of(*name) > token)
    }

    /// How often the service was started so far, on any node.
    pub fn starts(&self) -> usize {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until somebody is primary.
    ///
    /// # Panics
    ///
    /// When nobody is in time.
    pub fn expect_primary_within(&mut self, limit: Duration) -> Name {
        self.expect("somebody is primary", limit, |world| world.primary().is_some());
        self.primary().expect("somebody just was")
    }

    /// Lets a node hand over what it runs and leave in order, as one does that is told to stop.
    ///
    /// # Panics
    ///
    /// When it takes longer than it may.
    pub fn drain(&mut self, name: Name, within: Duration) {
        let stopped = self.order_with(name, "stop", move |handles| async move {
            if let Some(failover) = &handles.failover {
                failover.stop(within).await;
            }
            handles.cluster.stop().await;
        });
        self.expect_result(&stopped, within * 3);
    }
}

/// Starts the room on a node.
pub fn start(
    moving: Moving,
    cluster: &Cluster,
    config: &ClusterConfig,
    (seed, starts): (u64, Starts),
    body: &Body,
) -> Result<Failover, String> {
    let mut settings = Config::default();
    settings.lease = config.node_timeout;
    settings.stop_time = Config::stop_time_of(config.node_timeout);
    settings.check_interval = config.node_timeout / 5;
    settings.timeout = config.node_timeout * 10;
    settings.failback = moving.failback;
    settings.recovery_wait = moving.recovery_wait;
    settings.takes_part = config.role == Role::Member;
    let runs = Runs::default();
    body.lock().runs = runs.clone();
    let service = SimService { runs, starts, rng: Mutex::new(StdRng::seed_from_u64(seed)) };
    let dying = body.clone();
    let end_process = Arc::new(move |why: &str| dying.lock().ended = Some(why.to_owned()));
    let (_, fitness) = watch::channel(Fitness::default());
    let seams = Seams { fence: None, end_process };
    ha_failover::start(settings, seams, cluster.clone(), service, fitness).map_err(|error| error.to_string())
}
