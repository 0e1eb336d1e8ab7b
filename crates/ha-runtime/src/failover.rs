//! The roles' place in a node, also when failover is off.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{Cluster, Epoch, Event, NodeId};
use ha_config::{Failback, FailoverMode, Role, Strategy};
use ha_failover::roster::{Ask, Decision};
use ha_failover::{
    Failover, FailoverState, FailoverStatus, FenceCommand, Fitness, GroupId, Mode, MoveError, Moved, PauseError,
    RoleId, Seams, Service,
};
use tokio::sync::{broadcast, watch};

/// How long roles may take to move away when a node stops.
const ROLES_STOP_TIME_MAX: Duration = Duration::from_secs(15);
/// Events of a node whose failover is off: there are none.
const NO_EVENTS: usize = 1;

/// Starts the room with a service of the embedder's.
pub(crate) type Starter = Box<
    dyn FnOnce(
            ha_failover::Config,
            Seams,
            Cluster,
            watch::Receiver<Fitness>,
        ) -> Result<Failover, ha_failover::StartError>
        + Send,
>;

pub(crate) fn starter(service: impl Service) -> Starter {
    Box::new(move |config, seams, cluster, fitness| ha_failover::start(config, seams, cluster, service, fitness))
}

/// The options of this room, onto its config.
pub(crate) fn config(config: &ha_config::Config) -> ha_failover::Config {
    let from = &config.failover;
    let lease = config.cluster.node_timeout;
    let mut failover = ha_failover::Config::default();
    failover.strategy = match config.ha.strategy {
        Strategy::ActivePassive => ha_failover::Strategy::ActivePassive,
        Strategy::ActiveActive => ha_failover::Strategy::ActiveActive,
        Strategy::Distributed => ha_failover::Strategy::Distributed,
    };
    failover.mode = match from.mode {
        FailoverMode::Automatic => Mode::Automatic,
        FailoverMode::Manual => Mode::Manual,
    };
    failover.failback = match from.failback {
        Failback::Manual => ha_failover::Failback::Manual,
        Failback::Automatic => ha_failover::Failback::Automatic,
    };
    failover.timeout = from.timeout;
    failover.check_interval = from.health_check_interval;
    failover.failure_threshold = from.failure_threshold;
    failover.recovery_wait = from.recovery_wait_time;
    failover.attempts_max = from.max_attempts;
    failover.lease = lease;
    failover.stop_time = ha_failover::Config::stop_time_of(lease);
    failover.takes_part = config.cluster.role == Role::Member;
    failover.fence_command = from.fence_command.clone();
    failover.promote_command = from.promote_command.clone();
    failover.demote_command = from.demote_command.clone();
    failover.goes_on_alone = !config.ha.split_brain_prevention;
    failover
}

/// The fence of a person's choice, if there is one.
pub(crate) fn with_fence(seams: Seams, config: &ha_failover::Config) -> Seams {
    let command = config.fence_command.as_ref().filter(|_| seams.fence.is_none());
    match command {
        Some(command) => Seams { fence: Some(Arc::new(FenceCommand::new(command.clone()))), ..seams },
        None => seams,
    }
}

/// The service's own fitness and what the other rooms know, as one: the worse of both.
pub(crate) fn together(
    mut own: watch::Receiver<Fitness>,
    mut others: watch::Receiver<Fitness>,
) -> watch::Receiver<Fitness> {
    let worse = |own: &Fitness, others: &Fitness| Fitness {
        healthy: own.healthy && others.healthy,
        reason: own.reason.clone().or_else(|| others.reason.clone()),
        in_sync: own.in_sync && others.in_sync,
        lag_items: own.lag_items.max(others.lag_items),
        // Where only the service itself is unwell, its failures still have to be counted.
        is_counted: !others.healthy && others.is_counted,
    };
    let (tell, both) = watch::channel(worse(&own.borrow_and_update(), &others.borrow_and_update()));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Ok(()) = own.changed() => {}
                Ok(()) = others.changed() => {}
                // Nobody tells anything more, or nobody wants to know.
                () = tell.closed() => return,
                else => return,
            }
            tell.send_replace(worse(&own.borrow_and_update(), &others.borrow_and_update()));
        }
    });
    both
}

