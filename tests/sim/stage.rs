//! Plays one scene with one seed and reports.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{Settings, Trace, World};

/// A play.
pub struct Scene {
    /// Its name, that of the scenario it plays.
    pub name: &'static str,
    /// What happens in it.
    pub summary: &'static str,
    /// Acts and expects.
    pub play: fn(&mut World),
}

/// What became of a run.
pub struct Report {
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Simulated time that passed.
    pub simulated: Duration,
    /// Lines and hash of the trace.
    pub fingerprint: String,
    /// The last lines of the trace.
    pub last_lines: Vec<String>,
    /// One sentence about the load.
    pub load: String,
}

/// Plays a scene to its end, heals the world, and demands that everything is well again.
pub fn play(scene: &Scene, settings: Settings, trace: Trace) -> Report {
    let mut world = World::new(settings, trace);
    // A broken world is only looked at, and dropped: nothing of it is used again.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        (scene.play)(&mut world);
        world.trace.line("*", "the scene is over: everything must heal");
        world.recover();
        world.expect_healed();
        world.expect_sound_sharing();
    }));
    let failure = outcome.err().map(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    let (gap, at) = world.history.lock().longest_write_gap(Duration::ZERO, world.now());
    let requests = world.history.lock().all().len();
    let writes = world.acknowledged_writes();
    Report {
        failure,
        simulated: world.now(),
        fingerprint: world.trace.fingerprint(),
        last_lines: world.trace.last_lines(),
        load: format!("{requests} requests, {writes} writes acknowledged, longest gap {gap:?} from {at:?}"),
    }
}
