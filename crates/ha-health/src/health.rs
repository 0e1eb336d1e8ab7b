//! The handle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use crate::book::{Act, Book, Input, Rules};
use crate::limits::{COMPONENTS_MAX, TRANSITIONS_KEPT};
use crate::{Action, Builder, Check, Config, ConfigError, OverallHealth, RegisterError, Transition, Verdict, driver};

/// Starts a monitor. Must be called on a tokio runtime; it ends when the last handle is dropped.
pub fn start(config: Config) -> Result<Health, ConfigError> {
    config.validate()?;
    let (health, life) = Health::new(config, true);
    tokio::spawn(driver::run(health.shared.clone(), life));
    Ok(health)
}

/// A monitor of components. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
    _life: Arc<watch::Sender<()>>,
}

/// What the handles and the driver share. The driver must not keep the monitor alive, so life is not in here.
pub(crate) struct Shared {
    config: Config,
    on: bool,
    began: Instant,
    state: Mutex<State>,
    /// The driver has something to do.
    pub(crate) wake: Notify,
    overall: watch::Sender<Arc<OverallHealth>>,
    transitions: broadcast::Sender<Transition>,
}

/// Everything that changes.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) book: Book,
    pub(crate) works: BTreeMap<String, Work>,
    /// What waits for the driver.
    pub(crate) acts: Vec<Act>,
}

/// How a component is checked and mended.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) check: Option<Arc<dyn Check>>,
    pub(crate) action: Option<Arc<dyn Action>>,
}

impl Shared {
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A panic inside of a step leaves a book that is still worth reading.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn overall(&self) -> OverallHealth {
        OverallHealth::of(self.state().book.health(self.now()))
    }

    /// Tells those who follow.
    pub(crate) fn publish(&self, transitions: Vec<Transition>) {
        // Looked at and sent as one: two who publish at once must not leave the older look behind.
        self.overall.send_modify(|seen| *seen = Arc::new(self.overall()));
        for transition in transitions {
            let Transition { component, from, to, message, .. } = &transition;
            tracing::info!(%component, %from, %to, "{message}");
            // Nobody may be following.
            let _ = self.transitions.send(transition);
        }
    }
}

impl Health {
    fn new(config: Config, on: bool) -> (Self, watch::Receiver<()>) {
        let (life, end) = watch::channel(());
        let shared = Shared {
            config,
            on,
            began: Instant::now(),
            state: Mutex::default(),
            wake: Notify::new(),
            overall: watch::Sender::new(Arc::new(OverallHealth::of(Vec::new()))),
            transitions: broadcast::Sender::new(TRANSITIONS_KEPT),
        };
        (Self { shared: Arc::new(shared), _life: Arc::new(life) }, end)
    }

    /// A monitor that is off: it takes components and checks none, so that a program need not ask whether it is on.
    pub fn off() -> Self {
        Self::new(Config::default(), false).0
    }

    /// False when this monitor is off.
    pub fn enabled(&self) -> bool {
        self.shared.on
    }

    /// Its rules.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Checks a component with an async function, by the monitor's own rules. See [`Self::component`] for others. A
    /// component of that name is replaced.
    pub fn register(&self, name: &str, check: impl Check) -> Result<(), RegisterError> {
        self.component(name).check(check)
    }

    /// Begins to register a component.
    pub fn component(&self, name: &str) -> Builder {
        Builder::new(self.clone(), name)
    }

    /// Checks a component no more; false when there is none of that name.
    pub fn unregister(&self, name: &str) -> bool {
        let mut state = self.shared.state();
        state.works.remove(name);
        let was_there = state.book.remove(name);
        drop(state);
        self.shared.wake.notify_one();
        self.shared.publish(Vec::new());
        was_there
    }

    pub(crate) fn add(&self, name: &str, rules: Rules, work: Work) -> Result<(), RegisterError> {
        if !self.shared.on {
            return Ok(());
        }
        let mut state = self.shared.state();
        if state.book.len() >= COMPONENTS_MAX && !state.book.contains(name) {
            return Err(RegisterError::Full);
        }
        state.book.add(self.shared.now(), name, rules);
        state.works.insert(name.to_owned(), work);
        drop(state);
        self.shared.wake.notify_one();
        self.shared.publish(Vec::new());
        Ok(())
    }

    /// Reports for a component that was registered with [`Builder::heartbeat`]; false when there is none of that name.
    pub fn report(&self, name: &str, verdict: impl Into<Verdict>) -> bool {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let State { book, acts, .. } = &mut *state;
        let known = book.takes_reports(name);
        if known {
            book.step(now, name, Input::Reported(verdict.into()), acts);
        }
        drop(state);
        self.shared.wake.notify_one();
        known
    }

    /// All components at this moment.
    pub fn overall(&self) -> OverallHealth {
        self.shared.overall()
    }

    /// All components as of the last change of any status, to follow.
    pub fn watch(&self) -> watch::Receiver<Arc<OverallHealth>> {
        self.shared.overall.subscribe()
    }

    /// Every transition from now on. A reader that falls too far behind is told how many it missed.
    pub fn transitions(&self) -> broadcast::Receiver<Transition> {
        self.shared.transitions.subscribe()
    }

    /// The last transitions, the oldest first.
    pub fn history(&self) -> Vec<Transition> {
        self.shared.state().book.history()
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").field("on", &self.shared.on).finish_non_exhaustive()
    }
}