/// The roles of a cluster, and this node's part in them. Cheap to clone.
///
/// With failover off (`FAILOVER_ENABLED=false`) the handle answers as a node that runs nothing, and refuses what would
/// move something.
#[derive(Clone)]
pub struct FailoverHandle {
    running: Option<Running>,
    status: watch::Receiver<Arc<FailoverStatus>>,
}

#[derive(Clone)]
struct Running {
    failover: Failover,
    fitness: watch::Sender<Fitness>,
    stop_within: Duration,
}

impl FailoverHandle {
    pub(crate) fn new(failover: Failover, fitness: watch::Sender<Fitness>, timeout: Duration) -> Self {
        let status = failover.watch();
        let stop_within = timeout.min(ROLES_STOP_TIME_MAX);
        Self { running: Some(Running { failover, fitness, stop_within }), status }
    }

    pub(crate) fn off() -> Self {
        let status = FailoverStatus {
            state: FailoverState::NoPrimary,
            primary_node: None,
            secondary_nodes: Vec::new(),
            epoch: Epoch(0),
            mode: Mode::Manual,
            paused: false,
            waiting_for: Some("nothing: failover is off (FAILOVER_ENABLED=false)".to_owned()),
            roles: Vec::new(),
            here: Vec::new(),
            damping: Vec::new(),
            next_scheduled: None,
            differences: Vec::new(),
        };
        // Nothing will ever change: a follower sees the end of the channel.
        Self { running: None, status: watch::channel(Arc::new(status)).1 }
    }

    fn running(&self) -> Option<&Failover> {
        self.running.as_ref().map(|running| &running.failover)
    }

    /// False when failover is off.
    pub fn enabled(&self) -> bool {
        self.running.is_some()
    }

    /// The roles as this node knows them, at this instant.
    pub fn status(&self) -> FailoverStatus {
        self.running().map_or_else(|| (**self.status.borrow()).clone(), Failover::status)
    }

    /// The same, to follow.
    pub fn watch(&self) -> watch::Receiver<Arc<FailoverStatus>> {
        self.status.clone()
    }

    /// Whether this node runs a group, or any shard of it, at this instant.
    pub fn is_primary(&self, group: &GroupId) -> bool {
        self.running().is_some_and(|failover| failover.is_primary(group))
    }

    /// See [`Failover::runs`].
    pub fn runs(&self, role: &RoleId) -> bool {
        self.running().is_some_and(|failover| failover.runs(role))
    }

    /// The fencing token of a role that this node runs at this instant.
    pub fn token(&self, role: &RoleId) -> Option<Epoch> {
        self.running()?.token(role)
    }

    /// The last decisions and what became of them, the oldest first.
    pub fn history(&self) -> Vec<Decision> {
        self.running().map(Failover::history).unwrap_or_default()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.running().map_or_else(|| broadcast::channel(NO_EVENTS).1, Failover::events)
    }

    /// How fit this node is to run something, as the other rooms see it: whoever assembled the node tells it here.
    pub fn tell_fitness(&self, fitness: Fitness) {
        if let Some(running) = &self.running {
            running.fitness.send_if_modified(|known| {
                let changed = *known != fitness;
                *known = fitness;
                changed
            });
        }
    }

    /// See [`Failover::switchover`].
    pub async fn switchover(&self, to: Option<NodeId>) -> Result<Moved, MoveError> {
        self.running().ok_or_else(refused)?.switchover(to).await
    }

    /// See [`Failover::switchover_role`].
    pub async fn switchover_role(&self, role: &RoleId, to: Option<NodeId>) -> Result<Moved, MoveError> {
        self.running().ok_or_else(refused)?.switchover_role(role, to).await
    }

    /// See [`Failover::attempt_failback`].
    pub async fn attempt_failback(&self) -> Result<Moved, MoveError> {
        self.running().ok_or_else(refused)?.attempt_failback().await
    }

    /// See [`Failover::attempt_failback_of`].
    pub async fn attempt_failback_of(&self, role: &RoleId) -> Result<Moved, MoveError> {
        self.running().ok_or_else(refused)?.attempt_failback_of(role).await
    }

    /// See [`Failover::first_role`].
    pub fn first_role(&self) -> Result<RoleId, MoveError> {
        self.running().ok_or_else(refused)?.first_role()
    }

    /// See [`Failover::request`].
    pub async fn request(&self, ask: Ask, name: Option<String>) -> Result<Moved, MoveError> {
        self.running().ok_or_else(refused)?.request(ask, name).await
    }

