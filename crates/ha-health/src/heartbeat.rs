//! A component that reports by itself.

use crate::{Health, Verdict};

/// Reports for a component. Cheap to clone; dropping it is silence.
#[derive(Clone)]
pub struct Heartbeat {
    health: Health,
    name: String,
}

impl Heartbeat {
    pub(crate) fn new(health: Health, name: String) -> Self {
        Self { health, name }
    }

    /// It is alive and well.
    pub fn beat(&self) {
        self.report(Verdict::HEALTHY);
    }

    /// It is so.
    pub fn report(&self, verdict: impl Into<Verdict>) {
        // A component that was removed meanwhile has nothing more to report.
        self.health.report(&self.name, verdict);
    }
}
