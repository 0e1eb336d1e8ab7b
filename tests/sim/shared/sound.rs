//! What must be true of shared keys and locks at the end of a run.

use std::time::Duration;

use super::check::check;
use crate::sim::{Mutant, World};

/// How long locks may last whose holders are gone: their leases, begun anew by the last change of leader, and the time
/// that clients wait and hold.
const LOCKS_END: Duration = Duration::from_secs(40);

impl World {
    /// Nodes have shared state, and clients of it that ask about this far apart. To be said before they start.
    pub fn share(&mut self, interval: Duration) {
        self.trace.line("*", format_args!("clients of shared state ask every {interval:?}"));
        self.shared.turn_on(self.settings.mutant == Some(Mutant::StaleReads));
        self.shared.set_pace(Some(interval));
    }

    /// Demands that all locks end once nobody asks for them any more, and that what clients were told can be.
    ///
    /// # Panics
    ///
    /// When it cannot.
    pub fn expect_sound_sharing(&mut self) {
        if !self.shared.is_on() {
            return;
        }
        self.shared.set_pace(None);
        self.expect("all locks have ended, and nobody waits for one", LOCKS_END, |world| {
            let bodies = world.hosts.iter().filter(|(name, _)| !world.is_witness(**name) && world.runs(**name));
            bodies.filter_map(|(_, host)| host.body.lock().handles.clone()).all(|handles| {
                let usage = handles.state.usage();
                usage.locks == 0 && usage.leases == 0
            })
        });
        let sound = check(self.shared.records().all());
        let locks = match self.shared.tenancies().broken() {
            Some(broken) => Err(broken.to_owned()),
            None => Ok(()),
        };
        let what = "keys and transactions are linearizable, and no two hold one lock at once";
        if let Err(broken) = sound.and(locks) {
            panic!("it must hold that {what}; but {broken}");
        }
        let (requests, grants) = (self.shared.records().all().len(), self.shared.tenancies().count());
        self.trace.line("*", format_args!("{requests} requests for keys and {grants} grants of locks are sound"));
    }
}