    /// See [`Failover::promote_forced`].
    pub async fn promote_forced(&self) -> Result<(), MoveError> {
        let failover = self.running().ok_or_else(refused)?;
        failover.promote_forced().await.map_err(|error| MoveError::Refused { reason: error.to_string() })
    }

    /// Resolves once this node must be stopped and started again, to go on alone; never where failover is off.
    pub async fn restart_wanted(&self) {
        let wanted = self.running().map(Failover::restart_wanted);
        let Some(mut wanted) = wanted else { return std::future::pending().await };
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// See [`Failover::pause`]. Does nothing when failover is off: nothing moves then.
    pub async fn pause(&self) -> Result<(), PauseError> {
        match self.running() {
            Some(failover) => failover.pause().await,
            None => Ok(()),
        }
    }

    /// See [`Failover::resume`].
    pub async fn resume(&self) -> Result<(), PauseError> {
        match self.running() {
            Some(failover) => failover.resume().await,
            None => Ok(()),
        }
    }

    /// The room's own handle, when it is on.
    pub fn room(&self) -> Option<&Failover> {
        self.running()
    }

    pub(crate) async fn stop(&self) {
        if let Some(running) = &self.running {
            running.failover.stop(running.stop_within).await;
        }
    }
}

fn refused() -> MoveError {
    MoveError::Refused { reason: "failover is off on this node: set FAILOVER_ENABLED=true".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_of_failover_reaches_it() {
        let settings = [
            ("HA_STRATEGY", "distributed"),
            ("CLUSTER_NODE_TIMEOUT", "8"),
            ("CLUSTER_HEARTBEAT_INTERVAL", "1"),
            ("CLUSTER_ELECTION_TIMEOUT", "4"),
            ("FAILOVER_MODE", "manual"),
            ("FAILOVER_TIMEOUT", "40"),
            ("FAILOVER_HEALTH_CHECK_INTERVAL", "2"),
            ("FAILOVER_FAILURE_THRESHOLD", "4"),
            ("FAILOVER_RECOVERY_WAIT_TIME", "33"),
            ("FAILOVER_MAX_ATTEMPTS", "7"),
            ("FAILOVER_FAILBACK", "automatic"),
            ("FAILOVER_FENCE_COMMAND", "/bin/fence"),
            ("FAILOVER_PROMOTE_COMMAND", "/bin/up"),
            ("FAILOVER_DEMOTE_COMMAND", "/bin/down"),
            ("CLUSTER_ROLE", "witness"),
            ("SPLIT_BRAIN_PREVENTION", "false"),
        ];
        let builder = settings.into_iter().fold(ha_config::Config::builder(), |b, (name, value)| b.set(name, value));
        let config = config(&builder.build().unwrap());
        let seconds = Duration::from_secs;
        assert_eq!((config.strategy, config.mode), (ha_failover::Strategy::Distributed, Mode::Manual));
        assert_eq!(
            (config.timeout, config.check_interval, config.recovery_wait),
            (seconds(40), seconds(2), seconds(33))
        );
        assert_eq!((config.failure_threshold, config.attempts_max), (4, 7));
        assert_eq!((config.lease, config.stop_time, config.takes_part), (seconds(8), seconds(2), false));
        assert_eq!(
            (config.failback, config.fence_command.as_deref()),
            (ha_failover::Failback::Automatic, Some("/bin/fence"))
        );
        assert_eq!(
            (config.promote_command.as_deref(), config.demote_command.as_deref()),
            (Some("/bin/up"), Some("/bin/down"))
        );
        assert!(config.goes_on_alone && with_fence(Seams::default(), &config).fence.is_some());
    }

    #[test]
    fn the_defaults_of_both_agree() {
        let mapped = config(&ha_config::Config::default());
        assert_eq!(mapped, ha_failover::Config::default());
    }

    #[tokio::test]
    async fn a_node_without_failover_runs_nothing_and_says_which_option_to_set() {
        let off = FailoverHandle::off();
        assert!(!off.enabled() && !off.is_primary(&GroupId::default()) && off.history().is_empty());
        assert_eq!(off.status().primary_node, None);
        assert!(off.switchover(None).await.unwrap_err().to_string().contains("FAILOVER_ENABLED"));
        assert_eq!(off.pause().await, Ok(()));
    }
}
