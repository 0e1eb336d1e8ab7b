//! The command of `ha run -- COMMAND`: it runs on the primary, under a guard, and is started again when it ends.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_runtime::{Demotion, Fitness, NodeId, NodeLease, Promotion, Service, ServiceError};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::guard::{Cause, Ended, Exit, Guarded};

/// Pauses before the command is started again: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A command that ran for so long counts as one that stays up.
const STAYS_UP: Duration = Duration::from_secs(10);

/// How a command is kept running.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    /// The command and its arguments.
    pub(super) command: Vec<OsString>,
    /// Between SIGTERM and SIGKILL.
    pub(super) stop_grace: Duration,
    /// How often in a row it may end early before this node calls itself unfit.
    pub(super) failures_max: u32,
}

/// Keeps the command running while this node is primary.
pub(super) struct CommandService {
    manners: Manners,
    fitness: watch::Sender<Fitness>,
    /// Known once the node has started.
    me: watch::Receiver<Option<NodeId>>,
    run: Mutex<Option<Run>>,
}

/// One promotion.
struct Run {
    stop: watch::Sender<bool>,
    gone: watch::Receiver<bool>,
}

impl CommandService {
    /// A service, and how fit it is.
    pub(super) fn new(manners: Manners, me: watch::Receiver<Option<NodeId>>) -> (Self, watch::Receiver<Fitness>) {
        let (tell, fitness) = watch::channel(Fitness::default());
        (Self { manners, fitness: tell, me, run: Mutex::default() }, fitness)
    }

    async fn environment(&self, promotion: &Promotion) -> Vec<(String, String)> {
        let mut me = self.me.clone();
        let node = me.wait_for(Option::is_some).await.ok().and_then(|me| me.clone());
        let text = |name: &str, value: String| (name.to_owned(), value);
        let mut variables = vec![
            text("HA_ROLE", "primary".to_owned()),
            text("HA_GROUP", promotion.group.to_string()),
            text("HA_EPOCH", promotion.epoch.to_string()),
            text("HA_FENCING_TOKEN", promotion.token().to_string()),
        ];
        variables.extend(node.map(|node| text("HA_NODE_ID", node.to_string())));
        variables
    }
}

impl Service for CommandService {
    async fn promote(&self, promotion: Promotion) -> Result<(), ServiceError> {
        let environment = self.environment(&promotion).await;
        let (stop, stopped) = watch::channel(false);
        let (tell_gone, gone) = watch::channel(false);
        let (started, start) = oneshot::channel();
        let keeper = Keeper {
            manners: self.manners.clone(),
            environment,
            lease_ends: promotion.lease.ends(),
            lease: promotion.lease,
            fitness: self.fitness.clone(),
            stopped,
            failures: 0,
        };
        // Before anything runs: whoever gives this start up must be able to stop it.
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(Run { stop, gone });
        tokio::spawn(async move {
            keeper.keep(started).await;
            tell_gone.send_replace(true);
        });
        start.await.unwrap_or_else(|_| Err(ServiceError::new("it was stopped before it ran")))
    }

    async fn demote(&self, _: Demotion) -> Result<(), ServiceError> {
        let gone = self.run.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|run| {
            run.stop.send_replace(true);
            run.gone.clone()
        });
        if let Some(mut gone) = gone {
            let ended = gone.wait_for(|gone| *gone).await.is_ok();
            if !ended {
                return Err(ServiceError::new("nobody knows whether the command has ended"));
            }
        }
        // What was wrong with it here need not be wrong the next time.
        self.fitness.send_replace(Fitness::default());
        Ok(())
    }
}

/// Starts the command, again and again, until it shall stop.
struct Keeper {
    manners: Manners,
    environment: Vec<(String, String)>,
    lease: NodeLease,
    /// How often it had ended when the promotion came: what is granted after its end is not for this run.
    lease_ends: u64,
    fitness: watch::Sender<Fitness>,
    stopped: watch::Receiver<bool>,
    /// How often in a row it ended early.
    failures: u32,
}

impl Keeper {
    async fn keep(mut self, started: oneshot::Sender<Result<(), ServiceError>>) {
        let mut started = Some(started);
        loop {
            let began = Instant::now();
            let ended = match self.run(&mut started).await {
                Ok(exit) => exit,
                Err(error) => {
                    if let Some(started) = started.take() {
                        // Whoever waited has given up, or is told.
                        let _ = started.send(Err(ServiceError::new(error.to_string())));
                        return;
                    }
                    Exit { ended: None, cause: Cause::GuardLost }
                }
            };
            if *self.stopped.borrow() || started.is_some() {
                // Dropping what waits says that it did not run.
                return;
            }
            self.judge(ended, began.elapsed());
            let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told(&mut self.stopped) => return,
            }
        }
    }

    /// One run of the command, until nothing of it is left.
    async fn run(&mut self, started: &mut Option<oneshot::Sender<Result<(), ServiceError>>>) -> std::io::Result<Exit> {
        let guarded = Guarded::start(&self.manners.command, &self.environment, self.manners.stop_grace)?;
        let mut lease = self.lease.clone();
        let mut has_lease = true;
        let mut is_told = false;
        loop {
            // Also while it stops: it may take its time for as long as nobody else may start it.
            if let Some(until) = lease.valid_until().filter(|_| lease.ends() == self.lease_ends) {
                guarded.extend(until);
            }
            tokio::select! {
                exit = guarded.exited() => return Ok(exit),
                pid = guarded.started(), if started.is_some() => {
                    if pid.is_some() && let Some(started) = started.take() {
                        // Whoever waited may have given up, and will say so by stopping it.
                        let _ = started.send(Ok(()));
                    }
                    if pid.is_none() {
                        return Ok(guarded.exited().await);
                    }
                }
                is_alive = lease.changed(), if has_lease => has_lease = is_alive,
                () = told(&mut self.stopped), if !is_told => {
                    is_told = true;
                    guarded.stop();
                }
            }
        }
    }

    /// The command ended although nobody wanted it to.
    fn judge(&mut self, exit: Exit, ran_for: Duration) {
        let how = match (exit.cause, exit.ended) {
            (Cause::Deadline, _) => "was stopped, since the lease was about to end".to_owned(),
            (Cause::GuardLost, _) => "lost its guard".to_owned(),
            (_, Some(Ended::Code(code))) => format!("exited with {code}"),
            (_, Some(Ended::Signal(signal))) => format!("was ended by signal {signal}"),
            (_, None) => "ended, and nobody saw how".to_owned(),
        };
        tracing::warn!(event = "command_ended", "the command {how} after {:.1} s", ran_for.as_secs_f64());
        if exit.cause == Cause::Deadline {
            return;
        }
        self.failures = if ran_for >= STAYS_UP { 1 } else { self.failures.saturating_add(1) };
        if self.failures >= self.manners.failures_max {
            let reason =
                format!("the command does not stay up: {} times in a row it ended early; it {how}", self.failures);
            self.fitness.send_replace(Fitness { healthy: false, reason: Some(reason), ..Fitness::default() });
        } else if ran_for >= STAYS_UP {
            self.fitness.send_replace(Fitness::default());
        }
    }
}

/// Waits until it shall stop, or nobody can say so any more.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Ends this process because the command did not stop; its guard ends the command then.
pub(super) fn end_process(log: Arc<dyn Fn() + Send + Sync>) -> Arc<dyn Fn(&str) + Send + Sync> {
    Arc::new(move |_| {
        log();
        std::process::exit(ha_runtime::EXIT_CODE_NOT_STOPPED)
    })
}
